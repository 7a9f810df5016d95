"""Several answers in one figure: a colour, a marker and a line style for each, panels above each other, and a legend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from longtail.reporting.answer import Answer
from longtail.reporting.plotting import WIDTH, labelled, legend_above, mark, new_figure, restyle

LINES = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (5, 1.5, 1.2, 1.5)), (0, (8, 2, 2, 2)))
Look = dict[str, Any]
WIDE_NAME = 24  # characters of a name up to which two names fit beside each other above a figure


def looks(names: Sequence[str]) -> dict[str, Look]:
    """Colour, marker, line style and label of the lines of each name; no two of thirty lines look alike."""
    return {name: _look(name, place) for place, name in enumerate(names)}


def _look(name: str, place: int) -> Look:
    return {**mark(place), "linestyle": LINES[place % len(LINES)], "label": labelled(name), "markersize": 4.5, "linewidth": 1.6}


def looks_of(answers: Sequence[Answer]) -> dict[str, Look]:
    """The look of each answer's lines by its name, the same in every figure of a report."""
    return looks([answer.name for answer in answers])


def panels(heights: Sequence[float], *, width: float = WIDTH) -> tuple[Any, list[Any]]:
    """A figure, and panels above each other that share the horizontal axis, of the given heights in inches."""
    figure = new_figure(width, sum(heights) + 0.5)
    grid = figure.subplots(len(heights), 1, sharex=True, squeeze=False, gridspec_kw={"height_ratios": list(heights)})
    for axes in grid[:, 0]:
        axes.set_facecolor("none")
        restyle(axes)
    figure.align_ylabels(grid[:, 0])
    return figure, list(grid[:, 0])


def name_lines(figure: Any, axes: Any) -> None:
    """A legend above the figure, where there is more than one name."""
    names = axes.get_legend_handles_labels()[1]
    if len(names) > 1:
        legend_above(figure, axes, columns=1 if max(map(len, names)) > WIDE_NAME else 2)


def points(share: float) -> str:
    """A difference of shares in points, such as 27.8; without a sign."""
    return f"{abs(100 * share):.1f}"
