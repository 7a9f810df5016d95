"""Galleries of images that the network judged: its most confident errors, and images whose label may be wrong."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from longtail.reporting.outlook import Outlook
from longtail.reporting.section import Cell, Gallery, Picture, Table
from longtail.reporting.thumbnails import Thumbnails
from longtail.results import counted, percent

Array = NDArray[Any]
SHOWN_ERRORS, SHOWN_SUSPECTS = 24, 12
COLUMNS = ("path", "split", "class", "predicted class", "probability", "probability of the class")


@dataclass(frozen=True)
class Exhibits:
    """What galleries of one run are made with: the name of the run, the names of its classes, and its pictures."""

    name: str
    classes: Sequence[str]
    thumbnails: Thumbnails

    def picture(self, outlook: Outlook, index: int, *, verdict: str = "wrong:") -> Picture | None:
        """A picture of an image, with its class, what it was taken for, and its path.

        Args:
            verdict: words between the class and another one that it was taken for.
        """
        row, predicted = outlook.rows[index], int(outlook.predicted[index])
        taken_for = "right" if predicted == row.label else f"{verdict} {self.classes[predicted]}"
        share = percent(float(outlook.top[index]), unit=" %")
        return self.thumbnails.picture(row, f"{self.classes[row.label]}, {taken_for} ({share}); {row.file}")

    def pictures(self, outlook: Outlook, indices: Iterable[int], *, verdict: str = "wrong:") -> list[Picture]:
        """Pictures of those of the images that can be shown."""
        return [found for index in indices if (found := self.picture(outlook, index, verdict=verdict)) is not None]

    def rows(self, outlook: Outlook, indices: Iterable[int]) -> Iterator[tuple[Cell, ...]]:
        """Cells on the images, for the CSV."""
        for index in indices:
            row, predicted = outlook.rows[index], self.classes[int(outlook.predicted[index])]
            shares = float(outlook.top[index]), float(outlook.own[index])
            yield row.file, row.split, self.classes[row.label], predicted, *shares


def gallery_of_errors(exhibits: Exhibits, test: Outlook) -> Gallery:
    """The test images that the network is wrong about and most certain of."""
    wrong = np.flatnonzero(test.predicted != test.labels)
    ranked = wrong[np.argsort(-test.top[wrong], kind="stable")]
    caption = f"Most confident errors of {exhibits.name}: the class of the test image, and what it was taken for, how surely."
    heading = f"{len(wrong):,} of {counted(len(test.rows), 'test image')} {'is' if len(wrong) == 1 else 'are'} classified wrongly"
    rows = [(heading, exhibits.pictures(test, ranked[:SHOWN_ERRORS]))]
    numbers = Table("errors", caption, COLUMNS, list(exhibits.rows(test, ranked)), shown=False)
    return Gallery("errors", caption, rows, numbers)


def gallery_of_suspects(exhibits: Exhibits, found: Sequence[tuple[str, Outlook, Array]]) -> Gallery:
    """Images whose label may be wrong.

    Args:
        found: for each row of pictures a heading, images, and the indices of the suspected ones among them.
    """
    caption = (
        "Images whose label may be wrong: the network is at least as sure of another class as it is of that class's own images "
        "on average, or gives it 90 %, and gives the labelled class less than 5 %. In a rare class it may as well be an image "
        "that was not learned."
    )
    rows = [
        (
            f"{heading}: {len(indices):,} of {len(outlook.rows):,}",
            exhibits.pictures(outlook, indices[:SHOWN_SUSPECTS], verdict="looks like"),
        )
        for heading, outlook, indices in found
    ]
    cells = [row for _, outlook, indices in found for row in exhibits.rows(outlook, indices)]
    return Gallery("suspects", caption, rows, Table("suspects", caption, COLUMNS, cells, shown=False))
