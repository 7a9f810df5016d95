"""The figure of training: loss, learning rate, and recall on validation and test images by epoch, with the stages marked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from longtail.reporting.answer import Answer, Array
from longtail.reporting.overlays import Look, looks_of, name_lines, panels
from longtail.reporting.plotting import GREY
from longtail.reporting.section import Cell, Drawing, Table

MEASURES = {
    "loss": "loss",
    "learning_rate": "learning rate",
    "val_mean_recall": "validation\nrecall in %",
    "test_mean_recall": "test\nrecall in %",
}
SHARES = ("val_mean_recall", "test_mean_recall")
DOTTED = 60  # epochs up to which each has a marker
SPAN = 1e4  # ratio of the largest to the smallest learning rate that is shown; smaller ones lie on the lower edge


def training_curves(answers: Sequence[Answer]) -> list[Drawing]:
    """Draws the log of the answers; nothing where no epoch was logged."""
    logged = [(answer, epochs_of(answer.log)) for answer in answers if answer.log]
    if not logged:
        return []
    shown = [name for name in MEASURES if any(np.isfinite(epochs[name]).any() for _, epochs in logged)]
    caption = (
        "Training by epoch, counted over all stages; a dotted vertical line is the end of a stage. Losses of different methods "
        f"have different scales; learning rates below {1 / SPAN:g} of the largest lie on the lower edge. {_recalls(shown)}"
    )
    rows: list[tuple[Cell, ...]] = [(answer.name, *row) for answer, epochs in logged for row in _rows(epochs)]
    columns = ("answer", "stage", "epoch", "loss", "learning rate", "mean validation recall", "mean test recall")
    numbers = Table("training", caption, columns, rows, shown=False)
    return [Drawing("training", caption, _figure(logged, shown, looks_of(answers)), numbers)]


def _recalls(shown: Sequence[str]) -> str:
    said = {
        "val_mean_recall": "The validation recall is that of the plain logits.",
        "test_mean_recall": "The test recall is logged late in training only, and under the paper protocol alone.",
    }
    return " ".join(sentence for name, sentence in said.items() if name in shown) or "No recall was logged during training."


def epochs_of(log: Sequence[Mapping[str, Any]]) -> dict[str, Array]:
    """Columns of a log by name, (E,): stage and epoch, counted from 1, and the measures; nan where there is no value."""
    columns = {name: np.array([entry[name] + 1 for entry in log]) for name in ("stage", "epoch")}
    measures = {name: np.array([_number(entry.get(name)) for entry in log]) for name in MEASURES}
    measures["test_mean_recall"] = np.array([_mean_recall(entry.get("test_recalls")) for entry in log])
    return columns | measures


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)


def _mean_recall(recalls: Sequence[float | None] | None) -> float:
    known = [recall for recall in recalls or () if recall is not None and recall == recall]
    return sum(known) / len(known) if known else float("nan")


def _rows(epochs: Mapping[str, Array]) -> list[tuple[Cell, ...]]:
    columns = zip(*(epochs[name] for name in ("stage", "epoch", *MEASURES)), strict=True)
    return [
        (int(stage), int(epoch), *(float(v) if np.isfinite(v) else None for v in values)) for stage, epoch, *values in columns
    ]


def _figure(logged: Sequence[tuple[Answer, Mapping[str, Array]]], shown: Sequence[str], styles: Mapping[str, Look]) -> Any:
    figure, grid = panels([1.5] * len(shown))
    for name, axes in zip(shown, grid, strict=True):
        for answer, epochs in logged:
            values = epochs[name] * (100 if name in SHARES else 1)
            counted = np.arange(1, len(values) + 1)
            size = 3.5 if len(values) <= DOTTED else 0
            if name == "learning_rate":
                values = values.clip(min=values.max() / SPAN)
            axes.plot(counted, values, **{**styles[answer.name], "markersize": size})
        axes.set_ylabel(MEASURES[name])
        _mark_stages(axes, [epochs["stage"] for _, epochs in logged])
    if "learning_rate" in shown:
        _logarithmic(grid[shown.index("learning_rate")], [epochs["learning_rate"] for _, epochs in logged])
    grid[-1].set_xlabel("epoch")
    grid[-1].xaxis.get_major_locator().set_params(integer=True)
    name_lines(figure, grid[0])
    return figure


def stage_ends(stages: Array) -> list[int]:
    """Number of epochs until the end of each stage but the last, from the stage of each epoch (E,)."""
    sizes = [int((stages == stage).sum()) for stage in np.unique(stages)]
    return list(accumulate(sizes))[:-1]


def _mark_stages(axes: Any, stages: Sequence[Array]) -> None:
    for end in sorted({end for own in stages for end in stage_ends(own)}):
        axes.axvline(end + 0.5, color=GREY, linewidth=1.2, linestyle=(0, (1, 2)))


def _logarithmic(axes: Any, rates: Sequence[Array]) -> None:
    """A logarithmic axis, where the rates differ by more than a factor of ten."""
    positive = np.concatenate(rates)
    positive = positive[positive > 0]
    if len(positive) and positive.max() > 10 * positive.min():
        axes.set_yscale("log", nonpositive="mask")
        axes.tick_params(which="minor", left=False)
