"""The figure of the training images of each class, the classes with the most images first, and their groups."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from longtail.reporting.answer import Answer
from longtail.reporting.plotting import GROUP_COLOURS, counted, legend, new_axes, new_figure
from longtail.reporting.section import Drawing, Table
from longtail.results import GROUPS
from longtail.runs.report import ClassEntry


def class_counts(answer: Answer) -> Drawing:
    """Draws the training images per class on a logarithmic scale, coloured by group."""
    entries = sorted(answer.report.classes, key=lambda entry: -entry.train_images)
    counts = [entry.train_images for entry in entries]
    caption = (
        f"Training images of each class, on a logarithmic scale: {len(counts):,} classes, {max(counts):,} to {min(counts):,} "
        f"images, an imbalance of {answer.report.imbalance:g}."
    )
    rows = [(rank, entry.name, entry.train_images, entry.group) for rank, entry in enumerate(entries, 1)]
    columns = ("rank", "class", "training images", "group")
    numbers = Table("training-images", caption, columns, rows, shown=False)
    return Drawing("training-images", caption, _figure(entries), numbers)


def _figure(entries: Sequence[ClassEntry]) -> Any:
    figure = new_figure()
    axes = new_axes(figure, xlabel="classes, most images first", ylabel="training images", yscale="log")
    edges = np.arange(len(entries) + 1) + 0.5
    heights = np.array([max(entry.train_images, 0.5) for entry in entries])
    for group in GROUPS:
        own = np.array([entry.group == group for entry in entries])
        if own.any():
            shown = np.where(own, heights, np.nan)
            axes.stairs(
                shown, edges, baseline=heights.min() / 2, fill=True, color=GROUP_COLOURS[group], label=f"{group} ({own.sum():,})"
            )
    counted(axes.yaxis)
    axes.set_xlim(edges[0], edges[-1])
    legend(axes, loc="upper right")
    return figure
