"""Temperature scaling: logits as sure of themselves as they are right."""

from __future__ import annotations

import math

import torch

from longtail.inference.fitting import fitted_on, not_fitted
from longtail.inference.predictions import Predictions, Scores


@fitted_on("val", keyword="temperature", learn=lambda rule, val: {"temperature": best_temperature(val)})
def temperature_scaled(predictions: Predictions, *, temperature: float | None = None) -> Scores:
    """Divides the logits by one number, which changes no decision: z / T.

    Source: Guo et al., ICML 2017, Sec. 4.2. T None is fitted: the one with the lowest negative log-likelihood on the
    validation images, between 0.001 and 1000.
    """
    if temperature is None:
        raise not_fitted(temperature_scaled)
    return predictions.logits / temperature


def best_temperature(val: Predictions) -> float:
    """The minimum of mean_i CE(z_i / T, y_i), by halving an interval of log T.

    In 1 / T that function is convex, with the slope mean_i (sum_j p_ij z_ij - z_iy), p = softmax(z / T).
    """
    logits = val.logits.double()
    wanted = logits.gather(1, val.labels[:, None]).mean()
    low, high = math.log(1e-3), math.log(1e3)
    for _ in range(40):
        middle = (low + high) / 2
        expected = torch.tensordot((logits / math.exp(middle)).softmax(1), logits, dims=2) / len(logits)
        low, high = (middle, high) if expected > wanted else (low, middle)
    return math.exp((low + high) / 2)
