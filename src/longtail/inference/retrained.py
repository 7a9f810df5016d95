"""A linear classifier that is trained anew on the features of the training images, with every class weighing the same."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from longtail.inference.fitting import fitted_on, not_fitted
from longtail.inference.predictions import InferenceRule, Predictions, Scores


@fitted_on("train", keyword="weight", learn=lambda rule, train: balanced_classifier(rule, train))
def retrained(
    predictions: Predictions,
    *,
    strength: float = 1.0,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    mean: Tensor | None = None,
    deviation: Tensor | None = None,
) -> Scores:
    """Scores of a new linear classifier on standardised features: z = W (f - mean) / deviation + b.

    It is fitted on the features of the training images without augmentation: multinomial logistic regression in which an image
    weighs N / (C n_j), as if all classes were drawn equally often, with an L2 penalty. Re-training the classifier on balanced
    draws is the cRT of Kang et al., ICLR 2020, Sec. 4, where the images are augmented and drawn anew.

    Args:
        strength: inverse strength of the penalty (scikit-learn's `C`).
        weight, bias: the classifier (C, D) and (C,); None until it is fitted.
        mean, deviation: mean and standard deviation of each feature (D,) over the training images.
    """
    if weight is None or bias is None or mean is None or deviation is None:
        raise not_fitted(retrained)
    features = predictions.features.to(weight.dtype)
    device = features.device
    standardised = (features - mean.to(device)) / deviation.to(device)
    scores: Scores = standardised @ weight.to(device).T + bias.to(device)
    return scores


def balanced_classifier(rule: InferenceRule, train: Predictions) -> dict[str, Tensor]:
    """The values that `retrained` learns, by scikit-learn's L-BFGS, at most 200 iterations."""
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    keywords: Any = getattr(rule, "keywords", {})
    features = train.features.float().cpu()
    mean, deviation = features.mean(0), features.std(0).clamp(min=1e-6)
    regression = LogisticRegression(C=keywords.get("strength", 1.0), class_weight="balanced", max_iter=200, tol=1e-3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        regression.fit(((features - mean) / deviation).numpy(), train.labels.numpy())
    weight, bias = (torch.as_tensor(part, dtype=torch.float32) for part in (regression.coef_, regression.intercept_))
    if len(weight) == 1:  # scikit-learn keeps one row for two classes
        weight, bias = torch.cat([-weight, weight]) / 2, torch.cat([-bias, bias]) / 2
    return {"weight": weight, "bias": bias, "mean": mean, "deviation": deviation}
