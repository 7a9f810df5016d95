"""Post hoc rules: pure functions from saved forward passes to scores, `rule(predictions, *, reference=None, ...) -> (M, C)`.

A rule that must be fitted takes what it learned as a keyword (`tau`, `centroids`); where that is None it is learned from
`reference`. `fitted` fixes it, so that a single image can be judged later.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float, Int
from torch import Tensor

from longtail.metrics import mean_recall
from longtail.weighting import as_counts

Scores = Float[Tensor, "images classes"]
InferenceRule = Callable[..., Scores]
Reference = Literal["train", "val"]


@dataclass(frozen=True)
class Predictions:
    """One forward pass over a set of images.

    Args:
        features: (M, D), what the head saw.
        logits: (M, C), calibrated by the head's scale.
        labels: (M,), class indices; -1 where the class is not known.
        class_counts: TRAINING images per class (C,).
        head: the head's state: `weight` (C, D), and `bias` (C,), `class_scale` (C,), `scale` () where it has them.
    """

    features: Float[Tensor, "images features"]
    logits: Scores
    labels: Int[Tensor, " images"]
    class_counts: Float[Tensor, " classes"]
    head: Mapping[str, Tensor] = field(default_factory=dict)


def as_trained(predictions: Predictions, *, reference: Predictions | None = None) -> Scores:
    """The logits as they are."""
    return predictions.logits


def logit_adjusted(predictions: Predictions, *, reference: Predictions | None = None, tau: float | None = 1.0) -> Scores:
    """Takes the training frequency out of the logits: z_j - tau log(n_j / N).

    Source: Menon et al., ICLR 2021, Eq. 9 (post hoc). For a network trained with plain cross-entropy; tau None chooses
    among 0, 0.1, ..., 2 by mean recall on `reference` (validation images).
    """
    counts = as_counts(predictions.class_counts).to(predictions.logits.device)
    if tau is None:
        tau = _best_tau(logit_adjusted, _given(reference, "logit_adjusted", "val"))
    return predictions.logits - tau * (counts / counts.sum()).log().to(predictions.logits.dtype)


def tau_normalised(predictions: Predictions, *, reference: Predictions | None = None, tau: float | None = None) -> Scores:
    """Shrinks the classifiers' norms, which are larger for common classes: z = f W~^T, W~_j = W_j / ||W_j||^tau, no bias.

    Source: Kang et al., ICLR 2020, Eq. 6; facebookresearch/classifier-balancing@f162ade drops the bias, as here. tau None chooses
    among 0, 0.1, ..., 2 by mean recall on `reference` (validation images). Under a cosine head it acts on the raw features.
    """
    if tau is None:
        tau = _best_tau(tau_normalised, _given(reference, "tau_normalised", "val"))
    weight = predictions.head.get("weight", predictions.head.get("inner.weight"))
    if weight is None:
        raise ValueError("tau_normalised needs the head's weight (C, D) in predictions.head; got none.")
    weight = weight.to(predictions.features.dtype)
    scores: Scores = predictions.features @ (weight / weight.norm(dim=1, keepdim=True) ** tau).T
    return scores


def nearest_class_mean(
    predictions: Predictions,
    *,
    reference: Predictions | None = None,
    mean: Tensor | None = None,
    centroids: Tensor | None = None,
) -> Scores:
    """Minus the squared distance to each class's mean training feature, after centring and scaling to unit length.

    Source: Kang et al., ICLR 2020, NCM; the released default "cl2n": centroids are means of unit features, not unit again.
    `reference` holds the training images.
    """
    if mean is None or centroids is None:
        learned = _class_means(_given(reference, "nearest_class_mean", "train"))
        mean, centroids = learned["mean"], learned["centroids"]
    query = F.normalize(predictions.features - mean.to(predictions.features), dim=1)
    return -(torch.cdist(query, centroids.to(query), compute_mode="donot_use_mm_for_euclid_dist") ** 2)


def reference_of(rule: InferenceRule) -> Reference | None:
    """The split that `rule` has to be fitted on; None where nothing is left to fit."""
    function, fixed = _unwrapped(rule)
    if function is nearest_class_mean and "centroids" not in fixed:
        return "train"
    if function in (tau_normalised, logit_adjusted):
        default = 1.0 if function is logit_adjusted else None
        return "val" if fixed.get("tau", default) is None else None
    return None


def fitted(rule: InferenceRule, reference: Predictions) -> InferenceRule:
    """`rule` with what it learns from `reference` fixed as keywords."""
    function, _ = _unwrapped(rule)
    if function is nearest_class_mean:
        return partial(rule, **_class_means(reference))
    return partial(rule, tau=_best_tau(function, reference))


def _class_means(reference: Predictions) -> dict[str, Tensor]:
    mean = reference.features.mean(0)
    unit = F.normalize(reference.features - mean, dim=1)
    sums = unit.new_zeros(reference.logits.shape[1], unit.shape[1]).index_add_(0, reference.labels, unit)
    images = torch.bincount(reference.labels, minlength=len(sums)).to(unit)
    return {"mean": mean, "centroids": sums / images.clamp(min=1)[:, None]}


def _best_tau(rule: InferenceRule, reference: Predictions) -> float:
    grid = [step / 10 for step in range(21)]
    return max(grid, key=lambda tau: mean_recall(rule(reference, tau=tau), reference.labels))


def _given(reference: Predictions | None, rule: str, split: Reference) -> Predictions:
    if reference is None:
        raise ValueError(f"{rule} has to be fitted: pass reference=, the predictions on the {split} images.")
    return reference


def _unwrapped(rule: InferenceRule) -> tuple[InferenceRule, dict[str, Any]]:
    return (rule.func, dict(rule.keywords)) if isinstance(rule, partial) else (rule, {})
