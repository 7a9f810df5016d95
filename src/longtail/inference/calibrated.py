"""Temperature scaling: makes the confidence of the predictions agree with their accuracy."""

from __future__ import annotations

import math

import torch

from longtail.arguments import exact
from longtail.errors import UserError
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
    if not temperature > 0:
        raise UserError(f"`temperature` must be above 0; got {temperature}.")
    return predictions.logits / temperature


def best_temperature(val: Predictions) -> float:
    """The T that minimises mean_i CE(z_i / T, y_i), found by bisection on log T.

    As a function of 1 / T the mean is convex, with the derivative mean_i (sum_j p_ij z_ij - z_iy), p = softmax(z / T).
    """
    logits = exact(val.logits)
    true_logit = logits.gather(1, val.labels.to(logits.device)[:, None]).mean()
    low, high = math.log(1e-3), math.log(1e3)
    for _ in range(40):
        middle = (low + high) / 2
        expected = torch.tensordot((logits / math.exp(middle)).softmax(1), logits, dims=2) / len(logits)
        low, high = (middle, high) if expected > true_logit else (low, middle)
    return math.exp((low + high) / 2)
