"""Temperature scaling: makes the confidence of the predictions agree with their accuracy."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from longtail.inference.fitting import fitted_on, not_fitted
from longtail.inference.predictions import Predictions, Scores


@fitted_on("val", keyword="temperature", learn=lambda rule, val: {"temperature": best_temperature(val)})
def temperature_scaled(predictions: Predictions, *, temperature: float | None = None) -> Scores:
    """Divides the logits by one number, which changes no predicted class: z / T.

    Source: Guo et al., ICML 2017, Sec. 4.2. If T (`temperature`) is None, it is fitted: the value between 0.001 and 1000 with the
    lowest negative log-likelihood on the validation images.
    """
    if temperature is None:
        raise not_fitted(temperature_scaled)
    return predictions.logits / temperature


def best_temperature(val: Predictions, weights: Tensor | None = None) -> float:
    """The T that minimises sum_i w_i CE(z_i / T, y_i), found by bisection on log T.

    As a function of 1 / T the sum is convex, with the derivative sum_i w_i (sum_j p_ij z_ij - z_iy), p = softmax(z / T).

    Args:
        weights: weight of each image (M,), w >= 0, such as `choosing.image_weights`; None where they weigh the same.
    """
    logits = val.logits.double()
    share = torch.full((len(logits),), 1 / max(len(logits), 1), dtype=torch.float64) if weights is None else weights.double()
    true_logit = logits.gather(1, val.labels[:, None])[:, 0] @ share
    low, high = math.log(1e-3), math.log(1e3)
    for _ in range(40):
        middle = (low + high) / 2
        expected = ((logits / math.exp(middle)).softmax(1) * logits).sum(1) @ share
        low, high = (middle, high) if expected > true_logit else (low, middle)
    return math.exp((low + high) / 2)
