"""Logit adjustment and balanced softmax: log class frequencies are added to the logits in training, not at test time.

Menon et al.: "Long-tail learning via logit adjustment", ICLR 2021 (arXiv 2007.07314);
Ren et al.: "Balanced Meta-Softmax for Long-Tailed Visual Recognition", NeurIPS 2020 (arXiv 2007.10740).
"""

from __future__ import annotations

import math
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from longtail.arguments import Numbers
from longtail.losses.base import Loss, checked_smoothing
from longtail.losses.means import mean_cross_entropy
from longtail.weighting import Counts


class LogitAdjustedLoss(Loss):
    """Adds the log class frequency to each logit in training, so that the network must raise the rare classes by as much.

    L = sum_i w[y_i] CE(z_i + tau log(n / N), y_i) / sum_i w[y_i],  N = sum_j n_j

    At test time the plain logits are used. `longtail.inference.logit_adjusted` does the same after the training instead; use
    only one of the two, and no class-balanced sampling in addition, which would correct twice. With a cosine head, scale the
    cosines first: the adjustment reaches several units.

    Source: Menon et al., ICLR 2021, Eq. 10; code followed: google-research/logit_adjustment, which adds 1e-12 inside the
    logarithm (every class here has an image). Labels may be class probabilities (B, C).

    Args:
        class_counts: training images per class (C,).
        tau: strength of the adjustment; 0 gives cross-entropy; 1 in the paper.
        smoothing: label smoothing of the adjusted cross-entropy; 0 in the paper.
        weight: weight per class (C,). None: all one.

    >>> import torch
    >>> LogitAdjustedLoss([100, 10, 1])(torch.tensor([[2.0, 1.0, 0.0]]), torch.tensor([0])).item()
    0.03743...
    """

    balances: ClassVar[bool] = True
    adjustment: Tensor

    def __init__(self, class_counts: Counts, *, tau: float = 1.0, smoothing: float = 0.0, weight: Counts | None = None) -> None:
        super().__init__(class_counts, weight=weight)
        self.smoothing = checked_smoothing(smoothing)
        self.register_buffer(
            "adjustment", self.at_least(-math.inf, "tau", tau) * (self.class_counts / self.class_counts.sum()).log()
        )

    def forward(self, logits: Float[Tensor, "batch classes"], labels: Numbers) -> Float[Tensor, ""]:
        logits, labels = self.checked(logits, labels, shares=True)
        return mean_cross_entropy(logits + self.adjustment.to(logits.dtype), labels, self.weight, smoothing=self.smoothing)


class BalancedSoftmaxLoss(Loss):
    """Weights the softmax by the classes' images in training, so that the plain softmax is right for balanced classes.

    p_ij = n_j exp(z_ij) / sum_k n_k exp(z_ik),  L = sum_i w[y_i] (-log p_i[y_i]) / sum_i w[y_i]

    Equal to `LogitAdjustedLoss` at tau = 1. At test time the plain softmax is used.

    Source: Ren et al., NeurIPS 2020; code: jiawei-ren/BalancedMetaSoftmax, without its meta sampler. Labels may be class
    probabilities (B, C).

    Args:
        class_counts: training images per class (C,).
        smoothing: label smoothing of the balanced cross-entropy; 0 in the paper.
        weight: weight per class (C,). None: all one.

    >>> import torch
    >>> BalancedSoftmaxLoss([100, 10, 1])(torch.tensor([[2.0, 1.0, 0.0]]), torch.tensor([0])).item()
    0.03743...
    """

    balances: ClassVar[bool] = True

    def __init__(self, class_counts: Counts, *, smoothing: float = 0.0, weight: Counts | None = None) -> None:
        super().__init__(class_counts, weight=weight)
        self.smoothing = checked_smoothing(smoothing)

    def forward(self, logits: Float[Tensor, "batch classes"], labels: Numbers) -> Float[Tensor, ""]:
        logits, labels = self.checked(logits, labels, shares=True)
        adjusted = logits + self.class_counts.log().to(logits.dtype)
        return mean_cross_entropy(adjusted, labels, self.weight, smoothing=self.smoothing)
