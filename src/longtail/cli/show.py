"""Tables as a person reads them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from longtail.engine.report import BEST
from longtail.runs.table import Row

console = Console()
GROUPS = ("many", "medium", "few")
RULES = {
    "shots": {"many": "> 100 training images", "medium": "20 to 100", "few": "< 20"},
    "auto": {"many": "a third of the classes", "medium": "a third", "few": "a third"},
}


def say(thing: Any) -> None:
    """A line or a table."""
    console.print(thing, highlight=False, soft_wrap=isinstance(thing, str))


def result_table(reports: Mapping[str, Mapping[str, Any]], *, chosen: str | None = None) -> Table:
    """One row per report: mean recall, groups, accuracy, calibration."""
    first = next(iter(reports.values()))
    title = f"{first['setting']} · {first['budget']} budget · {first['protocol']} protocol · last epoch · test images, %"
    table = Table(title=title, title_justify="left", caption=_caption(first), caption_justify="left")
    table.add_column("")
    for heading in ("all", *GROUPS, "accuracy", "ECE"):
        table.add_column(heading, justify="right")
    if first["val_mean_recall"] is not None:
        table.add_column("val", justify="right")
    for name, report in reports.items():
        test = report["test"]
        cells = [percent(test["mean_recall"]), *(_group(test, group) for group in GROUPS)]
        cells += [percent(test["accuracy"]), percent(test["calibration_error"])]
        if first["val_mean_recall"] is not None:
            cells.append(percent(report["val_mean_recall"]))
        table.add_row(name + _flag(report) + (" ←" if name == chosen else ""), *cells, style="bold" if name == chosen else None)
    return table


def summary_table(reports: Mapping[str, Sequence[Mapping[str, Any]]]) -> Table:
    """Mean ± std over seeds, one row per method."""
    first = next(iter(reports.values()))
    title = f"{first[0]['setting']} · {first[0]['budget']} budget · {first[0]['protocol']} protocol · last epoch · n={len(first)}"
    table = Table(title=title, title_justify="left", caption=_caption(first[0]), caption_justify="left")
    table.add_column("")
    for heading in ("all", *GROUPS):
        table.add_column(heading, justify="right")
    for name, runs in reports.items():
        tests = [run["test"] for run in runs]
        values = [[test["mean_recall"] for test in tests]]
        values += [[test["groups"][group]["recall"] for test in tests] for group in GROUPS]
        table.add_row(name + _flag(runs[0]), *(mean_and_std(column) for column in values))
    return table


def rows_table(rows: Sequence[Row]) -> Table:
    """One row per experiment: mean (± std) over its seeds, training seconds, number of seeds."""
    first = rows[0].reports[0]
    title = f"{first['setting']} · last epoch · test images · in %"
    table = Table(title=title, title_justify="left", caption=_caption(first), caption_justify="left")
    shown = ("budget", "protocol")
    table.add_column("", no_wrap=True)
    for heading in shown:
        table.add_column(heading)
    for heading in ("epochs", "all", *GROUPS, "accuracy", "ECE", "seconds", "n"):
        table.add_column(heading, justify="right")
    for row in rows:
        report = row.reports[0]
        texts = {"budget": report["budget"], "protocol": report["protocol"]}
        epochs = " + ".join(str(stage["epochs"]) for stage in report["stages"])
        values = ("mean_recall", *GROUPS, "accuracy", "calibration_error")
        numbers = [mean_and_std(row.values(value)) for value in values]
        cells = [
            f"{row.method}{_mark(rows, row)}{_flag(report)}",
            *(texts[name] for name in shown),
            epochs,
            *numbers,
            f"{row.mean('seconds'):.0f}",
            str(len(row.reports)),
        ]
        table.add_row(*cells)
    return table


def stage_table(report: Mapping[str, Any]) -> Table:
    """How each stage ended; under the paper protocol, its best epoch on the test set beside it."""
    table = Table(title=f"{report['method']}, seed {report['seed']}: stages, mean recall in %", title_justify="left")
    table.add_column("stage")
    for heading in ("epochs", "last epoch", BEST, "seconds", "images/s"):
        table.add_column(heading, justify="right")
    for stage in report["stages"]:
        best = stage.get(BEST)
        shown = f"{percent(best['mean_recall'])} (epoch {best['epoch']})" if best else "–"
        cells = (
            stage["epochs"],
            percent(stage["last epoch"]["mean_recall"]),
            shown,
            stage["seconds"],
            stage["images_per_second"],
        )
        table.add_row(str(stage["stage"]), *map(str, cells))
    return table


def percent(share: float | None) -> str:
    """68.4, or – where there is nothing to say."""
    return "–" if share is None or math.isnan(share) else f"{100 * share:.1f}"


def mean_and_std(shares: Sequence[float | None]) -> str:
    """91.4 ± 0.6, in percent."""
    known = [100 * share for share in shares if share is not None and not math.isnan(share)]
    if not known:
        return "–"
    spread = statistics.stdev(known) if len(known) > 1 else 0.0
    return f"{statistics.mean(known):.1f} ± {spread:.1f}" if len(known) > 1 else f"{known[0]:.1f}"


def differences(rows: Sequence[Row]) -> list[str]:
    """A line for each of several rows of one method: in which values it differs from the others."""
    return [f"{row.method}{_mark(rows, row)}: {row.differs}" for row in rows if row.differs]


def _mark(rows: Sequence[Row], row: Row) -> str:
    """A number for each of several rows of one method."""
    alike = [other for other in rows if other.method == row.method]
    return f" {alike.index(row) + 1}" if len(alike) > 1 else ""


def _flag(report: Mapping[str, Any]) -> str:
    """Said beside every number of a rule that saw all test images at once."""
    return " (transductive)" if report.get("transductive") else ""


def _caption(report: Mapping[str, Any]) -> str:
    """The groups' rules, classes and test images."""
    parts = []
    for group in GROUPS:
        held = report["test"]["groups"][group]
        evaluated, classes = held["evaluated_classes"], held["classes"]
        shown = f"{evaluated} of {classes}" if evaluated < classes else str(classes)
        plural = "class" if classes == 1 else "classes"
        parts.append(f"{group} ({RULES[report['group_rule']][group]}): {shown} {plural}, {held['images']:,} images")
    return "; ".join(parts)


def _group(test: Mapping[str, Any], group: str) -> str:
    held = test["groups"][group]
    interval = held["interval"]
    return percent(held["recall"]) + (f" [{percent(interval[0])}, {percent(interval[1])}]" if interval else "")
