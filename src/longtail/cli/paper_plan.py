"""The missing runs of a published table, as `longtail table --plan` prints them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from longtail.cli.options import in_flags
from longtail.cli.show import say, text
from longtail.cli.tables import grid
from longtail.reporting.sheets import FORMATS, TEXT, Sheet
from longtail.results import counted
from longtail.workflow.command import command_of

if TYPE_CHECKING:
    from longtail.workflow.plan import Plan, PlannedRun

PLAN = ("cost", "method", "our_method", "setting", "imbalance", "budget", "epochs", "seeds", "data", "command")


def show_plan(plan: Plan, form: str) -> None:
    """Prints the missing runs, the cheapest first: in text the cells, for other programs the command of each as well."""
    sheet = _plan_sheet(plan)
    if form != TEXT:
        print(FORMATS[form](sheet), end="")
        return
    table = grid(sheet.title, "seeds", "epochs", "cost", names=("method", "data"))
    for row in sheet.rows:
        entry = dict(zip(PLAN, row, strict=True))
        data = entry["setting"] + (f" at {entry['imbalance']}" if entry["imbalance"] else "")
        table.add_row(*map(text, (entry["method"], data, entry["seeds"], entry["epochs"], entry["cost"])))
    say(table)
    for sentence in sheet.caption:
        say(text(in_flags(sentence)))


def _plan_sheet(plan: Plan) -> Sheet:
    """The plan with one row for each cell, at the place of its first run."""
    cells: dict[tuple[str, int, str], list[PlannedRun]] = {}
    for run in plan.runs:
        cells.setdefault((run.cell.table, run.cell.row, run.cell.column.data), []).append(run)
    rows = [_plan_row(plan, runs) for runs in cells.values()]
    title = f"{counted(len(rows), 'cell')} and {counted(len(plan.runs), 'run')} are missing"
    return Sheet(title, PLAN, rows, _plan_captions(plan))


def _plan_row(plan: Plan, runs: Sequence[PlannedRun]) -> list[str]:
    cell, terms, cost = runs[0].cell, runs[0].terms, sum(run.cost for run in runs)
    seeds = ",".join(str(run.request.seed) for run in runs)
    data = "not here" if cell.column.setting in plan.unreadable else "here"
    imbalance = "" if cell.column.imbalance is None else str(cell.column.imbalance)
    epochs = "+".join(map(str, terms.epochs))
    start = (f"{cost:.3g}", cell.printed_method, cell.method, cell.column.setting, imbalance, terms.budget, epochs, seeds, data)
    return [*start, command_of(runs[0].request)]


def _plan_captions(plan: Plan) -> list[str]:
    from longtail.workflow.plan import UNIT

    without = ", ".join(dict.fromkeys(cell.printed_method for cell in plan.methodless))
    nothing = [f"longtail has no method for: {without}."] if without else []
    if not plan.runs:
        return nothing
    total = sum(run.cost for run in plan.runs if not math.isnan(run.cost))
    budgets = ", ".join(dict.fromkeys(run.terms.budget for run in plan.runs))
    found = [
        f"Budget: {budgets}. Cost: arithmetic of the training, where {UNIT} is 1; what several runs have in common is trained "
        f"once, and counted at the first of them. All together {total:.3g}."
    ]
    readable = dict.fromkeys(run.cell.column.setting for run in plan.runs if run.cell.column.setting not in plan.unreadable)
    found += [f"Data that can be read here: {', '.join(readable)}."] if readable else []
    found += [f"Data of {name} cannot be read here: {sentence}" for name, sentence in plan.unreadable.items()]
    pretrained = ", ".join(dict.fromkeys(run.cell.column.setting for run in plan.runs if run.needs_weights))
    if pretrained:
        found.append(f"{pretrained} needs pretrained weights: timm fetches them, or `weights=FILE` names them.")
    return found + nothing
