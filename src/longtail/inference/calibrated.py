"""Temperature scaling: makes the confidence of the predictions agree with their accuracy."""

from __future__ import annotations

import math

import torch

from longtail.arguments import Numbers, exact
from longtail.errors import UserError
from longtail.inference.fitting import fitted_on, not_fitted
from longtail.inference.predictions import Predictions, Scores
from longtail.weighting import as_image_weights

LOWEST, HIGHEST = 1e-3, 1e3  # ends of the range of temperatures


@fitted_on("val", keyword="temperature", learn=lambda rule, val: {"temperature": best_temperature(val)})
def temperature_scaled(predictions: Predictions, *, temperature: float | None = None) -> Scores:
    """Divides the logits by one number, which changes no predicted class: z / T.

    Source: Guo et al., ICML 2017, Sec. 4.2. If T (`temperature`) is None, it is fitted: the value between 0.001 and 1000 with the
    lowest negative log-likelihood on the validation images; 1 where all of them are classified correctly, since the likelihood
    then rises without end as T falls.
    """
    if temperature is None:
        raise not_fitted(temperature_scaled)
    if not temperature > 0:
        raise UserError(f"`temperature` must be above 0; got {temperature}.")
    return predictions.logits / temperature


def best_temperature(val: Predictions, weights: Numbers | None = None) -> float:
    """The T that minimises sum_i w_i CE(z_i / T, y_i), found by bisection on log T; 1 where no image with a weight is wrong.

    As a function of 1 / T the sum is convex, with the derivative sum_i w_i (sum_j p_ij z_ij - z_iy), p = softmax(z / T). Logits
    of -inf, as of classes that are masked, add nothing to it; images of a masked class, whose loss is infinite at every T, are
    left out.

    Args:
        weights: weight of each image (M,), w >= 0, such as `choosing.image_weights`; None where they weigh the same.

    Raises:
        UserError: the weights are not one finite number per image, none below 0 and one above it, or a logit is nan or inf.
    """
    logits = exact(val.logits)
    images, labels = len(logits), val.labels.to(logits.device)
    share = logits.new_full((images,), 1 / max(images, 1))
    if weights is not None:
        share = as_image_weights("best_temperature", weights, images).to(logits.device)
    if bool((logits.isnan() | (logits == math.inf)).any()):
        raise UserError("best_temperature needs logits that are numbers, or -inf for masked classes; some are nan or inf.")
    own = logits.gather(1, labels[:, None])[:, 0]
    counted = (share > 0) & own.isfinite()
    logits, own, share = logits[counted], own[counted], share[counted]
    if not bool((own < logits.amax(1)).any()):
        return 1.0
    true_logit, finite = own @ share, logits.clamp(min=torch.finfo(logits.dtype).min)
    low, high = math.log(LOWEST), math.log(HIGHEST)
    for _ in range(40):
        middle = (low + high) / 2
        expected = ((logits / math.exp(middle)).softmax(1) * finite).sum(1) @ share
        low, high = (middle, high) if expected > true_logit else (low, middle)
    return math.exp((low + high) / 2)
