"""The section on other class frequencies: accuracy from head-heavy to tail-heavy data, and tail gain against head cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from longtail.choosing import effective_images
from longtail.data.groups import shot_groups
from longtail.metrics import accuracy_under_prior
from longtail.reporting.answer import Answer, Array
from longtail.reporting.overlays import looks_of, name_lines
from longtail.reporting.plotting import FONT, GREY, new_axes, new_figure
from longtail.reporting.section import Cell, Drawing, Section, Table
from longtail.reporting.shifts import TAUS, adjusted_predictions, group_recalls, recalls_of, shifted_priors
from longtail.results import percent, wilson

BANDS = 3  # answers up to which intervals are drawn
ENDS = {"forward 50": "Head-heavy (50 to 1)", "uniform": "equal shares", "backward 50": "tail-heavy (1 to 50)"}
ENDS_OF = {False: ("few", "many"), True: ("the rarest third", "the most common third")}
MARKED = (0.0, 0.5, 1.0, 1.5, 2.0)
Members = Mapping[str, Sequence[int]]
HOW = (
    "The accuracy on other class frequencies is the sum of each class's recall times its share there. From left to right the "
    "shares go from one in which the class with the most training images is 50 times as frequent as that with the fewest, "
    "over equal shares, to one in which it is 50 times as rare (the distributions of SADE). No answer was told these "
    "frequencies.",
    "Logit adjustment with a strength tau moves predictions from common classes to rare ones: along a curve the recall of "
    "rare classes rises and that of common ones falls. The curves are drawn on the test images to show the trade; nothing was "
    "chosen by them. A network that was trained with a balancing loss is adjusted once more: its tau = 0 is the network as "
    "trained.",
)


@dataclass(frozen=True)
class Trade:
    """Recalls of the groups of an answer's classes: at each tau, and of the answer itself."""

    answer: Answer
    by_tau: Sequence[Mapping[str, float]]
    mean_recalls: Sequence[float]
    own: Mapping[str, float]


def other_priors(answers: Sequence[Answer]) -> Section:
    """Section on the accuracy under the eleven test distributions of SADE, and on few against many recall over tau."""
    rows = [(answer.name, *row) for answer in answers for row in _accuracies(answer)]
    members, thirds = _members(answers[0])
    trades = [_trade(answer, members) for answer in answers]
    sentences = (*HOW, *_ahead(rows), *(sentence for trade in trades for sentence in _gain(trade, thirds)))
    return Section("Other class frequencies in use", sentences, [_prior_drawing(rows, answers), *_trade_drawing(trades, thirds)])


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


def _members(answer: Answer) -> tuple[Members, bool]:
    """Classes of the groups, and whether they are thirds, which take the place of groups without test images."""
    names = [entry.group for entry in answer.report.classes]
    members = {group: [j for j, name in enumerate(names) if name == group] for group in ("many", "medium", "few")}
    tested = np.array(answer.report.test.test_counts) > 0
    whole = all(tested[members[group]].any() for group in ("many", "few"))
    return (
        (members, answer.report.group_rule == "auto") if whole else (shot_groups(answer.report.class_counts, rule="auto"), True)
    )


def _trade(answer: Answer, members: Members) -> Trade:
    counts, classes = answer.report.class_counts, len(answer.classes)
    recalls = [recalls_of(predicted, answer.labels, classes) for predicted in adjusted_predictions(answer.logits, counts)]
    own = group_recalls(np.array(answer.report.test.recalls), members)
    means = [float(np.nanmean(each)) for each in recalls]
    return Trade(answer, [group_recalls(each, members) for each in recalls], means, own)


def _gain(trade: Trade, thirds: bool) -> list[str]:
    start, one = trade.by_tau[0], trade.by_tau[TAUS.index(1.0)]
    if not {"few", "many"} <= start.keys():
        return []
    few, many = (100 * (one[group] - start[group]) for group in ("few", "many"))
    rare, common = ENDS_OF[thirds]
    return [
        f"{trade.answer.name}: from tau = 0 to 1 the recall of {rare} changes by {few:+.1f} points and that of {common} by "
        f"{many:+.1f}."
    ]


def _trade_drawing(trades: Sequence[Trade], thirds: bool) -> list[Drawing]:
    """Few against many recall; nothing where one of the groups has no test images."""
    if any(not {"few", "many"} <= trade.own.keys() for trade in trades):
        return []
    groups = "the most common and the rarest third of the classes" if thirds else "the classes with many and few training images"
    caption = (
        f"Mean recall of {groups}, over the strength tau of a logit adjustment of the network's own logits, from 0 to 2; the "
        "large marker with a ring is the run as it is. A picture of the trade on the test images: nothing was chosen by it."
    )
    columns = ("answer", "tau", "many", "medium", "few", "mean recall")
    rows = [row for trade in trades for row in _trade_rows(trade)]
    return [Drawing("tau", caption, _trade_figure(trades, thirds), Table("tau", caption, columns, rows, shown=False))]


def _trade_rows(trade: Trade) -> list[tuple[Cell, ...]]:
    labelled: list[tuple[Cell, Mapping[str, float], float]] = [
        *zip(TAUS, trade.by_tau, trade.mean_recalls, strict=True),
        ("as it is", trade.own, trade.answer.report.test.mean_recall),
    ]
    return [(trade.answer.name, tau, *(own.get(g) for g in ("many", "medium", "few")), mean) for tau, own, mean in labelled]


def _trade_figure(trades: Sequence[Trade], thirds: bool) -> Any:
    figure = new_figure(height=4.0)
    rare, common = ENDS_OF[thirds]
    axes = new_axes(figure, xlabel=f"recall of {common} in %", ylabel=f"recall of {rare} in %")
    for trade, look in zip(trades, looks_of([trade.answer for trade in trades]).values(), strict=True):
        many, few = (100 * np.array([own[group] for own in trade.by_tau]) for group in ("many", "few"))
        axes.plot(many, few, markevery=[TAUS.index(tau) for tau in MARKED], **look)
        ring = {"markersize": 12, "markeredgewidth": 1.6, "markerfacecolor": "none", "linestyle": "none"}
        own = {"color": look["color"], "linestyle": "none"}
        axes.plot(100 * trade.own["many"], 100 * trade.own["few"], marker="o", **{**own, **ring})
        axes.plot(100 * trade.own["many"], 100 * trade.own["few"], marker=look["marker"], markersize=7, **own)
    _name_taus(axes, trades[0])
    axes.margins(0.08)
    name_lines(figure, axes)
    return figure


def _name_taus(axes: Any, trade: Trade) -> None:
    """Writes the marked values of tau beside the first curve."""
    before: Array | None = None
    for tau in MARKED:
        own = trade.by_tau[TAUS.index(tau)]
        place = 100 * np.array([own["many"], own["few"]])
        if before is None or np.abs(place - before).max() > 2:  # else the texts would hide each other
            text = f"tau {tau:g}" if before is None else f"{tau:g}"
            axes.annotate(text, place, (5, 5), textcoords="offset points", color=GREY, fontsize=FONT - 1)
            before = place
