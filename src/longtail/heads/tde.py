"""De-confounded training (TDE): a head that compares features in parts and keeps a moving average of the features.

Tang, Huang, Zhang: "Long-Tailed Classification by Keeping the Good and Removing the Bad Momentum Causal Effect", NeurIPS 2020
(arXiv 2009.12991). The post hoc rule that uses the average is `longtail.inference.deconfounded`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float
from torch import Tensor, nn

from longtail.heads.base import Features, Head, Logits, check_equal_parts


class CausalHead(Head):
    """Compares directions in K parts of the feature, and keeps a moving average of the features of the last training steps.

    z_i = temperature / K sum_k <x^k / ||x^k||, w_i^k / (||w_i^k|| + shrinkage)>
    E  <- momentum E + mean_b x_b        in training mode where gradients are recorded, without a gradient of its own

    Source: Tang et al., NeurIPS 2020; code followed: KaihuaTang/Long-Tailed-Recognition.pytorch@2e28976, CausalNormClassifier.py
    (z) and run_networks.py (E). E is not normalised, since only directions are used; there it is a numpy array outside the
    checkpoint, here it is saved, and averaged over processes. Under non-reentrant activation checkpoints (`use_reentrant=False`)
    a forward pass that is recomputed adds a second time. The norms are kept above 1e-12, so that a part without activation gives
    0 and not nan.

    Args:
        in_features: length D of a feature vector, a multiple of `heads`.
        num_classes: number of classes C.
        heads: number K of consecutive parts of the feature; 2.
        temperature: factor on the logits; 16 on every data set.
        shrinkage: gamma, added to the norms of the class vectors; 1/32. 0 gives plain cosines.
        momentum: mu, factor by which E decays in each step; 0.9 on CIFAR. A training step may set the attribute.

    >>> CausalHead(64, 10)(torch.zeros(2, 64)).shape
    torch.Size([2, 10])
    """

    temperature: Tensor
    shrinkage: Tensor
    average: Tensor

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        *,
        heads: int = 2,
        temperature: float = 16.0,
        shrinkage: float = 1 / 32,
        momentum: float = 0.9,
    ) -> None:
        super().__init__()
        check_equal_parts("CausalHead", in_features, heads=heads)
        self.momentum = momentum
        self.weight = nn.Parameter(torch.empty(num_classes, in_features).uniform_(-1, 1) / in_features**0.5)
        self.register_buffer("average", torch.zeros(heads, in_features // heads))
        self.register_buffer("temperature", torch.tensor(float(temperature)))
        self.register_buffer("shrinkage", torch.tensor(float(shrinkage)))

    def forward(self, features: Features) -> Logits:
        features = self.checked(features, self.weight.shape[1])
        with torch.autocast(features.device.type, enabled=False):
            if self.learning:
                self.remember(features)
            weight = shrunk(self.weight.to(features.dtype).view(-1, *self.average.shape), self.shrinkage)
            unit = F.normalize(features.reshape(-1, *self.average.shape), dim=2, eps=1e-12)
            return F.linear(unit.flatten(1), weight.flatten(1)) * (self.temperature / len(self.average)) * self.scale

    @torch.no_grad()
    def remember(self, features: Features) -> None:
        """Adds the mean feature of a batch to the decaying sum `average`; that of an empty batch is 0."""
        mean = features.detach().mean(0) if len(features) else features.new_zeros(features.shape[1])
        mean = self.reduced(mean.to(self.average.dtype), len(features))
        self.average.mul_(self.momentum).add_(mean.view_as(self.average))


def shrunk(weight: Float[Tensor, "classes heads part"], shrinkage: Tensor) -> Float[Tensor, "classes heads part"]:
    """w / (||w|| + shrinkage) in each part of the class vectors."""
    short: Tensor = weight / (weight.norm(dim=2, keepdim=True) + shrinkage).clamp(min=1e-12)
    return short
