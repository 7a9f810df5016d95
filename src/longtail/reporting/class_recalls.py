"""The figure of each class's recall against its training images, with the answers overlaid."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from longtail.choosing import recall_interval
from longtail.reporting.answer import Answer, Array
from longtail.reporting.plotting import counted, labelled, legend_above, mark, new_axes, new_figure
from longtail.reporting.section import Drawing, Table
from longtail.results import wilson

BARS = 30  # classes up to which each point has its interval, and no mean is drawn
POINTS = 2000  # classes above which points are left out
BINS = 10


def class_recalls(answers: Sequence[Answer]) -> Drawing:
    """Draws the recall of each class against its training images, with intervals; of many classes, means of similar ones."""
    few = len(answers[0].classes) <= BARS
    how = "with Wilson's 95 % interval" if few else "and, as lines, means over classes of similar size with their 95 % intervals"
    where = "" if few else " The intervals of the classes are in the CSV."
    caption = f"Recall of each class against its training images, {how}.{where}"
    columns = ("answer", "class", "training images", "test images", "recall", "low", "high")
    numbers = Table("recall", caption, columns, list(_rows(answers)), shown=False)
    return Drawing("recall", caption, _figure(answers), numbers)


def _rows(answers: Sequence[Answer]) -> Iterator[tuple[str | int | float | None, ...]]:
    for answer in answers:
        test = answer.report.test
        for entry, images, recall in zip(answer.report.classes, test.test_counts, test.recalls, strict=True):
            shares = (recall, *wilson(recall, images)) if images else (None, None, None)
            yield answer.name, entry.name, entry.train_images, images, *shares


def _figure(answers: Sequence[Answer]) -> Any:
    figure = new_figure(height=3.8)
    axes = new_axes(figure, xlabel="training images of the class", ylabel="recall in %", xscale="log", ylim=(-3, 103))
    draw = _with_bars if len(answers[0].classes) <= BARS else _with_means
    for number, answer in enumerate(answers):
        shift = 1.04 ** (number - (len(answers) - 1) / 2)  # side by side, where answers have the same value
        draw(axes, answer, shift, {**mark(number), "label": labelled(answer.name)})
    counted(axes.xaxis)
    if len(answers) > 1:
        legend_above(figure, axes)
    return figure


def _evaluated(answer: Answer) -> tuple[Array, Array, Array]:
    """Training images, test images and recalls of the classes that have test images."""
    test = answer.report.test
    known = np.array(test.test_counts) > 0
    return np.array(answer.report.class_counts)[known], np.array(test.test_counts)[known], np.array(test.recalls)[known]


def _with_bars(axes: Any, answer: Answer, shift: float, style: dict[str, Any]) -> None:
    counts, images, recalls = _evaluated(answer)
    ends = np.array([wilson(recall, n) for recall, n in zip(recalls, images, strict=True)]).reshape(-1, 2)
    errors = np.abs(ends.T - recalls)
    axes.errorbar(
        shift * counts, 100 * recalls, yerr=100 * errors, linestyle="none", markersize=5, elinewidth=1, alpha=0.9, **style
    )


def _with_means(axes: Any, answer: Answer, shift: float, style: dict[str, Any]) -> None:
    counts, images, recalls = _evaluated(answer)
    if len(counts) <= POINTS:
        axes.scatter(shift * counts, 100 * recalls, s=10, alpha=0.5, linewidths=0, color=style["color"], marker=style["marker"])
    order = np.argsort(counts, kind="stable")
    bins = [own for own in np.array_split(order, min(BINS, len(order))) if len(own)]
    middle = [np.exp(np.log(np.maximum(counts[own], 1)).mean()) for own in bins]
    means = np.array([recalls[own].mean() for own in bins])
    ends = np.array([recall_interval(torch.tensor(recalls[own]), torch.tensor(images[own])) for own in bins])
    errors = np.abs(ends.T - means)
    axes.errorbar(
        shift * np.array(middle), 100 * means, yerr=100 * errors, linewidth=1.6, markersize=5, elinewidth=1.2, capsize=2, **style
    )
