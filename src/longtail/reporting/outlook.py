"""What a run's network says of its images: features, the predicted class, and the probabilities of that and of the true class."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from longtail.reporting.answer import Answer
from longtail.reporting.curves import FAR
from longtail.reporting.originals import Originals, Row
from longtail.runs.model_config import square_of
from longtail.runs.serving import Predictor

Array = NDArray[Any]
Watch = Callable[[int, int], None]
BATCH = 128
LONG = 1e15  # number up to which features have squares in float32
CHUNK = 1024


@dataclass(frozen=True)
class Outlook:
    """Images and what the network says of them.

    Args:
        rows: the images (M,).
        features: their features, of unit length (M, D), float32.
        predicted: class with the highest score (M,).
        top: its probability (M,).
        own: probability of the true class (M,).
    """

    rows: Sequence[Row]
    features: Array
    predicted: Array
    top: Array
    own: Array

    @property
    def labels(self) -> Array:
        """Classes of the images (M,)."""
        return np.array([row.label for row in self.rows], dtype=np.int64)

    def of_split(self, split: str) -> Outlook:
        """The images of one split."""
        own = np.array([row.split == split for row in self.rows], dtype=bool)
        rows = [row for row in self.rows if row.split == split]
        return Outlook(rows, self.features[own], self.predicted[own], self.top[own], self.own[own])


NOTHING = Outlook((), np.zeros((0, 1), np.float32), np.zeros(0, np.int64), np.zeros(0), np.zeros(0))


def outlook_of_test(answer: Answer, rows: Sequence[Row]) -> Outlook:
    """The outlook on the test images, from the stored predictions; `rows` are the images of the run's split."""
    own = [row for row in rows if row.split == "test"]
    return Outlook(own, unit_rows(answer.features), *judged(answer.scores, answer.labels, answer.predicted))


def outlook_of_training(predictor: Predictor, originals: Originals, *, limit: int, watch: Watch | None = None) -> Outlook:
    """The outlook on training and validation images, each seen once in one view; those that cannot be opened are left out.

    Args:
        limit: number of images above which as many are drawn, evenly from all classes.
        watch: called with (number of images seen, number of all).
    """
    rows = drawn_evenly([row for row in originals.rows if row.split != "test"], limit)
    squares = originals.squares(rows, **square_of(predictor.config))
    seen, kept, parts = zip(rows, squares, strict=True), list[Row](), list[tuple[Array, ...]]()
    done = 0
    while batch := list(islice(seen, BATCH)):
        done += len(batch)
        whole = [(row, square) for row, square in batch if square is not None]
        if whole:
            kept += [row for row, _ in whole]
            parts.append(_looked_at(predictor, *zip(*whole, strict=True)))
        if watch is not None:
            watch(done, len(rows))
    return Outlook(kept, *(np.concatenate(column) for column in zip(*parts, strict=True))) if parts else NOTHING


def drawn_evenly(rows: Sequence[Row], limit: int) -> list[Row]:
    """At most `limit` of the images, and at least one of each class: all of rare classes, equally many of the others.

    Which images of a class are drawn depends on nothing but their order.
    """
    labels = np.array([row.label for row in rows], dtype=np.int64)
    counts = np.bincount(labels) if len(labels) else np.zeros(0, dtype=int)
    caps = range(1, int(counts.max(initial=0)) + 1)
    most = max(bisect_right(caps, limit, key=lambda cap: np.minimum(counts, cap).sum()), 1)
    generator = np.random.default_rng(0)
    chosen = [generator.permutation(np.flatnonzero(labels == label))[:most] for label in np.flatnonzero(counts)]
    return [rows[index] for index in np.sort(np.concatenate(chosen))] if chosen else []


def unit_rows(features: Array) -> Array:
    """Vectors (M, D) scaled to unit length, float32; a vector of zeros stays one."""
    features = np.nan_to_num(features).clip(-LONG, LONG)
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    scaled: Array = (features / np.where(lengths > 0, lengths, 1)).astype(np.float32)
    return scaled


def judged(scores: Array, labels: Array, predicted: Array) -> tuple[Array, Array, Array]:
    """Predicted classes (M,), their probabilities (M,), and those of the true classes (M,), the softmax of scores (M, C)."""
    top, own = np.empty(len(labels)), np.empty(len(labels))
    for start in range(0, len(labels), CHUNK):
        part = slice(start, start + CHUNK)
        known = np.nan_to_num(scores[part].astype(np.float64), posinf=FAR, neginf=-FAR)
        shares = np.exp(known - known.max(1, keepdims=True))
        shares /= shares.sum(1, keepdims=True)
        each = np.arange(len(shares))
        top[part], own[part] = shares[each, predicted[part]], shares[each, labels[part]]
    return predicted, top, own


def _looked_at(predictor: Predictor, rows: Sequence[Row], squares: Sequence[Tensor]) -> tuple[Array, ...]:
    features, scores = predictor.features_and_scores(torch.stack(tuple(squares)))
    labels = np.array([row.label for row in rows], dtype=np.int64)
    return (unit_rows(features.float().numpy()), *judged(scores.float().numpy(), labels, scores.argmax(1).numpy()))
