"""Rules that remove the training frequencies from the logits or from the norms of the class vectors, with a strength tau."""

from __future__ import annotations

import torch
from torch import Tensor

from longtail.arguments import Numbers, as_tensor, exact, in_a_program
from longtail.choosing import image_weights
from longtail.errors import UserError
from longtail.inference.fitting import fitted_on, keywords_of, not_fitted
from longtail.inference.predictions import InferenceRule, Predictions, Scores, in_full_precision, like
from longtail.weighting import as_counts, in_order


@fitted_on("val", keyword="tau", learn=lambda rule, val: {"tau": best_tau(rule, val)})
def logit_adjusted(predictions: Predictions, *, tau: float | None = 1.0, target: Numbers | None = None) -> Scores:
    """Subtracts the log class frequency from the logits, and adds that of the use: z_j - tau log(n_j / N) + log target_j.

    Source: Menon et al., ICLR 2021, Eq. 9 (post hoc). It is meant for a network trained with plain cross-entropy. If tau is None,
    it is fitted: the value among 0, 0.1, ..., 2 with the highest mean recall on the validation images, or, with a `target`, the
    highest accuracy for these frequencies.

    Args:
        tau: strength with which the training frequencies are removed.
        target: class frequencies in use (C,), of which only ratios matter; None where all classes are alike.

    Raises:
        UserError: `target` is not one finite number per class, none below 0 and one above it.
    """
    if tau is None:
        raise not_fitted(logit_adjusted)
    counts = as_counts(predictions.class_counts)
    shift = -tau * (counts / counts.sum()).log()
    if target is not None:
        shift = shift + log_frequencies(target, len(counts)).to(shift.device)
    return predictions.logits + like(shift, predictions.logits)


@fitted_on("val", keyword="tau", learn=lambda rule, val: {"tau": best_tau(rule, val)})
def tau_normalised(predictions: Predictions, *, tau: float | None = None) -> Scores:
    """Shrinks the class vectors, which are longer for common classes: z = f W~^T, W~_j = W_j / ||W_j||^tau, without bias.

    Source: Kang et al., ICLR 2020, Eq. 6; facebookresearch/classifier-balancing@f162ade drops the bias, as here. If tau is
    None, it is fitted: the value among 0, 0.1, ..., 2 with the highest mean recall on the validation images. With a cosine head
    the rule uses the features without normalising them.
    """
    if tau is None:
        raise not_fitted(tau_normalised)
    weight = predictions.head.get("weight", predictions.head.get("inner.weight"))
    if weight is None:
        raise UserError("tau_normalised needs the head's weight (C, D) in predictions.head; got none.")
    with in_full_precision(predictions):
        weight = weight.to(predictions.features)
        return like(predictions.features @ (weight / weight.norm(dim=1, keepdim=True) ** tau).T, predictions.logits)


def log_frequencies(target: Numbers, classes: int) -> Tensor:
    """log of class frequencies (C,), which are scaled to sum 1; of a class that does not occur, that of the smallest float32.

    Raises:
        UserError: `target` is not one finite number per class, none below 0 and one above it.
    """
    return as_frequencies(target, classes).clamp(min=torch.finfo(torch.float32).tiny).log()


def as_frequencies(target: Numbers, classes: int) -> Tensor:
    """Class frequencies (C,) as float64 numbers with the sum 1; raises an error as `log_frequencies` does."""
    wanted = exact(as_tensor("logit_adjusted", in_order("target", target), "target"))
    if in_a_program():  # whose numbers are not known while it is written; they were when the rule was applied before
        return wanted / wanted.sum()
    if wanted.shape != (classes,) or not bool(torch.isfinite(wanted).all() and (wanted >= 0).all() and wanted.sum() > 0):
        raise UserError(f"`target` must be {classes} finite numbers, one per class, none below 0 and one above it.")
    return wanted / wanted.sum()


def best_tau(rule: InferenceRule, val: Predictions) -> float:
    """The tau among 0, 0.1, ..., 2 with the highest accuracy on the validation images; the smallest if several are equal.

    The accuracy is that under the rule's `target`; without one it is the mean recall.
    """
    grid, target, classes = [step / 10 for step in range(21)], keywords_of(rule).get("target"), len(val.class_counts)
    weights = image_weights(val.labels, torch.ones(classes) if target is None else as_frequencies(target, classes))
    labels = val.labels.cpu()
    return max(grid, key=lambda tau: round(float((rule(val, tau=tau).argmax(1).cpu() == labels).double() @ weights), 12))
