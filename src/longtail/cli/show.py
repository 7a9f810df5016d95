"""Tables of results for the terminal."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from longtail.results import GROUP_RANGES, GROUPS, GroupResult, in_views, percent
from longtail.runs.report import RunReport
from longtail.runs.table import Row
from longtail.text import visible

if TYPE_CHECKING:
    from longtail.workflow.candidates import Candidate

console = Console()


def text(thing: object) -> str:
    """A name, path or sentence as it is printed: control characters as escapes, and square brackets not as markup."""
    return escape(visible(str(thing)))


def say(thing: Any) -> None:
    """Prints a line or a table."""
    console.print(thing, highlight=False, soft_wrap=isinstance(thing, str))


@contextmanager
def lines_on_stderr(wanted: bool) -> Iterator[None]:
    """Inside the `with` block, lines and tables go to standard error if wanted, so that standard output holds data alone."""
    before, console.stderr = console.stderr, wanted or console.stderr
    try:
        yield
    finally:
        console.stderr = before


def result_table(reports: Mapping[str, RunReport], *, chosen: str | None = None) -> Table:
    """One row per report: mean recall, groups, accuracy, calibration."""
    first = next(iter(reports.values()))
    title = text(f"{_stamp(first)} · test images, %")
    table = Table(title=title, title_justify="left", caption=text(_caption(first)), caption_justify="left")
    table.add_column("")
    for heading in ("all", *GROUPS, "accuracy", "ECE"):
        table.add_column(heading, justify="right")
    if first.val_mean_recall is not None:
        table.add_column("val", justify="right")
    for name, report in reports.items():
        test = report.test
        cells = [percent(test.mean_recall), *(_group(test.groups[group]) for group in GROUPS)]
        cells += [percent(test.accuracy), percent(test.calibration_error)]
        if first.val_mean_recall is not None:
            cells.append(percent(report.val_mean_recall))
        table.add_row(
            text(name) + _flag(report) + (" ←" if name == chosen else ""), *cells, style="bold" if name == chosen else None
        )
    return table


def candidates_table(candidates: Sequence[Candidate], chosen: int) -> Table:
    """One row per candidate: its recall on the validation images with an interval, its distance from the best, its cost."""
    table = Table(title="candidates · validation images, %", title_justify="left")
    table.add_column("")
    for heading in ("set on these", "recall", "95 % interval", "behind the best", "cost"):
        table.add_column(heading, justify="right")
    for index, candidate in enumerate(candidates):
        result = candidate.result
        low, high = (percent(end) for end in result.interval)
        behind = f"{100 * result.behind:.1f} ± {100 * result.standard_error:.1f}" if result.behind else "–"
        value = "–" if candidate.tau is None else f"{candidate.reading.keyword} {candidate.tau:g}"
        name = text(candidate.reading.name) + " ←" * (index == chosen)
        cells = (value, percent(result.recall), f"{low} to {high}", behind, f"{candidate.cost:.3g}")
        table.add_row(name, *cells, style="bold" if index == chosen else None)
    return table


def summary_table(reports: Mapping[str, Sequence[RunReport]]) -> Table:
    """Mean ± std over seeds, one row per method."""
    first = next(iter(reports.values()))
    table = Table(
        title=text(f"{_stamp(first[0])} · n={len(first)}"),
        title_justify="left",
        caption=text(_caption(first[0])),
        caption_justify="left",
    )
    table.add_column("")
    for heading in ("all", *GROUPS):
        table.add_column(heading, justify="right")
    for name, runs in reports.items():
        values = [[run.test.mean_recall for run in runs]]
        values += [[run.test.groups[group].recall for run in runs] for group in GROUPS]
        table.add_row(text(name) + _flag(runs[0]), *(mean_and_std(column) for column in values))
    return table


def rows_table(rows: Sequence[Row]) -> Table:
    """One row per experiment: mean (± std) over its seeds, training seconds, number of seeds."""
    first = rows[0].reports[0]
    views = sorted({row.reports[0].views for row in rows})
    title = text(f"{first.setting} · {first.epoch_rule} · {' or '.join(map(in_views, views))} · test images · in %")
    table = Table(title=title, title_justify="left", caption=text(_caption(first)), caption_justify="left")
    table.add_column("", no_wrap=True)
    for heading in ("budget", "protocol"):
        table.add_column(heading)
    for heading in ("epochs", "views", "all", *GROUPS, "accuracy", "ECE", "seconds", "n"):
        table.add_column(heading, justify="right")
    for row in rows:
        report = row.reports[0]
        epochs = " + ".join(str(stage.epochs) for stage in report.stages)
        values = ("mean_recall", *GROUPS, "accuracy", "calibration_error")
        numbers = [mean_and_std(row.values(value)) for value in values]
        cells = [
            text(f"{row.method}{_mark(rows, row)}{_flag(report)}"),
            text(report.budget),
            text(report.protocol),
            epochs,
            str(report.views),
            *numbers,
            f"{row.mean('seconds'):.0f}",
            str(len(row.reports)),
        ]
        table.add_row(*cells)
    return table


def stage_table(report: RunReport) -> Table:
    """Results of each stage after its last epoch and, under the paper protocol, after its best epoch on the test set."""
    title = text(f"{report.method}, seed {report.seed}: stages, mean recall in %, {in_views(report.views)}")
    table = Table(title=title, title_justify="left")
    table.add_column("stage")
    for heading in ("epochs", "last epoch", "best epoch on the test set", "seconds", "images/s"):
        table.add_column(heading, justify="right")
    for stage in report.stages:
        best = stage.best_test_epoch
        shown = f"{percent(best.mean_recall)} (epoch {best.epoch})" if best else percent(None)
        cells = (stage.epochs, percent(stage.last_epoch.mean_recall), shown, stage.seconds, stage.images_per_second)
        table.add_row(text(stage.stage), *map(text, cells))
    return table


def mean_and_std(shares: Sequence[float]) -> str:
    """Mean and standard deviation in percent, such as 91.4 ± 0.6; the mean alone where there is one share."""
    known = [share for share in shares if not math.isnan(share)]
    if len(known) < 2:
        return percent(known[0] if known else None)
    return f"{percent(statistics.mean(known))} ± {percent(statistics.stdev(known))}"


def differences(rows: Sequence[Row]) -> list[str]:
    """One line for each of several rows of one method: the values in which it differs from the others."""
    return [f"{row.method}{_mark(rows, row)}: {row.differs}" for row in rows if row.differs]


def _mark(rows: Sequence[Row], row: Row) -> str:
    """Number of the row among several rows of one method; empty for a single row."""
    alike = [other for other in rows if other.method == row.method]
    return f" {alike.index(row) + 1}" if len(alike) > 1 else ""


def _stamp(report: RunReport) -> str:
    """Conditions of the results: data, budget, protocol, the epoch that is evaluated, and the views of each image."""
    protocol = f"{report.budget} budget · {report.protocol} protocol · {report.epoch_rule}"
    return f"{report.setting} · {protocol} · {in_views(report.views)}"


def _flag(report: RunReport) -> str:
    """Mark for the results of an inference rule that saw all test images at once."""
    return " (transductive)" if report.transductive else ""


def _caption(report: RunReport) -> str:
    """Rule, number of classes and number of test images of each group."""
    parts = []
    for name in GROUPS:
        group, which = report.test.groups[name], GROUP_RANGES[report.group_rule][name]
        shown = f"{group.evaluated_classes} of {group.classes}" if group.evaluated_classes < group.classes else str(group.classes)
        plural = "class" if group.classes == 1 else "classes"
        parts.append(f"{name} ({which}): {shown} {plural}, {group.images:,} test images")
    return f"Groups by training images: {'; '.join(parts)}"


def _group(group: GroupResult) -> str:
    interval = group.interval
    return percent(group.recall) + (f" [{percent(interval[0])}, {percent(interval[1])}]" if interval else "")
