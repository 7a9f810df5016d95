"""Linear and cosine heads, and a head that multiplies the logits of another by one learned factor per class."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from longtail.heads.base import Features, Head, Logits, class_vectors, logits_of


class LinearHead(Head):
    """Linear classifier: z = W f + b.

    Args:
        kaiming: True draws Kaiming-normal weights and keeps torch's uniform bias, as in the CIFAR scripts of LDAM and GCL; False
            keeps torch's weights too, as in GALA, BBN and the decoupling paper.

    >>> LinearHead(64, 10)(torch.zeros(2, 64)).shape
    torch.Size([2, 10])
    """

    def __init__(self, in_features: int, num_classes: int, *, kaiming: bool = True) -> None:
        super().__init__()
        linear = nn.Linear(in_features, num_classes)
        if kaiming:
            nn.init.kaiming_normal_(linear.weight)
        self.weight, self.bias = linear.weight, linear.bias

    def forward(self, features: Features) -> Logits:
        features = self.checked(features, self.weight.shape[1])
        with torch.autocast(features.device.type, enabled=False):
            return F.linear(features, self.weight.to(features.dtype), self.bias.to(features.dtype)) * self.scale


class CosineHead(Head):
    """z_j = cos(f, w_j): the cosine of the angle between the feature and the class vector, without bias.

    The losses that need this head (GCL, LDAM) multiply the cosines by a scale of their own. After a stage of training `scale`
    holds the loss's scale, so that the logits are calibrated; it is 1 while training. The rows of `weight` are drawn from
    U(-1, 1) and scaled to unit length, on which GCL's accuracy depends (Keke921/GCLLoss@c2a6233, NormedLinear).

    >>> head = CosineHead(64, 10)
    >>> bool(head(torch.randn(2, 64)).abs().max() <= 1)
    True
    """

    def __init__(self, in_features: int, num_classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(F.normalize(torch.empty(num_classes, in_features).uniform_(-1, 1), dim=1))

    def forward(self, features: Features) -> Logits:
        features = self.checked(features, self.weight.shape[1])
        with torch.autocast(features.device.type, enabled=False):
            unit_features = F.normalize(features, dim=1, eps=1e-12)
            unit_weight = F.normalize(self.weight.to(unit_features.dtype), dim=1, eps=1e-12)
            return F.linear(unit_features, unit_weight) * self.scale


class ScaledHead(Head):
    """z = s * head(f): learnable weight scaling (LWS), one factor per class, which scales the bias too.

    Source: Kang et al., ICLR 2020, Sec. 4; the factors start at 1.

    >>> ScaledHead(LinearHead(64, 10))(torch.zeros(2, 64)).shape
    torch.Size([2, 10])
    """

    def __init__(self, head: nn.Module) -> None:
        weight = class_vectors(head)
        super().__init__(device=weight.device)
        self.inner = head
        self.class_scale = nn.Parameter(torch.ones(len(weight), dtype=weight.dtype, device=weight.device))

    def forward(self, features: Features) -> Logits:
        features = self.checked(features, class_vectors(self).shape[1])
        with torch.autocast(features.device.type, enabled=False):
            logits: Logits = logits_of(self.inner, features) * self.class_scale.to(features.dtype) * self.scale
            return logits
