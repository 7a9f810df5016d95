"""The parts of a report: sections with sentences, figures, tables and pictures; how they look is the page's matter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

Cell = str | int | float | None


@dataclass(frozen=True)
class Table:
    """Numbers in rows.

    Args:
        name: name of the CSV that the numbers are written to, such as "classes".
        caption: sentence on what the numbers are.
        columns: headings.
        rows: cells; shares are between 0 and 1, None where there is no number.
        shown: whether the page shows the rows; if not, they are in the CSV alone.
        percent: headings of the columns that are shares, which the page prints in percent.
        searchable: whether the page offers to search the rows.
    """

    name: str
    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    shown: bool = True
    percent: frozenset[str] = frozenset()
    searchable: bool = False


@dataclass(frozen=True)
class Drawing:
    """A figure with its numbers.

    Args:
        name: name of its PNG and its CSV, such as "reliability".
        caption: sentence on what the figure shows.
        figure: a `matplotlib.figure.Figure`, made without pyplot.
        numbers: what is drawn, as a table, which the page does not show.
    """

    name: str
    caption: str
    figure: Any
    numbers: Table


@dataclass(frozen=True)
class Picture:
    """A thumbnail: the bytes of a JPEG or PNG, and the line below it."""

    content: bytes
    caption: str


@dataclass(frozen=True)
class Gallery:
    """Pictures in rows, each row with a heading; its numbers (paths, labels, probabilities) are a table for the CSV."""

    name: str
    caption: str
    rows: Sequence[tuple[str, Sequence[Picture]]]
    numbers: Table


@dataclass(frozen=True)
class Section:
    """A section of a report: a title, sentences in plain text, and parts; one without sentences and parts is left out."""

    title: str
    sentences: Sequence[str] = ()
    parts: Sequence[Table | Drawing | Gallery] = field(default_factory=tuple)
