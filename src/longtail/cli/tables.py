"""Tables of results for the terminal: 80 columns are enough, and names of methods are never cut off."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from longtail.cli.other_images import images_in_sheet, name_in
from longtail.cli.show import text
from longtail.reporting.sheets import Sheet
from longtail.results import GROUP_RANGES, GROUPS, GroupResult, counted, percent
from longtail.runs.report import RunReport
from longtail.runs.table import Row, report_of_groups

if TYPE_CHECKING:
    from longtail.workflow.candidates import Candidate


def grid(title: str, *numbers: str, names: Sequence[str] = ("",), caption: str | None = None) -> Table:
    """An empty table with columns of names, which go on in a further line where they are long, and columns of numbers.

    Args:
        title: plain text above the table.
        numbers: headings of the columns of numbers.
        names: headings of the columns of names, which stand first.
        caption: plain text below the table.
    """
    below = None if caption is None else text(caption)
    look: Any = {
        "box": SIMPLE_HEAD,
        "pad_edge": False,
        "collapse_padding": True,
        "title_justify": "left",
        "caption_justify": "left",
    }
    table = Table(title=text(title), caption=below, **look)
    for heading in names:
        table.add_column(heading, overflow="fold")
    for heading in numbers:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def result_table(reports: Mapping[str, RunReport]) -> Table:
    """One row per report: mean recall, groups with the ends of their intervals in a second line, accuracy, calibration."""
    first = next(iter(reports.values()))
    has_val = first.val_mean_recall is not None
    headings = ("all", *GROUPS, "accuracy", "ECE", *(["val"] if has_val else []))
    table = grid(f"{_stamp(first)} · test images, %", *headings, caption=_caption(first))
    for name, report in reports.items():
        test = report.test
        cells = [percent(test.mean_recall), *(_group(test.groups[group]) for group in GROUPS)]
        cells += [percent(test.accuracy), percent(test.calibration_error)]
        table.add_row(text(name) + _flag(report), *cells, *([percent(report.val_mean_recall)] if has_val else []))
    return table


def trained_tables(reports: Sequence[RunReport]) -> Iterator[Table]:
    """Finished runs of one setting: each of them, their mean where they are of one method, and what their stages gave."""
    if reports:
        yield result_table({f"{report.method}, seed {report.seed}": report for report in reports})
    if len(reports) > 1 and len({report.method for report in reports}) == 1:
        yield summary_table({reports[0].method: reports})
    for report in reports:
        if report.protocol == "paper" or len(report.stages) > 1:
            yield stage_table(report)


def candidates_table(candidates: Sequence[Candidate], chosen: int, prior: str, views: int = 1) -> Table:
    """One row per candidate: its result on the validation images with an interval, its distance from the best, its cost.

    Args:
        candidates: the candidates.
        chosen: index of the one that was chosen.
        prior: name of the class frequencies in use.
        views: number of views of each image.
    """
    measure = "recall" if prior == "uniform" else "expected\naccuracy"
    caption = "set on these: strength of the rule; behind: points, ± standard error; cost: passes over the training images"
    table = grid(
        f"candidates · {counted(views, 'view')} · validation images, %",
        *("set on these", measure, "95 %\ninterval", "behind", "cost"),
        caption=caption if prior == "uniform" else f"expected accuracy under the class prior '{prior}'; {caption}",
    )
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
    table = grid(f"{_stamp(first[0])} · n={len(first)}", "all", *GROUPS, caption=_caption(first[0]))
    for name, runs in reports.items():
        values = [[run.test.mean_recall for run in runs]]
        values += [[run.test.groups[group].recall for run in runs] for group in GROUPS]
        table.add_row(text(name) + _flag(runs[0]), *(mean_and_std(column) for column in values))
    return table


def rows_table(rows: Sequence[Row]) -> Table:
    """One row per experiment: mean, with the deviation in a second line, over its seeds; training seconds; number of seeds.

    Conditions in which all rows agree stand in the title, others below the names.
    """
    first = rows[0].reports[0]
    conditions = [[*_conditions(row.reports[0]), *row.augmented] for row in rows]
    same = [words for words in conditions[0] if all(words in other for other in conditions)]
    title = " · ".join((first.setting, *same, first.epoch_rule, "test images, %"))
    table = grid(title, "all", *GROUPS, "accuracy", "ECE", "seconds", "n", caption=_caption(report_of_groups(rows)))
    for row, own in zip(rows, conditions, strict=True):
        differing = ", ".join(words for words in own if words not in same)
        names = (f"{name_in(rows, row)}{_flag(row.reports[0])}", differing)
        numbers = [_over_seeds(row.values(value)) for value in ("mean_recall", *GROUPS, "accuracy", "calibration_error")]
        table.add_row("\n".join(map(text, filter(None, names))), *numbers, f"{row.mean('seconds'):.0f}", str(len(row.reports)))
    return table


def rows_sheet(rows: Sequence[Row]) -> Sheet:
    """The rows for other programs: numbers in %, the deviation over seeds in a column of its own."""
    numbers = ("mean_recall", *GROUPS, "accuracy", "calibration_error")
    header = ["method", "differs", "budget", "protocol", "epochs", "views", "augmentation", "n", "seconds"]
    header += [heading for name in ("all", *GROUPS, "accuracy", "ECE") for heading in (name, f"{name} ±")]
    cells = []
    for row, apart in zip(rows, images_in_sheet(rows), strict=True):
        first = row.reports[0]
        own = [f"{row.method}{_flag(first)}", "; ".join(filter(None, (row.differs, apart))), first.budget, first.protocol]
        own += ["+".join(str(stage.epochs) for stage in first.stages), str(first.views), ", ".join(row.augmented)]
        own.append(str(len(row.reports)))
        own.append(f"{row.mean('seconds'):.0f}")
        pairs = (mean_and_std(row.values(name)).split(" ± ") for name in numbers)
        cells.append([*own, *(cell for pair in pairs for cell in (*pair, "")[:2])])
    first = rows[0].reports[0]
    title = f"{first.setting} · {first.epoch_rule} · test images, %"
    return Sheet(title, header, cells, (_caption(report_of_groups(rows)),), names=7)


def stage_table(report: RunReport) -> Table:
    """Results of each stage after its last epoch and, under the paper protocol, after its best epoch on the test set."""
    title = f"{report.method}, seed {report.seed}: stages, mean recall in %, {counted(report.views, 'view')}"
    table = grid(title, "epochs", "last epoch", "best epoch on the test set", "seconds", "images/s", names=("stage",))
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
    """One line for each of several rows of one method: the values in which it differs from the others; and for other groups."""
    own = [name_in(rows, row) for row in rows if row.own_groups]
    groups = [f"Groups by their own training images, which may hold other classes: {', '.join(own)}."] if own else []
    return [*(f"{name_in(rows, row)}: {row.differs}" for row in rows if row.differs), *groups]


def _over_seeds(shares: Sequence[float]) -> str:
    """Mean in percent, and the standard deviation below it."""
    return mean_and_std(shares).replace(" ± ", "\n±")


def _conditions(report: RunReport) -> list[str]:
    """Conditions of a result, in words."""
    epochs = [stage.epochs for stage in report.stages]
    trained = counted(epochs[0], "epoch") if len(epochs) == 1 else f"{'+'.join(map(str, epochs))} epochs"
    return [f"{report.budget} budget", f"{report.protocol} protocol", trained, counted(report.views, "view")]


def _stamp(report: RunReport) -> str:
    """Conditions of the results: data, budget, protocol, the epoch that is evaluated, and the views of each image."""
    protocol = f"{report.budget} budget · {report.protocol} protocol · {report.epoch_rule}"
    return f"{report.setting} · {protocol} · {counted(report.views, 'view')}"


def _flag(report: RunReport) -> str:
    """Mark for the results of an inference rule that saw all test images at once."""
    return " (transductive)" if report.transductive else ""


def _caption(report: RunReport) -> str:
    """Rule, number of classes and number of test images of each group."""
    parts = []
    for name in GROUPS:
        group, which = report.test.groups[name], GROUP_RANGES[report.group_rule][name]
        some = f"{group.evaluated_classes} of " if group.evaluated_classes < group.classes else ""
        parts.append(f"{name} ({which}): {some}{counted(group.classes, 'class')}, {counted(group.images, 'test image')}")
    return f"Groups by training images: {'; '.join(parts)}"


def _group(group: GroupResult) -> str:
    """Recall, and below it its interval in whole percent."""
    interval = group.interval
    return percent(group.recall) + (f"\n{100 * interval[0]:.0f}–{100 * interval[1]:.0f}" if interval else "")
