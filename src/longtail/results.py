"""Results of a classifier on the images of one split, as plain numbers that can be printed without torch or numpy."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

GROUPS = ("many", "medium", "few")
MANY_ABOVE, FEW_BELOW = 100, 20
GROUP_RANGES: Mapping[str, Mapping[str, str]] = {
    "shots": {"many": f"> {MANY_ABOVE}", "medium": f"{FEW_BELOW} to {MANY_ABOVE}", "few": f"< {FEW_BELOW}"},
    "auto": {"many": "a third of the classes", "medium": "a third", "few": "a third"},
}
GROUP_RULES: Mapping[str, str] = {
    "shots": f"many > {MANY_ABOVE} training images, medium {FEW_BELOW} to {MANY_ABOVE}, few < {FEW_BELOW}",
    "auto": "thirds of the classes, those with the most training images first",
}
INTERVAL_BELOW = 100
Z95 = 1.959963984540054  # quantile of the normal distribution at 97.5 %
VIEWS = (1, 2, 8)  # of an image in prediction: itself; and its mirror image; all symmetries of the square


@dataclass(frozen=True)
class GroupResult:
    """Mean recall over the evaluated classes of one group.

    Args:
        recall: mean recall, a share in [0, 1]; nan if no class of the group has test images.
        classes: number of classes in the group.
        evaluated_classes: number of classes in the group that have test images.
        images: number of the group's test images.
        interval: 95 % interval of the recall (`choosing.recall_interval`) if the group has fewer than 100 test images, else None.
    """

    recall: float
    classes: int
    evaluated_classes: int
    images: int
    interval: tuple[float, float] | None = None

    @property
    def wants_interval(self) -> bool:
        """Whether the test images are so few that an interval of the recall is needed."""
        return 0 < self.images < INTERVAL_BELOW


@dataclass(frozen=True)
class SplitResult:
    """Results of a classifier on one split. All rates are shares in [0, 1]; nan where nothing could be evaluated.

    Args:
        mean_recall: mean over the evaluated classes of their recall.
        accuracy: share of the images that are classified correctly, whatever their class.
        calibration_error: expected calibration error, 15 bins.
        groups: result of each group of classes, by name.
        recalls: recall of each class, (C,); nan for a class without images.
        test_counts: number of images of each class, (C,).
    """

    mean_recall: float
    accuracy: float
    calibration_error: float
    groups: Mapping[str, GroupResult]
    recalls: tuple[float, ...]
    test_counts: tuple[int, ...]

    @property
    def group_recalls(self) -> dict[str, float]:
        """Recall of the groups that have evaluated classes."""
        return {name: group.recall for name, group in self.groups.items() if group.evaluated_classes}


def wilson(share: float, images: float) -> tuple[float, float]:
    """95 % interval of a share that was found on a number of images (Wilson, 1927); its width is never zero.

    >>> [round(end, 3) for end in wilson(1.0, 10)]
    [0.722, 1.0]
    """
    if images <= 0 or math.isnan(share):
        return 0.0, 1.0
    shrunk = 1 + Z95**2 / images
    centre = (share + Z95**2 / (2 * images)) / shrunk
    half = Z95 / shrunk * math.sqrt(share * (1 - share) / images + Z95**2 / (4 * images**2))
    return max(centre - half, 0.0), min(centre + half, 1.0)


def percent(share: float | None, *, unit: str = "") -> str:
    """A share in [0, 1] as a percentage with one decimal, followed by `unit`; a dash for None and nan.

    >>> percent(0.684), percent(0.684, unit=" %"), percent(float("nan"))
    ('68.4', '68.4 %', '–')
    """
    return "–" if share is None or math.isnan(share) else f"{100 * share:.1f}{unit}"


def counted(number: int, noun: str) -> str:
    """A number of things, such as "1 view".

    >>> counted(1, "view"), counted(8142, "class")
    ('1 view', '8,142 classes')
    """
    plural = "es" if noun.endswith("s") else "s"
    return f"{number:,} {noun}{plural * (number != 1)}"
