"""What is said of the rows of a table that are on other images than most of them: numbers on other images are no comparison."""

from __future__ import annotations

from collections.abc import Sequence

from longtail.runs.row_images import Apart, rows_apart
from longtail.runs.table import Row


def name_in(rows: Sequence[Row], row: Row) -> str:
    """The method of a row, with its number where several rows have that method."""
    alike = [other for other in rows if other.method == row.method]
    return f"{row.method} {alike.index(row) + 1}" if len(alike) > 1 else row.method


def images_below_table(rows: Sequence[Row]) -> list[str]:
    """A sentence on each group of rows that are on other images than most rows; arguments are in backticks."""
    return [_sentence([name_in(rows, row) for row in rows], apart) for apart in rows_apart(rows)]


def _sentence(names: Sequence[str], apart: Apart) -> str:
    own, usual = " and ".join(names[index] for index in apart.rows), names[apart.usual]
    several = len(apart.rows) > 1
    was, its = ("were", "their") if several else ("was", "its")
    if apart.trained:
        numbers = "{:,}, not {:,}".format(*apart.trained)
        return f"{own} {was} trained on other images than {usual} ({numbers}), and evaluated on the same."
    if not apart.tested:
        record = f"The records of {own} have" if several else f"The record of {own} has"
        return f"{record} another hash of the images than that of {usual}: {its} images are others, or of another size."
    same = f"; train with {apart.option} to have the same" if apart.option else ""
    begin = f"{own} {was} evaluated on other test images than {usual}: {apart.tested}."
    return f"{begin} {its.capitalize()} recalls and those of {usual} cannot be compared{same}."


def images_in_sheet(rows: Sequence[Row]) -> list[str]:
    """For each row, whose images differ from those of most rows, a few words; rows are named by their numbers from 1."""
    said = [""] * len(rows)
    for apart in rows_apart(rows):
        what = f"other test images than row {apart.usual + 1} ({apart.tested})"
        if apart.trained:
            what = f"training images: {apart.trained[0]:,}, of row {apart.usual + 1}: {apart.trained[1]:,}"
        elif not apart.tested:
            what = f"another hash of the images than row {apart.usual + 1}"
        for index in apart.rows:
            said[index] = what
    return said
