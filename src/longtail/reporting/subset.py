"""The few classes that stand for all in a figure: from the one with the most training images to the one with the fewest."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from longtail.errors import UserError
from longtail.text import unknown

AUTOMATIC = "auto"
SHOWN_COUNTS = (500, 200, 100, 50)  # training images of the classes in Figure 1 of Li, Cheung, Lu, CVPR 2022


def spread_classes(counts: Sequence[int], *, wanted: int = 4) -> list[int]:
    """Labels of `wanted` classes at equal steps of the ranking by training images, the largest and the smallest among them."""
    ranked = np.argsort(-np.asarray(counts), kind="stable")
    places = np.linspace(0, len(ranked) - 1, min(wanted, len(ranked))).round().astype(int)
    return [int(label) for label in ranked[places]]


def classes_of_figure(counts: Sequence[int], evaluated: Sequence[bool]) -> list[int]:
    """Labels of the four classes whose training images are nearest to 500, 200, 100 and 50, most first.

    Of data whose largest class has fewer than 500 images, or which have no four classes so far apart, `spread_classes` takes
    their place. Classes without test images are left out.
    """
    known = [label for label in range(len(counts)) if evaluated[label]]
    chosen = list[int]()
    for count in SHOWN_COUNTS if max(counts) >= SHOWN_COUNTS[0] else ():
        rest = [label for label in known if label not in chosen]
        chosen += [min(rest, key=lambda label: abs(counts[label] - count))] if rest else []
    near = len(chosen) == len(SHOWN_COUNTS) and all(
        count / 1.5 <= counts[label] <= 1.5 * count for label, count in zip(chosen, SHOWN_COUNTS, strict=True)
    )
    return chosen if near else [known[place] for place in spread_classes([counts[label] for label in known])]


def asked_classes(asked: Sequence[str], names: Sequence[str], counts: Sequence[int], evaluated: Sequence[bool]) -> list[int]:
    """Labels of the classes that were asked for by name; ("auto",) stands for those of `classes_of_figure`.

    Raises:
        UserError: a class is unknown or has no test images.
    """
    if tuple(asked) == (AUTOMATIC,):
        return classes_of_figure(counts, evaluated)
    for name in asked:
        if name not in names:
            raise UserError(unknown("class", name, list(names)[:20]))
        if not evaluated[names.index(name)]:
            raise UserError(f"The class '{name}' has no test images, so that `tsne` cannot show it.")
    return [names.index(name) for name in dict.fromkeys(asked)]


def shortened(names: Sequence[str], length: int = 24) -> list[str]:
    """Names that fit into a legend: cut at their ends, those that would be alike in the middle, and no two alike."""
    cut = [name if len(name) <= length else f"{name[: length - 1]}…" for name in names]
    half = length // 2
    middle = [
        short if cut.count(short) == 1 else f"{name[:half]}…{name[half - length + 1 :]}"
        for name, short in zip(names, cut, strict=True)
    ]
    return [short if middle.count(short) == 1 else name for name, short in zip(names, middle, strict=True)]
