"""Weighted means over the images of a batch, in which images with the label -100 have no part, and terms that losses share."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Bool, Float, Int
from torch import Tensor

from longtail.arguments import IGNORED

Form = Literal["softmax", "sigmoid"]


def one_hot(labels: Int[Tensor, " batch"], classes: int) -> Bool[Tensor, "batch classes"]:
    """True in the column of each image's class; False everywhere for an image that is ignored."""
    return labels[:, None] == torch.arange(classes, device=labels.device)


def known_index(labels: Int[Tensor, " batch"]) -> Int[Tensor, " batch"]:
    """The class indices, with class 0 in the place of images that are ignored, so that they can be used to index."""
    return labels.where(labels != IGNORED, 0)


def image_weights(labels: Int[Tensor, " batch"], weight: Float[Tensor, " classes"]) -> Float[Tensor, " batch"]:
    """The weight of each image's class, 0 for an image that is ignored; on any device, another label is an error of `gather`."""
    return weight.gather(0, known_index(labels)) * (labels != IGNORED)


def weighted_mean(
    per_sample: Float[Tensor, " batch"], labels: Int[Tensor, " batch"], weight: Float[Tensor, " classes"]
) -> Float[Tensor, ""]:
    """Weighted mean sum_i w[y_i] l_i / sum_i w[y_i] over the images that are not ignored, as in torch's losses; nan over none."""
    image_weight = image_weights(labels, weight.to(per_sample.dtype))
    return (image_weight * per_sample).sum() / image_weight.sum()


def mean_cross_entropy(
    logits: Float[Tensor, "batch classes"], labels: Tensor, weight: Tensor, *, smoothing: float = 0.0
) -> Float[Tensor, ""]:
    """Weighted mean of the cross-entropy; labels are class indices (B,) or class probabilities (B, C).

    With label smoothing eps the target of class j is (1 - eps) share_j + eps / C (Szegedy et al., CVPR 2016, Sec. 7).
    """
    if not labels.is_floating_point():
        per_sample = F.cross_entropy(logits, labels, reduction="none", label_smoothing=smoothing)
        return weighted_mean(per_sample, labels, weight)
    share = labels.to(logits.dtype)
    per_sample = F.cross_entropy(logits, share, reduction="none", label_smoothing=smoothing)
    image_weight = (share * weight.to(logits.dtype)).sum(1)
    return (image_weight * per_sample).sum() / image_weight.sum()


def focal_terms(
    logits: Float[Tensor, "batch classes"], labels: Int[Tensor, " batch"], gamma: float, form: Form
) -> Float[Tensor, " batch"]:
    """Focal loss of every image, in one of its two forms."""
    if form == "softmax":
        cross_entropy = F.cross_entropy(logits, labels, reduction="none")
        return one_minus_p(cross_entropy) ** gamma * cross_entropy if gamma else cross_entropy
    signed = logits * (2 * one_hot(labels, logits.shape[1]).to(logits.dtype) - 1)
    binary_cross_entropy = -F.logsigmoid(signed)
    return (torch.exp(-gamma * (signed + binary_cross_entropy)) * binary_cross_entropy).sum(1)


def one_minus_p(cross_entropy: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
    """1 - p with p the probability of the true class; kept above 0, where the gradient of a root would be infinite."""
    return (-torch.expm1(-cross_entropy)).clamp(min=torch.finfo(cross_entropy.dtype).tiny)
