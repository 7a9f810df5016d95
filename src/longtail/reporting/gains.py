"""Who gained and who paid: the difference of each class's recall between the first and the last experiment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from longtail.reporting.answer import Answer
from longtail.reporting.pairs import experiments, name_of_experiment
from longtail.reporting.plotting import FONT, GREY, GROUP_COLOURS, legend, new_axes, new_figure, plain
from longtail.reporting.section import Drawing, Table
from longtail.reporting.subset import shortened
from longtail.results import GROUPS

NAMED = 30  # classes up to which each bar has a name
Row = tuple[str, str, int, int, float, float, float]


def gains(answers: Sequence[Answer]) -> list[Drawing]:
    """Draws the differences, sorted; nothing for a single experiment."""
    every = experiments(answers)
    if len(every) < 2:
        return []
    rows = gain_rows(every[0], every[-1])
    before, after = name_of_experiment(every[0]), name_of_experiment(every[-1])
    seeds = " (means over seeds)" if max(map(len, every)) > 1 else ""
    caption = (
        f"Who gained and who paid: difference of each class's recall from {before} to {after}{seeds}, in points, sorted: "
        f"{_counted(rows)}. Of a class with few test images a difference is often chance."
    )
    columns = ("class", "group", "training images", "test images", f"recall {before}", f"recall {after}", "difference")
    return [Drawing("gains", caption, _figure(rows), Table("gains", caption, columns, rows, shown=False))]


def gain_rows(first: Sequence[Answer], last: Sequence[Answer]) -> list[Row]:
    """The evaluated classes with the recalls of two experiments, means over seeds, and their difference; largest gain first."""
    report = first[0].report
    before, after = (np.mean([run.report.test.recalls for run in runs], axis=0).tolist() for runs in (first, last))
    pairs = zip(report.classes, report.test.test_counts, before, after, strict=True)
    rows = [(c.name, c.group, c.train_images, n, old, new, new - old) for c, n, old, new in pairs if n]
    return sorted(rows, key=lambda row: -row[-1])


def _counted(rows: Sequence[Row]) -> str:
    gained, paid = sum(row[-1] > 0 for row in rows), sum(row[-1] < 0 for row in rows)
    return f"{gained:,} gained, {paid:,} paid, {len(rows) - gained - paid:,} stayed the same"


def _figure(rows: Sequence[Row]) -> Any:
    named = len(rows) <= NAMED
    figure = new_figure(height=max(0.8 + 0.21 * len(rows), 2.2)) if named else new_figure()
    axes = new_axes(figure)
    heights, edges = 100 * np.array([row[-1] for row in rows]), np.arange(len(rows) + 1) - 0.5
    for group in GROUPS:
        own = np.array([row[1] == group for row in rows])
        if own.any():
            shown = np.where(own, heights, 0)
            how = {"fill": True, "color": GROUP_COLOURS[group], "label": f"{group} ({own.sum():,})"}
            axes.stairs(shown, edges, orientation="horizontal" if named else "vertical", **how)
    _label(axes, rows, named)
    legend(axes, loc="best")
    return figure


def _label(axes: Any, rows: Sequence[Row], named: bool) -> None:
    difference = "difference of recall in points"
    if named:
        axes.set(xlabel=difference, ylim=(len(rows) - 0.5, -0.5))
        axes.set_yticks(range(len(rows)), list(map(plain, shortened([row[0] for row in rows]))), fontsize=FONT - 1)
        axes.axvline(0, color=GREY, linewidth=0.8)
    else:
        axes.set(ylabel=difference, xlabel="classes, largest gain first", xlim=(-0.5, len(rows) - 0.5))
        axes.axhline(0, color=GREY, linewidth=0.8)
