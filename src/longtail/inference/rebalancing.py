"""Prediction re-balancing: lowers the scores of classes that are predicted too often over a whole set of images."""

from __future__ import annotations

from functools import partial
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from longtail.arguments import as_vector, exact
from longtail.errors import UserError
from longtail.inference.fitting import fitted_on, not_fitted
from longtail.inference.predictions import Predictions, Scores, like

Source = Literal["test", "val"]


@fitted_on("source", keyword="column_sums", learn=lambda rule, images: {"column_sums": summed_probabilities(images)})
def rebalanced(
    predictions: Predictions,
    *,
    tau: float = 1.0,
    source: Source = "test",
    column_sums: Tensor | None = None,
) -> Scores:
    """Divides each class's probability by a power of the sum of its probabilities over all images.

    s_ij = log(p_ij / q_j^tau),  p = softmax(z),  q_j = sum_i p_ij

    TRANSDUCTIVE with `source` "test": q is summed over the same images that are classified, so the score of one image depends on
    the others (a single image alone scores 0 everywhere at tau 1); labels are not used. "val" sums over held-out images instead.

    Source: Zhang et al., ICASSP 2024 (arXiv 2403.09036), "prediction re-balancing"; their code divides the probabilities; here
    the scores are the logarithms, so that a softmax of the scores is calibrated; the order of the classes is the same.

    Args:
        tau: exponent of q; 1 in the authors' configurations, 1.4 to 1.7 in their large-scale tables.
        source: the split over whose images q is summed when the rule is fitted.
        column_sums: q (C,), once fitted. If it is None and `source` is "test", q is summed over `predictions` themselves.
    """
    if source not in ("test", "val"):
        raise UserError(f"rebalanced has no source {source!r}; it has 'test' and 'val'.")
    if column_sums is None:
        if source == "val":
            raise not_fitted(partial(rebalanced, source=source))
        column_sums = summed_probabilities(predictions)
    column_sums = as_vector("rebalanced", column_sums, length=predictions.logits.shape[1], name="column_sums")
    correction = column_sums.clamp(min=torch.finfo(column_sums.dtype).tiny).log()
    return predictions.logits.log_softmax(1) - tau * like(correction, predictions.logits)


def summed_probabilities(predictions: Predictions) -> Float[Tensor, " classes"]:
    """q_j = sum_i p_ij, in float64."""
    return exact(predictions.logits).softmax(1).sum(0)
