"""The section on other class frequencies: accuracy from head-heavy to tail-heavy data, with the trade over tau."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from longtail.choosing import effective_images
from longtail.metrics import accuracy_under_prior
from longtail.reporting.answer import Answer
from longtail.reporting.overlays import looks_of, name_lines
from longtail.reporting.plotting import GREY, new_axes, new_figure
from longtail.reporting.section import Drawing, Section, Table
from longtail.reporting.shifts import shifted_priors
from longtail.reporting.trades import trades_of
from longtail.results import percent, wilson

BANDS = 3  # answers up to which intervals are drawn
ENDS = {"forward 50": "Head-heavy (50 to 1)", "uniform": "equal shares", "backward 50": "tail-heavy (1 to 50)"}
HOW = (
    "The accuracy on other class frequencies is the sum of each class's recall times its share there. From left to right the "
    "shares go from one in which the class with the most training images is 50 times as frequent as that with the fewest, "
    "over equal shares, to one in which it is 50 times as rare (the distributions of SADE)."
)


def other_priors(answers: Sequence[Answer]) -> Section:
    """Section on the accuracy under the eleven test distributions of SADE, and on few against many recall over tau."""
    rows = [(answer.name, *row) for answer in answers for row in _accuracies(answer)]
    said, drawings = trades_of(answers)
    return Section(
        "Other class frequencies in use",
        (f"{HOW} {_told(answers[0])}", *_ahead(rows), *said),
        [_prior_drawing(rows, answers), *drawings],
    )


def _told(answer: Answer) -> str:
    """What the scores are meant for."""
    if answer.prior is None:
        return "No answer was told these frequencies."
    return f"The scores of all answers are adjusted to the class prior '{answer.prior}', and to no other of these."


def _accuracies(answer: Answer) -> list[tuple[str, float, float, float]]:
    """Name of each distribution, the expected accuracy there, and its 95 % interval (`wilson` at the effective images)."""
    recalls = torch.tensor(answer.report.test.recalls, dtype=torch.float64)
    labels, rows = torch.from_numpy(answer.labels), []
    for name, shares in shifted_priors(answer.report.class_counts).items():
        prior = torch.from_numpy(shares)
        accuracy = accuracy_under_prior(recalls, prior)
        rows.append((name, accuracy, *wilson(accuracy, effective_images(labels, prior))))
    return rows


def _ahead(rows: Sequence[tuple[Any, ...]]) -> list[str]:
    """A sentence on the answers at both ends and in the middle."""
    sentences = []
    for prior, words in ENDS.items():
        own = {name: accuracy for name, at, accuracy, *_ in rows if at == prior}
        best = max(own, key=lambda name: own[name])
        highest = "" if len(own) == 1 else ", the highest"
        sentences.append(f"{words}: {best} with {percent(own[best], unit=' %')}{highest}")
    return [f"{'; '.join(sentences)}."]


def _prior_drawing(rows: Sequence[tuple[Any, ...]], answers: Sequence[Answer]) -> Drawing:
    banded = len(answers) <= BANDS
    where = "bands are 95 % intervals" if banded else "95 % intervals are in the CSV"
    caption = f"Expected accuracy against the class frequencies in use, from head-heavy to tail-heavy; {where}."
    figure = new_figure(height=3.8)
    axes = new_axes(figure, ylabel="expected accuracy in %", xlabel="← head-heavy    ratio of class frequencies    tail-heavy →")
    for answer, look in zip(answers, looks_of(answers).values(), strict=True):
        own = 100 * np.array([row[2:] for row in rows if row[0] == answer.name]).T
        places = np.arange(own.shape[1])
        axes.plot(places, own[0], **look)
        if banded:
            axes.fill_between(places, own[1], own[2], color=look["color"], alpha=0.15, linewidth=0)
    axes.set_xticks(range(11), ["50", "25", "10", "5", "2", "1", "2", "5", "10", "25", "50"])
    axes.axvline(5, color=GREY, linewidth=0.8, linestyle=(0, (2, 2)))
    name_lines(figure, axes)
    columns = ("answer", "test distribution", "expected accuracy", "low", "high")
    return Drawing("test-priors", caption, figure, Table("test-priors", caption, columns, rows, shown=False))
