"""Cross-entropy, focal and class-balanced losses: the baselines of the field."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeVar, get_args

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float, Int
from torch import Tensor, nn

from longtail.weighting import Counts, as_counts, effective_number

Form = Literal["softmax", "sigmoid"]
Name = TypeVar("Name", bound=str)


class CrossEntropyLoss(nn.Module):
    """Asks for a high probability of the true class, and treats every image alike.

    L = sum_i w[y_i] CE(z_i, y_i) / sum_i w[y_i],  CE(z, y) = logsumexp(z) - z[y]

    Source: the maximum-likelihood loss; weighted mean as in torch. Labels may be class probabilities (B, C).

    Args:
        class_counts: training images per class (C,).
        weight: weight per class (C,); only ratios matter. None: all one.

    >>> CrossEntropyLoss([100, 10, 1])(torch.tensor([[2.0, 1.0, 0.0]]), torch.tensor([0])).item()
    0.40760...
    """

    class_counts: Tensor
    weight: Tensor

    def __init__(self, class_counts: Counts, *, weight: Counts | None = None) -> None:
        super().__init__()
        register_counts(self, class_counts, weight)

    def forward(self, logits: Float[Tensor, "batch classes"], labels: Tensor) -> Float[Tensor, ""]:
        return mean_cross_entropy(at_least_float32(logits), labels, self.weight)


class FocalLoss(nn.Module):
    """Turns down the images that are already classified well, so that the hard ones count.

    softmax: L = mean (1 - p[y])^gamma CE(z, y)          gradient flows through the factor
    sigmoid: L = mean sum_j (1 - q_j)^gamma (-log q_j),  q_j = sigmoid(z_j) for the target, 1 - sigmoid(z_j) for the others

    Source: Lin et al., ICCV 2017, Eq. 4 (sigmoid); the softmax form is that of the LDAM repository's baseline.
    Weighted means divide by the weights' sum, so only their ratios matter.

    Args:
        class_counts: training images per class (C,).
        gamma: strength, 0 is cross-entropy; 1 in the LDAM and class-balanced scripts.
        form: "softmax" or "sigmoid".
        weight: weight per class (C,). None: all one.

    >>> FocalLoss([100, 10, 1], gamma=1.0)(torch.tensor([[2.0, 1.0, 0.0]]), torch.tensor([0])).item()
    0.13644...
    """

    class_counts: Tensor
    weight: Tensor

    def __init__(self, class_counts: Counts, *, gamma: float = 1.0, form: Form = "softmax", weight: Counts | None = None) -> None:
        super().__init__()
        register_counts(self, class_counts, weight)
        self.gamma, self.form = gamma, known("form", form, get_args(Form))

    def forward(self, logits: Float[Tensor, "batch classes"], labels: Int[Tensor, " batch"]) -> Float[Tensor, ""]:
        per_sample = focal_terms(at_least_float32(logits), class_indices(self, labels), self.gamma, self.form)
        return weighted_mean(per_sample, labels, self.weight)


class ClassBalancedLoss(nn.Module):
    """Weighs each class by one over its effective number of images, which saturates for large classes.

    w_j = (1 - beta) / (1 - beta^n_j), scaled to sum C
    weighted: L = sum_i w[y_i] l_i / sum_i w[y_i]   (torch)       batch: L = sum_i w[y_i] l_i / B   (the authors' TensorFlow code)

    Source: Cui et al., CVPR 2019, Eq. 6; l is cross-entropy or its focal form (gamma > 0), softmax or sigmoid.

    Args:
        class_counts: training images per class (C,).
        beta: in [0, 1); the paper's grid is .9, .99, .999, .9999.
        form: "softmax" or "sigmoid".
        gamma: focal strength, 0 for none.
        reduction: "weighted" (only ratios of weights matter) or "batch" (the mean weight of a batch scales its loss).
        weight: further weight per class (C,), multiplied. None: all one.

    >>> loss = ClassBalancedLoss([100, 10, 1], beta=0.9)
    >>> loss(torch.tensor([[2.0, 1.0, 0.0], [0.5, 0.5, 0.5]]), torch.tensor([0, 2])).item()
    1.0357...
    """

    class_counts: Tensor
    weight: Tensor
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
        super().__init__()
        register_counts(self, class_counts, weight)
        if not 0 <= beta < 1:
            raise ValueError(f"ClassBalancedLoss needs beta in [0, 1); got {beta}.")
        if reduction not in ("weighted", "batch"):
            raise ValueError(f"ClassBalancedLoss has no reduction {reduction!r}; it has 'weighted' and 'batch'.")
        balanced = effective_number(class_counts, beta=beta)
        self.register_buffer("class_weight", balanced * len(balanced) / balanced.sum())
        self.beta, self.form, self.gamma, self.reduction = beta, known("form", form, get_args(Form)), gamma, reduction

    def forward(self, logits: Float[Tensor, "batch classes"], labels: Int[Tensor, " batch"]) -> Float[Tensor, ""]:
        per_sample = focal_terms(at_least_float32(logits), class_indices(self, labels), self.gamma, self.form)
        weight = self.class_weight * self.weight
        if self.reduction == "weighted":
            return weighted_mean(per_sample, labels, weight)
        return (weight.to(per_sample.dtype)[labels] * per_sample).mean()


def mean_cross_entropy(logits: Float[Tensor, "batch classes"], labels: Tensor, weight: Tensor) -> Float[Tensor, ""]:
    """Weighted mean of the cross-entropy; labels are class indices (B,) or class probabilities (B, C)."""
    if not labels.is_floating_point():
        return weighted_mean(F.cross_entropy(logits, labels, reduction="none"), labels, weight)
    share = labels.to(logits.dtype)
    per_sample = -(share * logits.log_softmax(1)).sum(1)
    image_weight = (share * weight.to(logits.dtype)).sum(1)
    return (image_weight * per_sample).sum() / image_weight.sum()


def focal_terms(
    logits: Float[Tensor, "batch classes"], labels: Int[Tensor, " batch"], gamma: float, form: Form
) -> Float[Tensor, " batch"]:
    """Focal loss of every image, in one of its two forms."""
    if form == "softmax":
        cross_entropy = F.cross_entropy(logits, labels, reduction="none")
        return missed(cross_entropy) ** gamma * cross_entropy if gamma else cross_entropy
    signed = logits * (2 * F.one_hot(labels, logits.shape[1]) - 1)
    missing = -F.logsigmoid(signed)
    return (torch.exp(-gamma * (signed + missing)) * missing).sum(1)


def missed(cross_entropy: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
    """1 - p of the true class; kept above 0, where a root would have an infinite slope."""
    return (-torch.expm1(-cross_entropy)).clamp(min=torch.finfo(cross_entropy.dtype).tiny)


def weighted_mean(
    per_sample: Float[Tensor, " batch"], labels: Int[Tensor, " batch"], weight: Float[Tensor, " classes"]
) -> Float[Tensor, ""]:
    """sum_i w[y_i] l_i / sum_i w[y_i], torch's meaning of `weight`."""
    image_weight = weight.to(per_sample.dtype)[labels]
    return (image_weight * per_sample).sum() / image_weight.sum()


def at_least_float32(logits: Tensor) -> Tensor:
    """Half-precision logits as float32; float32 and float64 stay what they are."""
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def class_indices(loss: nn.Module, labels: Tensor) -> Tensor:
    """The labels, refused where they are probabilities."""
    if labels.is_floating_point():
        raise TypeError(
            f"{type(loss).__name__} needs class indices of shape (B,); got {labels.dtype} labels of shape "
            f"{tuple(labels.shape)}. For mixed labels call it once per label and mix the two losses (longtail.steps.mixup)."
        )
    return labels


def register_counts(loss: nn.Module, class_counts: Counts, weight: Counts | None) -> None:
    """Keeps the class counts and the class weights as buffers, so that they follow the loss to its device."""
    counts = as_counts(class_counts)
    weights = torch.ones_like(counts) if weight is None else torch.as_tensor(weight, dtype=torch.float64)
    if weights.shape != counts.shape or bool((weights < 0).any()) or not bool(weights.sum() > 0):
        raise ValueError(
            f"weight must hold one non-negative number per class, not all zero: expected shape {tuple(counts.shape)}, "
            f"got {tuple(weights.shape)}."
        )
    loss.register_buffer("class_counts", counts)
    loss.register_buffer("weight", weights.detach().clone())


def known(kind: str, name: Name, names: Sequence[str]) -> Name:
    """`name`, refused where it is none of `names`."""
    if name not in names:
        raise ValueError(f"There is no {kind} {name!r}; there are {', '.join(map(repr, names[:-1]))} and {names[-1]!r}.")
    return name
