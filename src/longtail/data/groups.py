"""The groups of classes that results are reported for: those of many, medium and few training images."""

from __future__ import annotations

from longtail.data.imbalance import Counts, plain_counts
from longtail.errors import UserError
from longtail.results import FEW_BELOW, GROUPS, MANY_ABOVE


def shot_groups(class_counts: Counts, *, rule: str = "shots") -> dict[str, list[int]]:
    """Labels of the classes in each group, by their number of training images (thresholds of Kang et al., ICLR 2020).

    Args:
        class_counts: training images per class, (C,).
        rule: "shots" for the thresholds 100 and 20 (a class with exactly 100 or 20 images is medium); "auto" for thirds of the
            classes by count (most first), which also suits small data.

    Raises:
        UserError: there is no such rule.

    >>> shot_groups([500, 100, 20, 19])
    {'many': [0], 'medium': [1, 2], 'few': [3]}
    """
    counts = plain_counts(class_counts)
    if rule == "auto":
        return _thirds(counts)
    if rule != "shots":
        raise UserError(f"There is no group rule {rule!r}; there are 'shots' and 'auto'.")
    groups: dict[str, list[int]] = {name: [] for name in GROUPS}
    for label, count in enumerate(counts):
        groups["many" if count > MANY_ABOVE else "few" if count < FEW_BELOW else "medium"].append(label)
    return groups


def group_of_each(class_counts: Counts, *, rule: str = "shots") -> list[str]:
    """Name of each class's group, (C,)."""
    members = shot_groups(class_counts, rule=rule)
    group_of = {label: name for name, labels in members.items() for label in labels}
    return [group_of[label] for label in range(len(class_counts))]


def _thirds(counts: list[int]) -> dict[str, list[int]]:
    """Thirds of the classes, most images first; where they cannot be equal, the first groups have one class more."""
    ranked = sorted(range(len(counts)), key=lambda label: -counts[label])
    ends = [-(-index * len(counts) // 3) for index in range(4)]
    return {name: sorted(ranked[ends[index] : ends[index + 1]]) for index, name in enumerate(GROUPS)}
