"""Classification by the nearest of the classes' mean features."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from longtail.inference.fitting import fitted_on, not_fitted
from longtail.inference.predictions import Predictions, Scores, images_per_class


@fitted_on("train", keyword="centroids", learn=lambda rule, train: class_means(train))
def nearest_class_mean(predictions: Predictions, *, mean: Tensor | None = None, centroids: Tensor | None = None) -> Scores:
    """Minus the squared distance to each class's mean training feature, after centring and scaling to unit length.

    Source: Kang et al., ICLR 2020, NCM; the released default "cl2n": centroids are means of unit features, not normalised again.

    Args:
        mean: mean training feature (D,), once fitted.
        centroids: each class's mean of the centred unit features (C, D), once fitted.
    """
    if mean is None or centroids is None:
        raise not_fitted(nearest_class_mean)
    query = F.normalize(predictions.features - mean.to(predictions.features), dim=1)
    return -(torch.cdist(query, centroids.to(query), compute_mode="donot_use_mm_for_euclid_dist") ** 2)


def class_means(train: Predictions) -> dict[str, Tensor]:
    """The mean feature (D,), and per class the mean of the centred unit features (C, D)."""
    mean = train.features.mean(0)
    unit = F.normalize(train.features - mean, dim=1)
    sums = unit.new_zeros(train.logits.shape[1], unit.shape[1]).index_add_(0, train.labels.to(unit.device), unit)
    images = images_per_class("nearest_class_mean", train).to(unit)
    return {"mean": mean, "centroids": sums / images[:, None]}
