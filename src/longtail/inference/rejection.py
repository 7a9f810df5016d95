"""Open-set recognition: an image may belong to none of the classes."""

from __future__ import annotations

from jaxtyping import Int
from torch import Tensor

from longtail.errors import UserError
from longtail.inference.predictions import Predictions


def open_set(predictions: Predictions, *, threshold: float = 0.1) -> Int[Tensor, " images"]:
    """The most probable class, or -1 ("unknown") where its probability is below the threshold.

    It returns labels, not scores, so a recipe cannot use it as its post hoc rule; `longtail.metrics.open_f_measure` evaluates it.

    Source: Liu et al., CVPR 2019 (OLTR), Sec. 4; 0.1 in the authors' code. The probability depends on the logits' temperature.
    """
    if not 0 <= threshold <= 1:
        raise UserError(f"`threshold` is a probability, from 0 to 1; got {threshold}.")
    confidence, predicted = predictions.logits.softmax(1).max(1)
    return predicted.where(confidence >= threshold, -1)
