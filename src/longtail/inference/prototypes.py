"""Classification by the nearest of the classes' mean features."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from longtail.inference.predictions import Predictions, Scores, given


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
        learned = class_means(given(reference, "nearest_class_mean", "train"))
        mean, centroids = learned["mean"], learned["centroids"]
    query = F.normalize(predictions.features - mean.to(predictions.features), dim=1)
    return -(torch.cdist(query, centroids.to(query), compute_mode="donot_use_mm_for_euclid_dist") ** 2)


def class_means(reference: Predictions) -> dict[str, Tensor]:
    """The mean feature (D,), and per class the mean of the centred unit features (C, D)."""
    mean = reference.features.mean(0)
    unit = F.normalize(reference.features - mean, dim=1)
    sums = unit.new_zeros(reference.logits.shape[1], unit.shape[1]).index_add_(0, reference.labels, unit)
    images = torch.bincount(reference.labels, minlength=len(sums)).to(unit)
    return {"mean": mean, "centroids": sums / images.clamp(min=1)[:, None]}
