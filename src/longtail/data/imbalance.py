"""Long-tailed class counts, and the subsets of images that follow them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from longtail.errors import UserError
from longtail.results import counted

Counts = Sequence[int] | NDArray[np.int64] | Mapping[int, int]
Indices = NDArray[np.int64]


def exponential_counts(num_classes: int, n_max: int, imbalance: float) -> list[int]:
    """Images per class falling exponentially from n_max to n_max / imbalance: int(n_max f^(j / (C - 1))), f = 1 / imbalance.

    The counts are truncated and computed in exactly this form, as in the LDAM code (kaidic/LDAM-DRW@2536330), which every paper
    follows.

    >>> exponential_counts(10, 5000, 100)
    [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
    """
    share = 1 / _at_least_one(imbalance)
    return [int(n_max * share ** (j / max(num_classes - 1, 1))) for j in range(num_classes)]


def step_counts(num_classes: int, n_max: int, imbalance: float) -> list[int]:
    """Images per class: n_max for the first half of the classes, int(n_max / imbalance) for the others.

    >>> step_counts(4, 500, 10)
    [500, 500, 50, 50]
    """
    rare = int(n_max * (1 / _at_least_one(imbalance)))
    return [n_max if j < num_classes // 2 else rare for j in range(num_classes)]


def long_tailed_subset(labels: Counts, counts: Counts, seed: int = 0) -> Indices:
    """Indices of `counts[j]` images of each class j, grouped by class.

    For each class in ascending order, numpy's legacy RandomState shuffles the full list of its indices, and the first ones are
    kept, as in the LDAM code with seed 0; so a smaller subset lies inside a larger one.

    Raises:
        UserError: a class has fewer images than asked for.
    """
    generator = np.random.RandomState(seed)
    labels = np.asarray(labels)
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise UserError(f"`labels` must be class indices of shape (N,), as integers; got {labels.dtype} of shape {labels.shape}.")
    chosen = []
    for label, count in enumerate(plain_counts(counts)):
        images = np.flatnonzero(labels == label)
        if len(images) < count:
            raise UserError(f"Class {label} has {counted(len(images), 'image')}, but {count} were asked for; ask for fewer.")
        generator.shuffle(images)
        chosen.append(images[:count])
    return np.concatenate(chosen)


def cut_counts(class_counts: Counts, imbalance: float) -> list[int]:
    """Number of images to keep of each class for the largest long-tailed subset of this imbalance that the data allow.

    Classes are ranked by count, most first, ties in their order; n_max is the largest value for which the class at every rank j
    has its int(n_max imbalance^(-j / (C - 1))) images.

    Raises:
        UserError: the imbalance is below 1, or n_max would be below 2 imbalance (the rarest class would have 1 image).
    """
    available = np.asarray(plain_counts(class_counts))
    ranked = np.argsort(-available, kind="stable")
    low, high = 0, int(available.max())
    while low < high:
        middle = (low + high + 1) // 2
        fits = np.all(np.array(exponential_counts(len(available), middle, imbalance)) <= available[ranked])
        low, high = (middle, high) if fits else (low, middle - 1)
    if low < 2 * imbalance:
        raise UserError(
            f"An imbalance of {imbalance:g} needs at least {int(np.ceil(2 * imbalance))} images in the largest class, "
            f"but these data allow {low} (counts {available.max()} to {available.min()}). "
            f"The largest imbalance they allow is about {_largest_imbalance(available)}."
        )
    kept = np.zeros(len(available), dtype=np.int64)
    kept[ranked] = exponential_counts(len(available), low, imbalance)
    return [int(count) for count in kept]


def imbalance_factor(class_counts: Counts) -> float:
    """Number of images of the largest class, divided by that of the smallest class.

    Raises:
        UserError: they are not one number per class, or a class has no image.
    """
    counts = plain_counts(class_counts)
    if not min(counts, default=0):
        raise UserError("The imbalance is the largest count divided by the smallest; it needs classes that all have images.")
    return max(counts) / min(counts)


def plain_counts(class_counts: Counts) -> list[int]:
    """The counts as whole numbers of Python; those of a dict or Counter by class index, as `longtail.weighting.in_order` says.

    Raises:
        UserError: they are not one number per class, or one is below 0.
    """
    if isinstance(class_counts, Mapping):
        from longtail.weighting import in_order

        class_counts = in_order("class_counts", class_counts)
    counts = np.asarray(class_counts)
    if counts.ndim != 1 or not len(counts) or counts.dtype.kind not in "iuf" or not np.isfinite(counts).all():
        raise UserError(
            f"`class_counts` must be one number per class, of shape (C,); got {counts.dtype} of shape {counts.shape}."
        )
    if counts.min() < 0:
        raise UserError(f"`class_counts` must be 0 or above; got {counts.min()} for class {counts.argmin()}.")
    return [int(count) for count in counts]


def _at_least_one(imbalance: float) -> float:
    if not 1 <= imbalance < float("inf"):
        raise UserError(f"The imbalance is n_max / n_min, a finite number of at least 1; got {imbalance:g}.")
    return imbalance


def _largest_imbalance(available: NDArray[np.int64]) -> int:
    for imbalance in range(int(available.max()) // 2, 0, -1):
        if np.all(np.array(exponential_counts(len(available), 2 * imbalance, imbalance)) <= np.sort(available)[::-1]):
            return imbalance
    return 1
