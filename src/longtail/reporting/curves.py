"""Numbers on certainty: how sure predictions are, whether that is justified, and what leaving out the unsure ones does."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from longtail.reporting.answer import Array

BINS = 15  # those of metrics.expected_calibration_error
FAR = 1e30  # in place of infinite scores
CHUNK = 2**18  # scores that are worked on at a time, few enough for a processor's cache


def certainty(scores: Array) -> Array:
    """Probability of the predicted class of each image (M,), the largest of the softmax of its scores (M, C).

    Scores that overflowed when they were stored, as inf, count as a very large number.
    """
    rows = max(CHUNK // scores.shape[1], 1)
    parts = [_largest_probability(scores[start : start + rows]) for start in range(0, len(scores), rows)]
    return np.concatenate([np.zeros(0), *parts])


def _largest_probability(scores: Array) -> Array:
    finite = np.nan_to_num(scores, posinf=FAR, neginf=-FAR)
    shares: Array = 1 / np.exp(finite - finite.max(1, keepdims=True)).sum(1, dtype=np.float64)
    return shares


@dataclass(frozen=True)
class Reliability:
    """A reliability diagram: the images in bins of their certainty.

    Args:
        edges: ends of the bins (B + 1,); a bin holds its upper end.
        images: number of images in each bin (B,).
        certainty: mean certainty of the images in each bin (B,); nan for an empty one.
        accuracy: share of the images in each bin that are classified correctly (B,); nan for an empty one.
    """

    edges: Array
    images: Array
    certainty: Array
    accuracy: Array

    @property
    def error(self) -> float:
        """Expected calibration error, sum_b |b| / M |accuracy_b - certainty_b| (Guo et al., ICML 2017, Eq. 3)."""
        return self._mean_gap(np.abs(self.accuracy - self.certainty))

    @property
    def excess(self) -> float:
        """Mean certainty minus accuracy: above 0 where the probabilities are too high."""
        return self._mean_gap(self.certainty - self.accuracy)

    def _mean_gap(self, gaps: Array) -> float:
        held = self.images > 0
        return float((self.images * gaps)[held].sum() / self.images.sum()) if held.any() else float("nan")


def reliability(certain: Array, right: Array, *, bins: int = BINS) -> Reliability:
    """Gathers images in bins of equal width by their certainty (M,); `right` (M,) says which are classified correctly."""
    bin_of = np.clip(np.ceil(certain * bins).astype(int), 1, bins) - 1
    images = np.bincount(bin_of, minlength=bins)
    filled = np.where(images > 0, images, np.nan)
    sums = (np.bincount(bin_of, weights=values.astype(float), minlength=bins) for values in (certain, right))
    return Reliability(np.linspace(0, 1, bins + 1), images, *(total / filled for total in sums))


@dataclass(frozen=True)
class Coverage:
    """What is right among the images that are kept, when the least sure ones are left out.

    Args:
        coverage: share of the images that are kept (K,), increasing to 1.
        accuracy: share of the kept images that are classified correctly (K,).
        mean_recall: mean of the recalls, among the kept images, of the classes that have any there (K,).
        classes: number of classes that have kept images (K,).
    """

    coverage: Array
    accuracy: Array
    mean_recall: Array
    classes: Array

    @property
    def area(self) -> float:
        """Mean accuracy over all coverages: 1 - AURC (Geifman et al., ICLR 2019)."""
        return float(self.accuracy.mean()) if len(self.accuracy) else float("nan")

    @property
    def area_of_recall(self) -> float:
        """Mean of the mean recall over all coverages."""
        return float(self.mean_recall.mean()) if len(self.accuracy) else float("nan")

    def at(self, coverage: float) -> int:
        """Index of the smallest stored coverage that is at least as large."""
        return min(int(np.searchsorted(self.coverage, coverage - 1e-12)), len(self.coverage) - 1)


def coverage_curve(certain: Array, right: Array, labels: Array) -> Coverage:
    """Keeps the 1, 2, ..., M surest images by their certainty (M,); images that are equally sure are kept or left out together.

    Where a coverage would part images that are equally sure, it has the values of all of them.
    """
    order = np.argsort(-certain, kind="stable")
    kept = np.arange(1, len(order) + 1)
    accuracy = right[order].cumsum() / kept
    recalls, classes = _running_recalls(right[order], labels[order])
    ends = np.searchsorted(-certain[order], -certain[order], side="right") - 1
    return Coverage(kept / max(len(kept), 1), accuracy[ends], recalls[ends], classes[ends])


def _running_recalls(right: Array, labels: Array) -> tuple[Array, Array]:
    """Mean recall over the classes met so far, and their number, after each image of a sequence."""
    order = np.argsort(labels, kind="stable")
    begins = np.flatnonzero(np.diff(labels[order], prepend=-1))
    sizes = np.diff(begins, append=len(order))
    place = np.arange(len(order)) - np.repeat(begins, sizes)
    hits = right[order].cumsum() - np.repeat((right[order].cumsum() - right[order])[begins], sizes)
    recall = hits / (place + 1)
    before = np.where(place > 0, np.roll(recall, 1), 0)
    steps, firsts = np.empty(len(order)), np.empty(len(order))
    steps[order], firsts[order] = recall - before, place == 0
    classes = firsts.cumsum()
    return steps.cumsum() / np.maximum(classes, 1), classes.astype(int)
