"""Cross-entropy, focal and class-balanced losses: the baselines of the field."""

from __future__ import annotations

from typing import ClassVar, Literal, get_args

from jaxtyping import Float
from torch import Tensor

from longtail.arguments import IGNORED, Numbers
from longtail.errors import UserError
from longtail.losses.base import Loss, checked_smoothing, known
from longtail.losses.means import Form, focal_terms, image_weights, mean_cross_entropy, weighted_mean
from longtail.weighting import Counts, effective_number


class CrossEntropyLoss(Loss):
    """Maximises the log-probability of the true class, and treats every image alike.

    L = sum_i w[y_i] CE(z_i, y_i) / sum_i w[y_i],  CE(z, y) = logsumexp(z) - z[y]

    Source: the maximum-likelihood loss; for class indices without smoothing the weighted mean is that of torch. Labels may be
    class probabilities q (B, C): an image then weighs sum_j q_ij w[j]. Smoothing changes no image's weight. Torch weighs each
    class's term of an image in both cases.

    Args:
        class_counts: training images per class (C,).
        smoothing: label smoothing eps; the target of class j is (1 - eps) [j = y] + eps / C.
        weight: weight per class (C,); only ratios matter. None: all one.

    >>> import torch
    >>> CrossEntropyLoss([100, 10, 1])(torch.tensor([[2.0, 1.0, 0.0]]), torch.tensor([0])).item()
    0.40760...
    """

    def __init__(self, class_counts: Counts, *, smoothing: float = 0.0, weight: Counts | None = None) -> None:
        super().__init__(class_counts, weight=weight)
        self.smoothing = checked_smoothing(smoothing)

    def forward(self, logits: Float[Tensor, "batch classes"], labels: Numbers) -> Float[Tensor, ""]:
        logits, labels = self.checked(logits, labels, shares=True)
        return mean_cross_entropy(logits, labels, self.weight, smoothing=self.smoothing)


class FocalLoss(Loss):
    """Reduces the loss of images that are already classified well, so that hard images count more.

    softmax: L = mean (1 - p[y])^gamma CE(z, y)          gradient flows through the factor
    sigmoid: L = mean sum_j (1 - q_j)^gamma (-log q_j),  q_j = sigmoid(z_j) for the target, 1 - sigmoid(z_j) for the others

    Source: Lin et al., ICCV 2017, Eq. 4 (sigmoid); the softmax form is that of the LDAM repository's baseline.
    Weighted means divide by the weights' sum, so only their ratios matter.

    Args:
        class_counts: training images per class (C,).
        gamma: focusing parameter; 0 gives cross-entropy; 1 in the LDAM and class-balanced scripts.
        form: formula that is used, "softmax" or "sigmoid".
        weight: weight per class (C,). None: all one.

    >>> import torch
    >>> FocalLoss([100, 10, 1], gamma=1.0)(torch.tensor([[2.0, 1.0, 0.0]]), torch.tensor([0])).item()
    0.13644...
    """

    def __init__(self, class_counts: Counts, *, gamma: float = 1.0, form: Form = "softmax", weight: Counts | None = None) -> None:
        super().__init__(class_counts, weight=weight)
        self.gamma, self.form = self.at_least(0, "gamma", gamma), known("form", form, get_args(Form))

    def forward(self, logits: Float[Tensor, "batch classes"], labels: Numbers) -> Float[Tensor, ""]:
        logits, labels = self.checked(logits, labels)
        return weighted_mean(focal_terms(logits, labels, self.gamma, self.form), labels, self.weight)


class ClassBalancedLoss(Loss):
    """Weights each class by the inverse of its effective number of images, which saturates for large classes.

    w_j = (1 - beta) / (1 - beta^n_j), scaled to sum C
    weighted: L = sum_i w[y_i] l_i / sum_i w[y_i]   (torch)       batch: L = sum_i w[y_i] l_i / B   (the authors' TensorFlow code)

    Source: Cui et al., CVPR 2019, Eq. 6; l is cross-entropy or its focal form (gamma > 0), softmax or sigmoid.

    Args:
        class_counts: training images per class (C,).
        beta: parameter of the effective number, in [0, 1); the paper's grid is .9, .99, .999, .9999.
        form: form of cross-entropy and focal loss, "softmax" or "sigmoid".
        gamma: focusing parameter of the focal loss; 0 gives cross-entropy.
        reduction: "weighted" (only ratios of weights matter) or "batch" (the mean weight of a batch scales its loss).
        weight: further weight per class (C,), multiplied with the class-balanced one. None: all one.

    >>> import torch
    >>> loss = ClassBalancedLoss([100, 10, 1], beta=0.9)
    >>> loss(torch.tensor([[2.0, 1.0, 0.0], [0.5, 0.5, 0.5]]), torch.tensor([0, 2])).item()
    1.0357...
    """

    balances: ClassVar[bool] = True
    class_weight: Tensor

    def __init__(
        self,
        class_counts: Counts,
        *,
        beta: float = 0.9999,
        form: Form = "softmax",
        gamma: float = 0.0,
        reduction: Literal["weighted", "batch"] = "weighted",
        weight: Counts | None = None,
    ) -> None:
        super().__init__(class_counts, weight=weight)
        if not self.at_least(0, "beta", beta) < 1:
            raise UserError(f"ClassBalancedLoss needs `beta` in [0, 1); got {beta}.")
        balanced = effective_number(class_counts, beta=beta)
        self.register_buffer("class_weight", balanced * len(balanced) / balanced.sum())
        self.beta, self.form, self.gamma = beta, known("form", form, get_args(Form)), self.at_least(0, "gamma", gamma)
        self.reduction = known("reduction", reduction, ("weighted", "batch"))

    def forward(self, logits: Float[Tensor, "batch classes"], labels: Numbers) -> Float[Tensor, ""]:
        logits, labels = self.checked(logits, labels)
        per_sample = focal_terms(logits, labels, self.gamma, self.form)
        weight = self.class_weight * self.weight
        if self.reduction == "weighted":
            return weighted_mean(per_sample, labels, weight)
        value: Tensor = (image_weights(labels, weight.to(per_sample.dtype)) * per_sample).sum() / (labels != IGNORED).sum()
        return value
