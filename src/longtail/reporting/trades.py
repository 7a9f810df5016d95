"""What rare classes gain and common ones pay over the strength tau of a logit adjustment of their logits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from longtail.data.groups import shot_groups
from longtail.reporting.answer import Answer, Array
from longtail.reporting.overlays import Look, looks_of, name_lines
from longtail.reporting.plotting import FONT, GREY, new_axes, new_figure
from longtail.reporting.section import Cell, Drawing, Table
from longtail.reporting.shifts import TAUS, adjusted_predictions, group_recalls, recalls_of

ENDS_OF = {False: ("few", "many"), True: ("the rarest third", "the most common third")}
MARKED = (0.0, 0.5, 1.0, 1.5, 2.0)
LEAST = 5.0  # points between the ends of an axis
BY_LOGITS = ("as_trained", "logit_adjusted", "temperature_scaled", "rebalanced")  # rules that add a number to each class's logit
Members = Mapping[str, Sequence[int]]
HOW = (
    "Logit adjustment with a strength tau moves predictions from common classes to rare ones: along a curve the recall of "
    "rare classes rises at first and that of common ones falls. The curves are drawn on the test images to show the trade; "
    "nothing was chosen by them. A network that was trained with a balancing loss is adjusted once more: its tau = 0 is the "
    "network as trained."
)


@dataclass(frozen=True)
class Trade:
    """Recalls of the groups of an answer's classes: at each tau, and of the answer itself."""

    answer: Answer
    by_tau: Sequence[Mapping[str, float]]
    mean_recalls: Sequence[float]
    own: Mapping[str, float]


def trades_of(answers: Sequence[Answer]) -> tuple[list[str], list[Drawing]]:
    """Sentences on the curves and on the answers that have none, and the figure where there are curves."""
    members, thirds = _members(answers[0])
    trades = [_trade(answer, members) for answer in answers if _rule_of(answer) in BY_LOGITS]
    said = [HOW, *(sentence for trade in trades for sentence in _gain(trade, thirds))] if trades else []
    left_out = [answer for answer in answers if _rule_of(answer) not in BY_LOGITS]
    return [*said, *_said_of_left_out(left_out)], _trade_drawing(trades, looks_of(answers), thirds)


def _said_of_left_out(answers: Sequence[Answer]) -> list[str]:
    if not answers:
        return []
    named = ", ".join(f"{answer.name} (rule {_rule_of(answer)})" for answer in answers)
    why = "a curve would be that of the network's own classifier, by which"
    return [f"The curves over tau leave out {named}: {why} {'it does' if len(answers) == 1 else 'they do'} not answer."]


def _rule_of(answer: Answer) -> str:
    """Name of the rule that turns the network's output into the answer's scores."""
    recipe = answer.record.get("recipe")
    rule = recipe.get("inference") if isinstance(recipe, Mapping) else None
    return str(rule["call"]).rpartition(".")[2] if isinstance(rule, Mapping) and "call" in rule else BY_LOGITS[0]


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


def _trade_drawing(trades: Sequence[Trade], looks: Mapping[str, Look], thirds: bool) -> list[Drawing]:
    """Few against many recall; nothing where one of the groups has no test images, or no answer has a curve."""
    if not trades or any(not {"few", "many"} <= trade.own.keys() for trade in trades):
        return []
    groups = "the most common and the rarest third of the classes" if thirds else "the classes with many and few training images"
    caption = (
        f"Mean recall of {groups}, over the strength tau of a logit adjustment of the network's own logits, from 0 to 2; the "
        "large marker with a ring is the run as it is. A picture of the trade on the test images: nothing was chosen by it."
    )
    columns = ("answer", "tau", "many", "medium", "few", "mean recall")
    rows = [row for trade in trades for row in _trade_rows(trade)]
    return [Drawing("tau", caption, _trade_figure(trades, looks, thirds), Table("tau", caption, columns, rows, shown=False))]


def _trade_rows(trade: Trade) -> list[tuple[Cell, ...]]:
    labelled: list[tuple[Cell, Mapping[str, float], float]] = [
        *zip(TAUS, trade.by_tau, trade.mean_recalls, strict=True),
        ("as it is", trade.own, trade.answer.report.test.mean_recall),
    ]
    return [(trade.answer.name, tau, *(own.get(g) for g in ("many", "medium", "few")), mean) for tau, own, mean in labelled]


def _trade_figure(trades: Sequence[Trade], looks: Mapping[str, Look], thirds: bool) -> Any:
    figure = new_figure(height=4.0)
    rare, common = ENDS_OF[thirds]
    axes = new_axes(figure, xlabel=f"recall of {common} in %", ylabel=f"recall of {rare} in %")
    for trade in trades:
        look = {**looks[trade.answer.name], "clip_on": False}  # a recall of 0 or 100 % lies on the frame
        many, few = (100 * np.array([own[group] for own in trade.by_tau]) for group in ("many", "few"))
        axes.plot(many, few, markevery=[TAUS.index(tau) for tau in MARKED], **look)
        ring = {"markersize": 12, "markeredgewidth": 1.6, "markerfacecolor": "none", "linestyle": "none"}
        own = {"color": look["color"], "linestyle": "none", "clip_on": False}
        axes.plot(100 * trade.own["many"], 100 * trade.own["few"], marker="o", **{**own, **ring})
        axes.plot(100 * trade.own["many"], 100 * trade.own["few"], marker=look["marker"], markersize=7, **own)
    _name_taus(axes, trades[0])
    axes.margins(0.08)
    axes.set(xlim=_within(*axes.get_xlim()), ylim=_within(*axes.get_ylim()))
    name_lines(figure, axes)
    return figure


def _within(low: float, high: float) -> tuple[float, float]:
    """The ends of an axis of recalls: between 0 and 100 %, and at least a few points apart."""
    low, high = max(low, 0.0), min(high, 100.0)
    return (low, max(high, low + LEAST)) if low + LEAST <= 100 else (min(low, 100 - LEAST), 100.0)


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
