"""Distribution alignment (DisAlign): corrects a trained classifier's logits per class, to a degree learned for each image.

Zhang, Li, Yan, He, Sun: "Distribution Alignment: A Unified Framework for Long-tail Visual Recognition", CVPR 2021
(arXiv 2103.16370).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from longtail.errors import UserError
from longtail.heads.base import Features, Head, Logits, class_vectors, linear, logits_of

Start = Literal["released", "paper"]


class AlignedHead(Head):
    """Scales and shifts the logits of a trained head per class, to a degree that a learned confidence sets for each image.

    z^_j = (1 + c S_j) z_j + c b_j,  c = sigmoid(f v + u)

    The paper's scale is a = 1 + S: c (a z + b) + (1 - c) z. Only S, b, v and u are meant to be trained
    (`class_scale`, `class_shift`, `confidence`).

    Source: Zhang et al., CVPR 2021; code followed: Megvii-BaseDetection/DisAlign with the DisAlignLinear of cvpods, which
    made the published ImageNet-LT table. Its v is so large that c is 1 for features of usual size, and stays 1.

    Args:
        head: the trained head; its `scale` is not changed.
        start: initial values. "released": S = 1, b = 0, v = 0.1, u as torch draws it. "paper" (the authors' detection
            heads): S = 0, b = 0, v ~ N(0, 0.01^2), u = 0, so that training begins with the logits of `head`.

    >>> from longtail.heads import LinearHead
    >>> head, features = LinearHead(64, 10), torch.randn(2, 64)
    >>> bool((AlignedHead(head, start="paper")(features) == head(features)).all())
    True
    """

    def __init__(self, head: nn.Module, *, start: Start = "released") -> None:
        if start not in ("released", "paper"):
            raise UserError(f"AlignedHead has no start {start!r}; it has 'released' and 'paper'.")
        weight = class_vectors(head)
        super().__init__(device=weight.device)
        self.inner = head
        first = torch.ones if start == "released" else torch.zeros
        self.class_scale = nn.Parameter(first(len(weight), dtype=weight.dtype, device=weight.device))
        self.class_shift = nn.Parameter(torch.zeros_like(self.class_scale))
        self.confidence = _confidence(weight.shape[1], start).to(weight)

    def forward(self, features: Features) -> Logits:
        features = self.checked(features, class_vectors(self).shape[1])
        with torch.autocast(features.device.type, enabled=False):
            logits, confidence = logits_of(self.inner, features), linear(features, self.confidence).sigmoid()
            scale, shift = self.class_scale.to(features.dtype), self.class_shift.to(features.dtype)
            aligned: Logits = (1 + confidence * scale) * logits + confidence * shift
            return aligned * self.scale


def _confidence(in_features: int, start: Start) -> nn.Linear:
    """The layer f v + u, drawn on the CPU whatever the device, so that its initial values are the same on every device."""
    layer = nn.Linear(in_features, 1)
    if start == "released":
        nn.init.constant_(layer.weight, 0.1)
    else:
        nn.init.normal_(layer.weight, std=0.01)
        nn.init.zeros_(layer.bias)
    return layer
