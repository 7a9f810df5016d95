"""What `longtail table` shows of a published table: published numbers beside measured ones, and what is missing."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rich.table import Table

from longtail.cli.show import text
from longtail.cli.tables import grid
from longtail.papers import Cell, Column, PaperTable
from longtail.reporting.sheets import Sheet
from longtail.runs.measured import Measured, Terms
from longtail.workflow.command import command_of
from longtail.workflow.request import Request, request_of

NO_NUMBER = "–"
OURS = (
    "Measured: mean recall on the test images after the last epoch, ± standard deviation over n seeds, nothing chosen on test "
    "images; the best epoch on them, as papers choose, is on a line of its own where it was looked for. "
    "Results of other epochs or budgets are lines of their own."
)
RECORD = (
    *("table", "method", "our_method", "variants", "changes", "setting", "imbalance", "backbone", "pretraining"),
    *("published", "printed", "misprint", "published_as", "published_epochs", "published_epoch_rule", "published_seeds"),
    *("published_augmentation", "note", "budget", "epochs", "views", "held_out"),
    *("measured", "deviation", "n", "seeds", "best_epoch_on_test", "difference", "command"),
)


@dataclass(frozen=True)
class Line:
    """One line of a table: the method as it is printed, what the line has, and a text for each column of the table."""

    method: str
    label: str
    values: Sequence[str]


def lines_of(table: PaperTable, cells: Sequence[Cell], measured: Sequence[Measured]) -> Iterator[Line]:
    """For each method the published numbers, then for each set of conditions the measured ones and the differences."""
    for row in dict.fromkeys(cell.row for cell in cells):
        own = [cell for cell in cells if cell.row == row]
        found = [each for each in measured if each.cell in own]
        name = own[0].printed_method
        published = {cell.column: f"{cell.value:.{_decimals(table)}f}{_mark(table, cell)}" for cell in own}
        yield Line(name, "published", _in_columns(table, published))
        for terms in sorted({each.terms for each in found}, key=lambda each: (each.epochs, each)):
            yield from _measured_lines(table, name, terms, [each for each in found if each.terms == terms])


def text_table(table: PaperTable, cells: Sequence[Cell], measured: Sequence[Measured]) -> Table:
    """The table for a terminal of 80 columns; the published numbers stand on the line of the method's name."""
    headings = ["\n".join((re.sub("[- ]", "\n", column.heading, count=1), *_tail(column))) for column in table.columns]
    shown = grid(f"{table.name} · {table.title} · in %", *headings)
    for line in lines_of(table, cells, measured):
        is_name = line.label == "published"
        label = f"[bold]{text(line.method)}[/bold]" if is_name else f" {text(line.label)}"
        shown.add_row(label, *(value.replace(" ±", "\n±") for value in line.values))
    return shown


def sheet_of(table: PaperTable, cells: Sequence[Cell], measured: Sequence[Measured]) -> Sheet:
    """The table for Markdown, LaTeX and HTML."""
    header = ("method", "", *(", ".join((column.heading, *_tail(column))) for column in table.columns))
    rows = [(line.method, line.label, *line.values) for line in lines_of(table, cells, measured)]
    return Sheet(f"{table.name}: {table.title}, in %", header, rows, captions(table, cells), names=2)


def record_sheet(table: PaperTable, cells: Sequence[Cell], measured: Sequence[Measured], base: Request) -> Sheet:
    """The table for CSV: a row for each cell and each set of conditions, with the command that trains it."""
    rows = []
    for cell in cells:
        own: Sequence[Measured | None] = [each for each in measured if each.cell == cell] or [None]
        rows += [[*_published_record(cell), *_measured_record(cell, each, base)] for each in own]
    return Sheet(table.title, RECORD, [[_cell(value) for value in row] for row in rows])


def captions(table: PaperTable, cells: Sequence[Cell]) -> list[str]:
    """Sentences on where the numbers are from, both protocols, misprints and what else is to be known."""
    networks = dict.fromkeys(f"{column.backbone}, pretraining: {column.pretraining}" for column in table.columns)
    found = [f"Published: {table.source}; {table.metric}.", f"Networks: {'; '.join(networks)}."]
    for protocol in list({cell.protocol: None for cell in cells}):
        methods = ", ".join(dict.fromkeys(cell.printed_method for cell in cells if cell.protocol == protocol))
        found.append(
            f"{methods}: {protocol.published}; epochs: {protocol.epochs}; epoch: {protocol.epoch_rule}; seeds: {protocol.seeds}; "
            f"augmentation: {protocol.augmentation}."
        )
    found.append(OURS)
    found += [f"{_mark(table, each)} Printed as {each.printed_value:g}. {each.misprint}" for each in cells if each.misprint]
    return found + list(dict.fromkeys(f"{each.printed_method}: {each.note}" for each in cells if each.note))


def _measured_lines(table: PaperTable, method: str, terms: Terms, found: Sequence[Measured]) -> Iterator[Line]:
    """Means with deviations, best epochs where they are known, differences, and numbers of seeds where they differ."""
    means = {each.cell.column: _with_deviation(each) for each in found}
    differences = {each.cell.column: f"{each.difference:+.1f}" for each in found}
    best = {each.cell.column: f"{each.best:.1f}" for each in found if not math.isnan(each.best)}
    seeds = {each.cell.column: str(len(each.reports)) for each in found}
    transductive = ", transductive" * any(report.transductive for each in found for report in each.reports)
    same = len(set(seeds.values())) == 1
    yield Line(method, terms.words + transductive + f", n={len(found[0].reports)}" * same, _in_columns(table, means))
    if best:
        yield Line(method, "best epoch on test", _in_columns(table, best))
    yield Line(method, "difference", _in_columns(table, differences))
    if not same:
        yield Line(method, "n", _in_columns(table, seeds))


def _with_deviation(each: Measured) -> str:
    return f"{each.mean:.1f}" + ("" if math.isnan(each.deviation) else f" ±{each.deviation:.1f}")


def _in_columns(table: PaperTable, values: dict[Column, str]) -> list[str]:
    return [values.get(column, NO_NUMBER) for column in table.columns]


def _tail(column: Column) -> tuple[str, ...]:
    return () if column.imbalance is None else (str(column.imbalance),)


def _decimals(table: PaperTable) -> int:
    return 1 if all(round(cell.value, 1) == cell.value for cell in table.cells) else 2


def _mark(table: PaperTable, cell: Cell) -> str:
    """Stars of a misprint: as many as there are misprints up to this one."""
    wrong = [each for each in table.cells if each.misprint]
    return "*" * (wrong.index(cell) + 1) if cell.misprint else ""


def _published_record(cell: Cell) -> list[Any]:
    column, protocol = cell.column, cell.protocol
    pairs = ("; ".join(f"{name}={value}" for name, value in values.items()) for values in (cell.variants, cell.changes))
    return [
        *(cell.table, cell.printed_method, cell.method, *pairs, column.setting, column.imbalance, column.backbone),
        *(column.pretraining, cell.value, cell.printed_value, cell.misprint, protocol.published, protocol.epochs),
        *(protocol.epoch_rule, protocol.seeds, protocol.augmentation, cell.note),
    ]


def _measured_record(cell: Cell, each: Measured | None, base: Request) -> list[Any]:
    command = command_of(request_of(cell, base)) if cell.method else ""
    if each is None:
        return [None] * 10 + [command]
    terms = each.terms
    conditions = (terms.budget, "+".join(map(str, terms.epochs)), terms.views, terms.held_out)
    return [
        *conditions,
        each.mean,
        each.deviation,
        len(each.reports),
        " ".join(str(report.seed) for report in each.reports),
        each.best,
        each.difference,
        _command(each, base),
    ]


def _command(each: Measured, base: Request) -> str:
    """The command that trains the runs of a measured cell, but for a share that was held out for validation."""
    terms, seeds = each.terms, [report.seed for report in each.reports]
    own: dict[str, Any] = {"budget": terms.budget, "epochs": terms.epochs[0]}
    own |= {"views": terms.views} if terms.views > 1 else {}
    for name in ("protocol", "precision"):
        values = {getattr(report, name) for report in each.reports}
        own |= {name: values.pop()} if len(values) == 1 else {}
    request = request_of(each.cell, replace(base, **own), seed=seeds[0])
    later = {f"stages.{number}.epochs": epochs for number, epochs in enumerate(terms.epochs) if number}
    command = command_of(replace(request, changes={**request.changes, **later}))
    return f"{command} --seeds {len(seeds)}" if len(seeds) > 1 and seeds == list(range(len(seeds))) else command


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
