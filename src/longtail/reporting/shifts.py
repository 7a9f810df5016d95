"""Numbers on other class frequencies: test distributions from head-heavy to tail-heavy, and recall over the strength tau."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from longtail.reporting.answer import Array
from longtail.reporting.curves import CHUNK

RATIOS = (50, 25, 10, 5, 2)
TAUS = tuple(step / 10 for step in range(21))


def shifted_priors(counts: Sequence[int]) -> dict[str, Array]:
    """The eleven class distributions of the test-agnostic setting, each (C,) with sum 1, from head-heavy to tail-heavy.

    p_j is proportional to r^(-k_j / (C - 1)), where k_j is the place of class j, from 0, when the classes are sorted by their
    training images, most first: "forward 50" has r = 50, "uniform" 1 and "backward 50" 1 / 50. Classes with equally many training
    images share the mean of their places, so that the order of the classes does not matter.

    Source: Zhang et al., NeurIPS 2022 (SADE), after Hong et al., CVPR 2021 (LADE); the profile is that of LDAM's CIFAR-LT.
    """
    place = _places(np.asarray(counts)) / max(len(counts) - 1, 1)
    ratios = {f"forward {ratio}": float(ratio) for ratio in RATIOS} | {"uniform": 1.0}
    ratios |= {f"backward {ratio}": 1 / ratio for ratio in reversed(RATIOS)}
    return {name: (weights := ratio**-place) / weights.sum() for name, ratio in ratios.items()}


def _places(counts: Array) -> Array:
    """Place of each class by its training images, most first, from 0; equal counts share the mean of their places."""
    _, own, sizes = np.unique(-counts, return_inverse=True, return_counts=True)
    places: Array = (sizes.cumsum() - (sizes + 1) / 2)[own]
    return places


def adjusted_predictions(logits: Array, counts: Sequence[int], taus: Sequence[float] = TAUS) -> Array:
    """Predicted class of each image at each tau (T, M), the largest z_j - tau log(n_j / N) (Menon et al., ICLR 2021, Eq. 9)."""
    share = np.maximum(np.asarray(counts, dtype=float), 0.5)  # no training images are fewer than one
    shift = -np.log(share / share.sum()).astype(np.float32)
    predicted = np.empty((len(taus), len(logits)), dtype=np.int64)
    rows = max(CHUNK // logits.shape[1], 1)
    for start in range(0, len(logits), rows):
        own = logits[start : start + rows]
        for index, tau in enumerate(taus):
            predicted[index, start : start + rows] = (own + np.float32(tau) * shift).argmax(1)
    return predicted


def recalls_of(predicted: Array, labels: Array, classes: int) -> Array:
    """Recall of each class (C,) from predicted classes and labels (M,); nan for a class without images."""
    images = np.bincount(labels, minlength=classes)
    hits = np.bincount(labels[predicted == labels], minlength=classes)
    return hits / np.where(images > 0, images, np.nan)


def group_recalls(recalls: Array, members: Mapping[str, Sequence[int]]) -> dict[str, float]:
    """Mean recall of each group over its classes that have images; groups without such classes are left out."""
    own = {name: recalls[list(classes)] for name, classes in members.items()}
    return {name: float(np.nanmean(values)) for name, values in own.items() if np.isfinite(values).any()}
