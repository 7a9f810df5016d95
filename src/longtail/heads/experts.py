"""Balanced product of experts (BalPoE): a head with one cosine classifier per expert.

Aimar, Jonnarth, Felsberg, Kuhlmann: "Balanced Product of Calibrated Experts for Long-Tailed Recognition", CVPR 2023 (arXiv
2206.05260). The loss that gives each expert its own prior is `longtail.losses.ExpertsLoss`, the network with the experts'
own layers is `longtail.networks.ExpertsBackbone`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float
from torch import Tensor, nn

from longtail.heads.base import Features, Head, Logits, check_equal_parts


class ExpertsHead(Head):
    """The mean of the cosines that E experts compute, each from its own part of the feature.

    z_ej = cos(f^e, w_j^e),  z_j = 1 / E sum_e z_ej

    f^e and w_j^e are the e-th of E consecutive parts of the feature and of the class vector. As with `CosineHead`, `scale` holds
    the loss's scale after a stage of training and is 1 while training, and each part of a class vector is drawn from U(-1, 1)
    and scaled to unit length.

    Source: Aimar et al., CVPR 2023; facts from emasa/BalPoE-CalibratedLT@ca607ae.

    Args:
        in_features: length D of a feature vector, a multiple of `experts`.
        num_classes: number of classes C.
        experts: number E of experts; 3 in the paper.

    Raises:
        UserError: the feature cannot be cut into so many equal parts.

    >>> head = ExpertsHead(96, 10)
    >>> head(torch.zeros(2, 96)).shape, head.expert_logits(torch.zeros(2, 96)).shape
    (torch.Size([2, 10]), torch.Size([2, 3, 10]))
    """

    def __init__(self, in_features: int, num_classes: int, *, experts: int = 3) -> None:
        super().__init__()
        check_equal_parts("ExpertsHead", in_features, experts=experts)
        self.experts = experts
        drawn = torch.empty(num_classes, experts, in_features // experts).uniform_(-1, 1)
        self.weight = nn.Parameter(F.normalize(drawn, dim=2).flatten(1))

    def forward(self, features: Features) -> Logits:
        return self.expert_logits(features).mean(1)

    def expert_logits(self, features: Features) -> Float[Tensor, "batch experts classes"]:
        """Logits (B, E, C) of every expert, from features (B, D)."""
        features = self.checked(features, self.weight.shape[1])
        with torch.autocast(features.device.type, enabled=False):
            unit_features, unit_weight = (self._unit_parts(rows) for rows in (features, self.weight.to(features.dtype)))
            return torch.einsum("bed,ced->bec", unit_features, unit_weight) * self.scale

    def _unit_parts(self, rows: Float[Tensor, "rows features"]) -> Float[Tensor, "rows experts part"]:
        """Every expert's part of each row, scaled to unit length."""
        return F.normalize(rows.reshape(rows.shape[0], self.experts, rows.shape[1] // self.experts), dim=2, eps=1e-12)
