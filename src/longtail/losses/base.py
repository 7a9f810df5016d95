"""What losses share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeVar

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float, Int
from torch import Tensor, nn

from longtail.errors import UserError, WrongTypeError
from longtail.weighting import Counts, as_counts

Form = Literal["softmax", "sigmoid"]
Name = TypeVar("Name", bound=str)


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
        raise WrongTypeError(
            f"{type(loss).__name__} needs class indices of shape (B,); got {labels.dtype} labels of shape "
            f"{tuple(labels.shape)}. For mixed labels call it once per label and mix the two losses (longtail.steps.mixup)."
        )
    return labels


def register_counts(loss: nn.Module, class_counts: Counts, weight: Counts | None) -> None:
    """Keeps the class counts and the class weights as buffers, so that they follow the loss to its device."""
    counts = as_counts(class_counts)
    weights = torch.ones_like(counts) if weight is None else torch.as_tensor(weight, dtype=torch.float64)
    if weights.shape != counts.shape or bool((weights < 0).any()) or not bool(weights.sum() > 0):
        raise UserError(
            f"weight must hold one non-negative number per class, not all zero: expected shape {tuple(counts.shape)}, "
            f"got {tuple(weights.shape)}."
        )
    loss.register_buffer("class_counts", counts)
    loss.register_buffer("weight", weights.detach().clone())


def known(kind: str, name: Name, names: Sequence[str]) -> Name:
    """`name`, refused where it is none of `names`."""
    if name not in names:
        raise UserError(f"There is no {kind} {name!r}; there are {', '.join(map(repr, names[:-1]))} and {names[-1]!r}.")
    return name
