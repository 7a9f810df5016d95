"""Balanced product of experts (BalPoE): each expert is trained with its own share of the class frequencies.

Aimar, Jonnarth, Felsberg, Kuhlmann: "Balanced Product of Calibrated Experts for Long-Tailed Recognition", CVPR 2023 (arXiv
2206.05260).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from longtail.arguments import Numbers, described
from longtail.errors import UserError
from longtail.heads import ExpertsHead, Head
from longtail.heads.base import needs_tensor
from longtail.losses.base import Loss
from longtail.losses.means import mean_cross_entropy
from longtail.weighting import Counts


class ExpertsLoss(Loss):
    """Trains several classifiers, from one that takes the classes as frequent as they are to one that over-corrects for it.

    L = 1 / E sum_e sum_i w[y_i] CE(scale z_ie + tau_e log(n / N), y_i) / sum_i w[y_i],  N = sum_j n_j

    At test time the mean of the experts' plain logits is used. It belongs to the product of the experts' distributions, whose
    prior is pi^(1 - mean tau); so the exponents must have mean 1, with which the product is right for balanced classes
    (Fisher consistency for the balanced error). Other losses take logits (B, C); this one takes those of every expert.

    Source: Aimar et al., CVPR 2023; facts from emasa/BalPoE-CalibratedLT@ca607ae. Labels may be class probabilities (B, C).

    Args:
        class_counts: training images per class (C,).
        tau: exponent of the class frequencies for each of the E experts, with mean 1; (0, 1, 2) in the paper.
        scale: factor on the logits; 30 in the paper, whose logits are cosines, as those of `ExpertsHead`: with 1 these cannot
            grow, and the network hardly learns.
        weight: weight per class (C,). None: all one.

    Raises:
        UserError: the exponents are not finite numbers with mean 1, `scale` is not above 0, or the logits have another shape.

    >>> loss = ExpertsLoss([100, 10, 1])
    >>> loss(torch.tensor([[[2.0, 1.0, 0.0], [1.0, 1.0, 1.0], [0.0, 1.0, 2.0]]]), torch.tensor([2])).item()
    4.78500...
    """

    requires_head: ClassVar[type[Head] | None] = ExpertsHead
    balances: ClassVar[bool] = True
    adjustment: Tensor

    def __init__(
        self,
        class_counts: Counts,
        *,
        tau: Numbers = (0.0, 1.0, 2.0),
        scale: float = 1.0,
        weight: Counts | None = None,
    ) -> None:
        super().__init__(class_counts, weight=weight)
        self.tau, self.scale = consistent_exponents(tau), self.above_zero("scale", scale)
        log_prior = (self.class_counts / self.class_counts.sum()).log()
        self.register_buffer("adjustment", torch.tensor(self.tau, dtype=torch.float64)[:, None] * log_prior)

    def forward(self, logits: Float[Tensor, "batch experts classes"], labels: Numbers) -> Float[Tensor, ""]:
        experts, classes = self.adjustment.shape
        if needs_tensor("ExpertsLoss", logits, "logits").ndim != 3 or logits.shape[1:] != (experts, classes):
            raise UserError(
                f"ExpertsLoss needs `logits` of shape (B, {experts}, {classes}), for images, experts and classes, as "
                f"`expert_logits` of longtail.heads.ExpertsHead gives them; got {described(logits)}."
            )
        first, labels = self.checked(logits[:, 0], labels, shares=True)
        shifted = self.scale * logits.to(first.dtype) + self.adjustment.to(first.dtype)
        return mean_cross_entropy(shifted.flatten(0, 1), labels.repeat_interleave(experts, 0), self.weight)


def consistent_exponents(tau: Numbers) -> tuple[float, ...]:
    """The exponents as floats.

    Raises:
        UserError: they are not finite numbers, or their mean is not 1.
    """
    given = tau.tolist() if hasattr(tau, "tolist") else tau
    exponents = tuple(given) if isinstance(given, Iterable) else ()
    numbers = all(isinstance(each, (int, float)) and not isinstance(each, bool) and math.isfinite(each) for each in exponents)
    if not exponents or not numbers:
        raise UserError(f"`tau` must hold one finite number for each expert, such as (0, 1, 2); got {given!r}.")
    mean = math.fsum(exponents) / len(exponents)
    if not math.isclose(mean, 1, abs_tol=1e-6):
        raise UserError(
            f"`tau` must have mean 1, or the mean of the experts' logits would be right for another prior than that of balanced "
            f"classes; got {exponents}, whose mean is {mean:g}."
        )
    return tuple(float(each) for each in exponents)
