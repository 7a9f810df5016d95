"""Dynamic meta-embedding (OLTR): enriches features from a memory of class centroids, for the benefit of rare classes.

Liu, Miao, Zhan, Wang, Gong, Yu: "Large-Scale Long-Tailed Recognition in an Open World", CVPR 2019 (arXiv 1904.05160).
OLTR's modulated attention is in `longtail.networks`, its open-set rule is `longtail.inference.open_set`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from longtail.errors import UserError
from longtail.heads.base import Features, Head, Logits, linear


class MetaHead(Head):
    """Adds a gated, weighted mean of the class centroids to each feature, and lengthens it the closer it is to one of them.

    gamma  = min_j ||v - M_j||,  o = softmax(W_h v + b_h),  e = tanh(W_s v + b_s)
    v_meta = reach / gamma (v + e * o M)
    z_i    = cosine_scale <v_meta / (1 + ||v_meta||), w_i / ||w_i||>

    M is `memory`, a buffer that receives no gradient; the training step copies the learned centroids into it. W_h
    (`hallucinator`) starts as the stage-1 classifier; W_s (`selector`) and w (`weight`) are newly drawn, w ~ U(-1, 1) / sqrt(D).

    Source: Liu et al., CVPR 2019; code followed: zhmiao/OpenLongTailRecognition-OLTR@8132217, MetaEmbeddingClassifier.py.
    The paper's reach is 1. The factor 1 / gamma is never computed, since v_meta / (1 + ||v_meta||) is one fraction, reach u /
    (gamma + reach ||u||) with u = v + e * o M; gamma is kept above 1e-12, so that the result is finite where a feature equals a
    centroid.

    Args:
        head: the stage-1 head, whose weight and bias are copied; it is not kept.
        reach: factor on the meta embedding; 10 in the code.
        cosine_scale: factor on the logits; 16 in the code.

    >>> from longtail.heads import LinearHead
    >>> head = MetaHead(LinearHead(64, 10))
    >>> head(torch.zeros(2, 64)).shape, head.memory.shape
    (torch.Size([2, 10]), torch.Size([10, 64]))
    """

    memory: Tensor

    def __init__(self, head: nn.Module, *, reach: float = 10.0, cosine_scale: float = 16.0) -> None:
        hallucinator = _copied(head)
        weight = hallucinator.weight
        super().__init__(device=weight.device)
        self.reach, self.cosine_scale = reach, cosine_scale
        self.hallucinator = hallucinator
        classes, size = weight.shape
        self.selector = nn.Linear(size, size).to(weight)
        self.weight = nn.Parameter((torch.empty(classes, size).uniform_(-1, 1) / size**0.5).to(weight))
        self.register_buffer("memory", torch.zeros_like(weight, requires_grad=False))

    def forward(self, features: Features) -> Logits:
        features = self.checked(features, self.weight.shape[1])
        with torch.autocast(features.device.type, enabled=False):
            embedded = self.embed(features)
            unit_weight = F.normalize(self.weight.to(embedded.dtype), dim=1, eps=1e-12)
            return F.linear(embedded, unit_weight) * self.cosine_scale * self.scale

    def embed(self, features: Features) -> Features:
        """v_meta / (1 + ||v_meta||), of length below 1."""
        enriched, nearest = self._enriched(features)
        embedded: Tensor = enriched / (nearest + enriched.norm(dim=1, keepdim=True))
        return embedded

    def meta_embedding(self, features: Features) -> Features:
        """v_meta itself, whose length is not bounded."""
        features = self.checked(features, self.weight.shape[1])
        with torch.autocast(features.device.type, enabled=False):
            enriched, nearest = self._enriched(features)
            return enriched / nearest

    def _enriched(self, features: Features) -> tuple[Tensor, Tensor]:
        """reach u (B, D), and the distance gamma (B, 1) to the nearest centroid."""
        memory = self.memory.to(features.dtype)
        distances = torch.cdist(features, memory, compute_mode="donot_use_mm_for_euclid_dist")
        nearest = distances.amin(1, keepdim=True).clamp(min=1e-12)
        remembered = linear(features, self.hallucinator).softmax(1) @ memory
        return self.reach * (features + linear(features, self.selector).tanh() * remembered), nearest


def _copied(head: nn.Module) -> nn.Linear:
    """A linear layer with the head's weight and bias."""
    weight, bias = getattr(head, "weight", None), getattr(head, "bias", None)
    if weight is None or bias is None:
        raise UserError(f"MetaHead starts from a head with weight and bias, such as LinearHead; got {type(head).__name__}.")
    layer = nn.Linear(weight.shape[1], len(weight)).to(weight)
    layer.load_state_dict({"weight": weight, "bias": bias})
    return layer
