"""The result of a classifier on images that come in batches: nothing is kept but counts, so there may be any number of images."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

BINS = 15


class RunningResult:
    """Counts of hits, of images and of confidence, from which `longtail.metrics.result_of` makes the result.

    Args:
        classes: number of classes C.
    """

    hits: Int[Tensor, " classes"]
    counts: Int[Tensor, " classes"]

    def __init__(self, classes: int) -> None:
        self.hits, self.counts = torch.zeros(2, classes, dtype=torch.int64)
        self.gaps = torch.zeros(BINS, dtype=torch.float64)

    def add(self, scores: Float[Tensor, "images classes"], labels: Int[Tensor, " images"]) -> None:
        """Adds a batch of images on the CPU; the softmax of the scores is their probabilities."""
        classes = len(self.counts)
        self.counts += torch.bincount(labels, minlength=classes)
        self.hits += torch.bincount(labels[scores.argmax(1) == labels], minlength=classes)
        calibration_gaps(scores.softmax(1), labels, BINS, into=self.gaps)

    @property
    def calibration_error(self) -> float:
        """Expected calibration error of all images so far (Guo et al., ICML 2017, Eq. 3); nan without any."""
        return (self.gaps.abs().sum() / self.counts.sum()).item()


def calibration_gaps(
    probabilities: Float[Tensor, "images classes"],
    labels: Int[Tensor, " images"],
    bins: int,
    *,
    weights: Float[Tensor, " images"] | None = None,
    into: Float[Tensor, " bins"] | None = None,
) -> Float[Tensor, " bins"]:
    """Sum of right - confidence over the images in each right-closed bin of the confidence, in float64, added to `into`.

    With weights an image counts as its weight.
    """
    confidence, predicted = probabilities.max(1)
    confidence = confidence.double()
    bin_of = (confidence * bins).ceil().long().clamp(1, bins) - 1
    gap = (predicted == labels).double() - confidence
    gap = gap if weights is None else gap * weights
    return (torch.zeros(bins, dtype=torch.float64) if into is None else into).index_add_(0, bin_of, gap)
