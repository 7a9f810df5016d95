"""Images that occur twice: files of equal content, and pairs that are nearly equal in their features and in their grey values."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from longtail.reporting.originals import Row
from longtail.reporting.outlook import Outlook

Array = NDArray[Any]
Grey = Callable[[Row], Array | None]
BLOCK = 1024  # images compared with all others at once
MOST_COMPARED = 1000  # pairs whose grey values are compared
FEATURES_ALIKE = 0.9  # cosine; an image in other views is a little farther
GREY_ALIKE = 0.99  # correlation


@dataclass(frozen=True)
class Pair:
    """Two images that are nearly equal: the cosine of their features, and the correlation of their small grey images."""

    first: Row
    second: Row
    cosine: float
    correlation: float


def equal_files(rows: Sequence[Row]) -> list[list[Row]]:
    """Groups of files of equal content in more than one split or class, those of more than one split first."""
    groups = defaultdict[str, list[Row]](list)
    for row in rows:
        if row.content:
            groups[row.content].append(row)
    found = [group for group in groups.values() if any(_disagree(group[0], row) for row in group)]
    return sorted(found, key=lambda group: len({row.split for row in group}) < 2)


def nearest(queries: Array, keys: Array, count: int = 1, *, skip: Array | None = None) -> tuple[Array, Array]:
    """The `count` nearest of the keys to each query by cosine, nearest first: their indices and cosines, (M, count).

    Args:
        queries: vectors of unit length (M, D).
        keys: vectors of unit length (N, D).
        skip: index of a key that does not count for each query (M,), such as the image itself; -1 for none.
    """
    count = min(count, len(keys))
    indices, cosines = np.empty((len(queries), count), np.int64), np.empty((len(queries), count), np.float32)
    for start in range(0, len(queries), BLOCK):
        part = slice(start, start + BLOCK)
        similar = queries[part] @ keys.T
        if skip is not None:
            own = np.flatnonzero(skip[part] >= 0)
            similar[own, skip[part][own]] = -np.inf
        best = np.argpartition(-similar, count - 1, axis=1)[:, :count]
        order = np.take_along_axis(-similar, best, 1).argsort(1, kind="stable")
        indices[part] = np.take_along_axis(best, order, 1)
        cosines[part] = np.take_along_axis(similar, indices[part], 1)
    return indices, cosines


def nearly_equal(test: Outlook, training: Outlook, grey: Grey) -> list[Pair]:
    """Pairs of an image and its nearest training image that look the same, in another split or class; the most alike first.

    Files of equal content are left out, since `equal_files` finds them.

    Args:
        test: the test images.
        training: training and validation images.
        grey: gives the small grey image of a row, flat, or None where it cannot be opened.
    """
    if len(training.rows) < 2:
        return []
    rows = [*test.rows, *training.rows]
    skip = np.r_[np.full(len(test.rows), -1), np.arange(len(training.rows))]
    indices, cosines = nearest(np.r_[test.features, training.features], training.features, skip=skip)
    pairs = list(zip(rows, (training.rows[index] for index in indices[:, 0]), cosines[:, 0].tolist(), strict=True))
    candidates = [pair for pair in pairs if pair[2] >= FEATURES_ALIKE and _disagree(*pair[:2]) and not _equal(*pair[:2])]
    candidates = sorted(candidates, key=lambda pair: -pair[2])[:MOST_COMPARED]
    found = [Pair(one, other, cosine, correlation(grey(one), grey(other))) for one, other, cosine in candidates]
    alike = {frozenset((pair.first.file, pair.second.file)): pair for pair in found if pair.correlation >= GREY_ALIKE}
    return sorted(alike.values(), key=lambda pair: -pair.correlation)


def correlation(one: Array | None, other: Array | None) -> float:
    """Correlation of the grey values of two images; 0 where one is missing or of one shade, in which nothing can be compared."""
    if one is None or other is None or one.std() == 0 or other.std() == 0:
        return 0.0
    return float(np.corrcoef(one, other)[0, 1])


def _disagree(one: Row, other: Row) -> bool:
    return (one.split, one.label) != (other.split, other.label)


def _equal(one: Row, other: Row) -> bool:
    return bool(one.content) and one.content == other.content
