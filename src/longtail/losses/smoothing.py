"""Label-aware smoothing, the second-stage loss of MiSLAS.

Zhong, Cui, Liu, Jia: "Improving Calibration for Long-Tailed Recognition", CVPR 2021 (arXiv 2104.00466).
"""

from __future__ import annotations

import math
from typing import Literal, get_args

from jaxtyping import Float, Int
from torch import Tensor

from longtail.arguments import Numbers
from longtail.errors import UserError
from longtail.losses.base import Loss, known
from longtail.losses.means import known_index, one_hot, weighted_mean
from longtail.weighting import Counts, Weights, scaled_to_one

Form = Literal["code", "paper"]
Shape = Literal["concave", "linear", "convex", "exp"]


class LabelAwareSmoothingLoss(Loss):
    """Smooths the labels, more strongly for classes with more images, since the network is over-confident on large classes.

    u_j = (n_j - n_min) / (n_max - n_min)
    concave: eps_j = tail + (head - tail) sin(pi u_j / 2)      convex: eps_j = head + (head - tail) sin(3 pi / 2 + pi u_j / 2)
    linear:  eps_j = tail + (head - tail) u_j                  exp:    eps_j = tail + (head - tail) u_j^exponent
    code:    l_i = (1 - eps) (-log p_i[y_i]) + eps / C sum_j (-log p_ij),                  eps = eps of the class y_i
    paper:   l_i = (1 - eps) (-log p_i[y_i]) + eps / (C - 1) sum_{j != y_i} (-log p_ij)
    L        = sum_i w[y_i] l_i / sum_i w[y_i]

    On balanced counts u is 0, so every class gets `tail`.

    Source: Zhong et al., CVPR 2021; code followed: dvlab-research/MiSLAS, whose author confirms the difference from the paper
    (issue 4 of that repository). The code produced the published table.

    Args:
        class_counts: training images per class (C,).
        head: smoothing of the largest class; 0.4 on CIFAR-100 at imbalance 100 and Places-LT, 0.3 on CIFAR-10 and ImageNet-LT.
        tail: smoothing of the rarest class; 0.1 where head is 0.4, else 0.
        shape: how the smoothing rises from `tail` to `head`: "concave" (the paper's choice), "linear", "convex" or "exp".
        exponent: exponent of u in the shape "exp"; no other shape uses it.
        form: formula of l_i that is used, "code" or "paper".
        weight: weight per class (C,). None: all one.

    >>> import torch
    >>> loss = LabelAwareSmoothingLoss([100, 55, 10])
    >>> [round(value, 4) for value in loss.smoothing.tolist()]
    [0.4, 0.3121, 0.1]
    >>> loss(torch.tensor([[2.0, 1.0, 0.5]]), torch.tensor([1])).item()
    1.41234...
    """

    smoothing: Tensor

    def __init__(
        self,
        class_counts: Counts,
        *,
        head: float = 0.4,
        tail: float = 0.1,
        shape: Shape = "concave",
        exponent: float = 2.0,
        form: Form = "code",
        weight: Counts | None = None,
    ) -> None:
        super().__init__(class_counts, weight=weight)
        if not (0 <= head < 1 and 0 <= tail < 1):
            raise UserError(f"LabelAwareSmoothingLoss needs `head` and `tail` in [0, 1); got {head} and {tail}.")
        relative_size = scaled_to_one(self.class_counts - self.class_counts.min())
        rise = interpolation(relative_size, known("shape", shape, get_args(Shape)), self.above_zero("exponent", exponent))
        self.register_buffer("smoothing", tail + (head - tail) * rise)
        self.form = known("form", form, get_args(Form))

    def forward(self, logits: Float[Tensor, "batch classes"], labels: Numbers) -> Float[Tensor, ""]:
        logits, labels = self.checked(logits, labels)
        log_p = logits.log_softmax(1)
        target = self.target(labels).to(log_p.dtype)
        return weighted_mean(-(target * log_p).sum(1), labels, self.weight)

    def target(self, labels: Int[Tensor, " batch"]) -> Float[Tensor, "batch classes"]:
        """The smoothed labels (B, C), whose rows sum to one."""
        classes, smoothing = len(self.smoothing), self.smoothing[known_index(labels), None]
        own = one_hot(labels, classes).to(smoothing.dtype)
        spread = 1 / classes if self.form == "code" else (1 - own) / max(classes - 1, 1)
        return (1 - smoothing) * own + smoothing * spread


def interpolation(size: Weights, shape: Shape, exponent: float) -> Weights:
    """Position between `tail` (0) and `head` (1) of the smoothing of each class, from its relative size u."""
    if shape == "concave":
        return (size * (math.pi / 2)).sin()
    if shape == "convex":
        return 1 - (size * (math.pi / 2)).cos()
    return size if shape == "linear" else size**exponent
