"""The groups of classes that results are read in: many, medium and few training images."""

from __future__ import annotations

import numpy as np

from longtail.data.imbalance import Counts
from longtail.errors import UserError

GROUP_RULES = ("shots", "auto")


def shot_groups(class_counts: Counts, *, rule: str = "shots") -> dict[str, list[int]]:
    """Classes by their number of training images: many > 100, medium 20 to 100, few < 20 (Kang et al., ICLR 2020).

    Args:
        class_counts: training images per class.
        rule: "shots", or "auto" for thirds of the classes by count (most first), which also suits small data.

    >>> shot_groups([500, 100, 20, 19])
    {'many': [0], 'medium': [1, 2], 'few': [3]}
    """
    counts = np.asarray(class_counts)
    if rule == "auto":
        thirds = np.array_split(np.argsort(-counts, kind="stable"), 3)
        return {name: sorted(third.tolist()) for name, third in zip(("many", "medium", "few"), thirds, strict=True)}
    if rule != "shots":
        raise UserError(f"There is no group rule {rule!r}; there are 'shots' and 'auto'.")
    members = {"many": counts > 100, "medium": (counts >= 20) & (counts <= 100), "few": counts < 20}
    return {name: np.flatnonzero(inside).tolist() for name, inside in members.items()}
