"""The gallery of images that occur twice, in several splits or classes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from longtail.reporting.copies import Pair
from longtail.reporting.galleries import Exhibits
from longtail.reporting.originals import Row
from longtail.reporting.section import Cell, Gallery, Picture, Table

SHOWN_GROUPS, SHOWN_OF_GROUP = 6, 4
COLUMNS = ("group", "kind", "path", "split", "class", "cosine of the features", "correlation of the grey values")
CAPTION = (
    "Images that occur in more than one split or class: files of equal content, and pairs whose features and small grey images "
    "are nearly equal. What lies in training and test images makes the result too good."
)


def gallery_of_copies(exhibits: Exhibits, equal: Sequence[Sequence[Row]], pairs: Sequence[Pair]) -> Gallery:
    """Images that occur twice.

    Args:
        equal: groups of files of equal content.
        pairs: pairs that are nearly equal.
    """
    shown = [("Equal files", group[:SHOWN_OF_GROUP]) for group in equal[:SHOWN_GROUPS]]
    shown += [(f"Nearly equal (correlation {pair.correlation:.3f})", [pair.first, pair.second]) for pair in pairs[:SHOWN_GROUPS]]
    rows = [(heading, list(_pictures(exhibits, group))) for heading, group in shown]
    numbers = Table("copies", CAPTION, COLUMNS, list(_cells(exhibits, equal, pairs)), shown=False)
    return Gallery("copies", CAPTION, [row for row in rows if row[1]], numbers)


def _pictures(exhibits: Exhibits, rows: Sequence[Row]) -> Iterator[Picture]:
    for row in rows:
        picture = exhibits.thumbnails.picture(row, f"{row.split}: {exhibits.classes[row.label]}; {row.file}")
        if picture is not None:
            yield picture


def _cells(exhibits: Exhibits, equal: Sequence[Sequence[Row]], pairs: Sequence[Pair]) -> Iterator[tuple[Cell, ...]]:
    for number, group in enumerate(equal, 1):
        yield from ((number, "equal", *_image(exhibits, row), None, None) for row in group)
    for number, pair in enumerate(pairs, len(equal) + 1):
        numbers = pair.cosine, pair.correlation
        yield from ((number, "nearly equal", *_image(exhibits, row), *numbers) for row in (pair.first, pair.second))


def _image(exhibits: Exhibits, row: Row) -> tuple[str, str, str]:
    return row.file, row.split, exhibits.classes[row.label]
