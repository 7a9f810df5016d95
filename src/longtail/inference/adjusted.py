"""Rules with a strength tau that take the training frequency out of the logits or out of the classifier's norms."""

from __future__ import annotations

from longtail.errors import UserError
from longtail.inference.predictions import InferenceRule, Predictions, Scores, given
from longtail.metrics import mean_recall
from longtail.weighting import as_counts


def logit_adjusted(predictions: Predictions, *, reference: Predictions | None = None, tau: float | None = 1.0) -> Scores:
    """Takes the training frequency out of the logits: z_j - tau log(n_j / N).

    Source: Menon et al., ICLR 2021, Eq. 9 (post hoc). For a network trained with plain cross-entropy; tau None chooses
    among 0, 0.1, ..., 2 by mean recall on `reference` (validation images).
    """
    counts = as_counts(predictions.class_counts).to(predictions.logits.device)
    if tau is None:
        tau = best_tau(logit_adjusted, given(reference, "logit_adjusted", "val"))
    return predictions.logits - tau * (counts / counts.sum()).log().to(predictions.logits.dtype)


def tau_normalised(predictions: Predictions, *, reference: Predictions | None = None, tau: float | None = None) -> Scores:
    """Shrinks the classifiers' norms, which are larger for common classes: z = f W~^T, W~_j = W_j / ||W_j||^tau, no bias.

    Source: Kang et al., ICLR 2020, Eq. 6; facebookresearch/classifier-balancing@f162ade drops the bias, as here. tau None chooses
    among 0, 0.1, ..., 2 by mean recall on `reference` (validation images). Under a cosine head it acts on the raw features.
    """
    if tau is None:
        tau = best_tau(tau_normalised, given(reference, "tau_normalised", "val"))
    weight = predictions.head.get("weight", predictions.head.get("inner.weight"))
    if weight is None:
        raise UserError("tau_normalised needs the head's weight (C, D) in predictions.head; got none.")
    weight = weight.to(predictions.features.dtype)
    scores: Scores = predictions.features @ (weight / weight.norm(dim=1, keepdim=True) ** tau).T
    return scores


def best_tau(rule: InferenceRule, reference: Predictions) -> float:
    """The tau among 0, 0.1, ..., 2 with the highest mean recall; the smallest of several."""
    grid = [step / 10 for step in range(21)]
    return max(grid, key=lambda tau: mean_recall(rule(reference, tau=tau), reference.labels))
