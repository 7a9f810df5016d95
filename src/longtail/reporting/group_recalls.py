"""The results of the groups of classes: a table with intervals, and a figure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from longtail.choosing import recall_interval
from longtail.reporting.answer import Answer
from longtail.reporting.plotting import labelled, legend_above, mark, new_axes, new_figure
from longtail.reporting.section import Cell, Drawing, Section, Table
from longtail.results import GROUP_RANGES, GROUPS, wilson

ALL = "all classes"
Row = tuple[str, str, int, int, float | None, float | None, float | None]


def group_recalls(answers: Sequence[Answer]) -> Section:
    """Section of the mean recall over all classes and over each group, with intervals and numbers of classes and images."""
    rows = [row for of_group in zip(*map(group_rows, answers), strict=True) for row in of_group]
    caption = (
        "Mean recall over the classes of each group in percent, with 95 % intervals: Wilson's at the effective number of test "
        "images. Classes without test images are not counted."
    )
    columns = ("group", "answer", "classes", "test images", "recall", "low", "high")
    table = Table("groups", caption, columns, rows, percent=frozenset(("recall", "low", "high")))
    numbers = Table("groups-figure", caption, columns, rows, shown=False)
    drawn = (
        "Mean recall of the groups with 95 % intervals; below each group the numbers of its evaluated classes and test images."
    )
    drawing = Drawing("groups-figure", drawn, _figure(answers), numbers)
    return Section("Many, medium and few", _sentences(answers), (drawing, table, _overall(answers)))


def group_rows(answer: Answer) -> Iterator[Row]:
    """One row for all classes and one for each group: number of evaluated classes, of their images, recall and interval."""
    test, ranges = answer.report.test, GROUP_RANGES[answer.report.group_rule]
    recalls, images = torch.tensor(test.recalls, dtype=torch.float64), torch.tensor(test.test_counts)
    members = {ALL: [True] * len(recalls)}
    members |= {f"{name} ({ranges[name]})": [c.group == name for c in answer.report.classes] for name in GROUPS}
    for name, own in members.items():
        mask = torch.tensor(own) & (images > 0)
        yield name, answer.name, int(mask.sum()), int(images[mask].sum()), *_shares(recalls[mask], images[mask])


def _shares(recalls: Tensor, images: Tensor) -> tuple[float | None, float | None, float | None]:
    """Mean recall of classes that have images, and its interval; None where there are no such classes."""
    return (recalls.mean().item(), *recall_interval(recalls, images)) if len(recalls) else (None, None, None)


def _sentences(answers: Sequence[Answer]) -> list[str]:
    empty = [name for name, group in answers[0].report.test.groups.items() if not group.classes]
    rule = "Groups are made by the number of training images of a class."
    return [rule, *(f"No class belongs to the group “{name}”." for name in empty)]


def _overall(answers: Sequence[Answer]) -> Table:
    """Accuracy over all test images, and calibration."""
    rows: list[tuple[Cell, ...]] = []
    for answer in answers:
        test, images = answer.report.test, sum(answer.report.test.test_counts)
        rows.append((answer.name, images, test.accuracy, *wilson(test.accuracy, images), test.calibration_error))
    caption = (
        "Accuracy over all test images, whatever their class, in percent with Wilson's 95 % interval; and the expected "
        "calibration error (ECE, 15 bins), the mean distance between a prediction's probability and the share that is right."
    )
    columns = ("answer", "test images", "accuracy", "low", "high", "ECE")
    return Table("accuracy", caption, columns, rows, percent=frozenset(columns[2:]))


def _figure(answers: Sequence[Answer]) -> Any:
    figure = new_figure(height=3.2)
    axes = new_axes(figure, xlabel="group, its classes and their test images", ylabel="mean recall in %", ylim=(0, 103))
    rows = [list(group_rows(answer)) for answer in answers]
    step = 0.6 / max(len(answers), 4)
    for number, (answer, own) in enumerate(zip(answers, rows, strict=True)):
        places = np.arange(len(own)) + step * (number - (len(answers) - 1) / 2)
        shares = 100 * np.array([[np.nan if share is None else share for share in row[4:]] for row in own], dtype=float)
        errors = np.abs(shares[:, 1:].T - shares[:, 0])
        how = {**mark(number), "label": labelled(answer.name)}
        axes.errorbar(places, shares[:, 0], yerr=errors, linestyle="none", markersize=6, elinewidth=1.5, capsize=3, **how)
    labels = [f"{row[0].partition(' (')[0]}\n{row[2]:,}\n{row[3]:,}" for row in rows[0]]
    axes.set_xticks(range(len(labels)), labels)
    axes.set_xlim(-0.5, len(labels) - 0.5)
    if len(answers) > 1:
        legend_above(figure, axes)
    return figure
