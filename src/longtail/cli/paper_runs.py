"""`longtail table` on a published table: shows it, says what is missing, and trains that."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longtail.cli.options import FIELDS, in_flags, sbatch_options
from longtail.cli.paper_plan import show_plan
from longtail.cli.paper_tables import captions, record_sheet, sheet_of, text_table
from longtail.cli.progress import Bars
from longtail.cli.runs_table import run_table
from longtail.cli.show import lines_on_stderr, say, text
from longtail.errors import UserError
from longtail.papers import NAMES, Cell, PaperTable, is_published, read_table
from longtail.papers.identities import stored_identity
from longtail.reporting.sheets import FORMATS, TEXT, check_format
from longtail.results import counted
from longtail.runs.measured import Identify, Measured, measured_of
from longtail.runs.results_file import results_below, results_in, without_copies
from longtail.text import for_shell, unknown
from longtail.workflow.command import option_words
from longtail.workflow.request import Request, default_of, flag

if TYPE_CHECKING:
    from longtail.workflow.plan import Plan, PlannedRun

KINDS: tuple[Callable[[Cell], str], ...] = (
    lambda cell: cell.method,
    lambda cell: cell.column.setting,
    lambda cell: str(cell.column.imbalance or ""),
)
OF_IDENTITY = ("backbone", "pretrained", "weights", "augment", "symmetry", "split_seed", "fit")
SHARED = ("data", "runs", "budget")  # options that the tables of settings have as well


def run_any_table(what: str, base: Request, own: Mapping[str, Any], *, results: Sequence[Path], form: str) -> int:
    """Shows the runs of a setting, or a published table; `own` are the options that only published tables have.

    Raises:
        UserError: an option of published tables is given for a setting.
    """
    check_format(form)
    if is_published(what):
        return run_paper_table(what, base, **own, results=results, form=form)
    usual = {"plan": False, "run": False, "seeds": 1, "only": None, "on": None, "slurm": None}
    given = [f"--{name}" for name, value in own.items() if value != usual[name]]
    given += [flag(name) for name in FIELDS if name not in SHARED and getattr(base, name) != default_of(FIELDS[name])]
    if given:
        raise UserError(f"{given[0]} is for published tables ({', '.join(NAMES)}, or a TOML file); leave it out for '{what}'.")
    run_table(what, base.runs, budget=base.budget, results=results, form=form)
    return 0


def run_paper_table(
    name: str,
    base: Request,
    *,
    seeds: int,
    only: str | None,
    plan: bool,
    run: bool,
    results: Sequence[Path],
    form: str,
    on: str | None = None,
    slurm: Sequence[str] | None = None,
) -> int:
    """Shows a published table beside what was measured, or what is missing of it, which it trains if asked to.

    Args:
        name: name of the table, or a TOML file.
        base: options of training, the same for all cells.
        seeds: number of seeds that a cell needs.
        only: names of methods, settings and imbalances that cells must have, with commas between them; None for all cells.
        plan, run: whether what is missing is listed, and whether it is trained.
        results: files of finished runs, or folders of such, that are read beside the runs below `base.runs`.
        form: format of the table or of the list.
        on: scheduler that trains what is missing, slurm or local; None for this process.
        slurm: options of sbatch as KEY=VALUE, or KEY alone.

    Returns:
        Exit code: 1 where a run failed, else 0.
    """
    options = sbatch_options(on, slurm or ())
    table = read_table(name)
    cells = chosen_cells(table, only)
    how: dict[str, Sequence[object]] = {
        "--seeds": [seeds] if seeds > 1 else [],
        "--only": [only] if only else [],
        "--on": [on] if on else [],
    }
    again = _again(name, base, {**how, "--slurm": slurm or [], "--results": results})
    with lines_on_stderr(form != TEXT):
        measured = _measured(cells, base, results)
        failures = 0
        if plan or run:
            from longtail.workflow.plan import plan_of

            missing = plan_of(cells, measured, base, seeds=seeds)
            if plan:
                show_plan(missing, TEXT if run else form)
            failures = _trained(missing, on, options) if run and missing.runs else 0
        if run or not plan:
            _show(table, cells, _measured(cells, base, results) if run else measured, base, form)
        if form == TEXT:
            where = " with --root DIR or --download" if plan and missing.unreadable and not (base.root or base.download) else ""
            say(f"Next: {text(again)} {'--run' if plan and not run else '--plan'}{where}")
    return int(failures > 0)


def chosen_cells(table: PaperTable, only: str | None) -> list[Cell]:
    """The cells that have one of the methods, settings and imbalances that `only` names; any, of a kind that it does not name.

    Raises:
        UserError: a name is that of no cell; the message lists those that are.
    """
    asked = {name.strip() for name in only.split(",") if name.strip()} if only else set()
    known = [name for name in dict.fromkeys(of(cell) for of in KINDS for cell in table.cells) if name]
    for name in asked - set(known):
        raise UserError(unknown("method, setting or imbalance in this table", name, known))
    kinds = [(of, {of(cell) for cell in table.cells} & asked) for of in KINDS]
    cells = [cell for cell in table.cells if all(not wanted or of(cell) in wanted for of, wanted in kinds)]
    if not cells:
        raise UserError(f"{table.name} has no cell of {only}.")
    return cells


def _measured(cells: Sequence[Cell], base: Request, results: Sequence[Path]) -> list[Measured]:
    """What was measured for the cells."""

    def note(line: str) -> None:
        say(text(line))

    found = [*results_in(results, note=note), *results_below(base.runs, note=note)]
    return measured_of(cells, without_copies(found), _identify(base))


def _identify(base: Request) -> Identify:
    """Identities of cells: the stored ones, which need no torch, unless an option of `base` makes other experiments of them."""
    usual = all(getattr(base, name) == default_of(FIELDS[name]) for name in OF_IDENTITY)

    def identity(cell: Cell, budget: str, largest_batch: int | None) -> str:
        stored = stored_identity(cell, budget) if usual and largest_batch is None else None
        if stored is not None:
            return stored
        from longtail.workflow.cells import Cells

        return Cells(base).identify(cell, budget, largest_batch)

    return identity


def _again(name: str, base: Request, own: Mapping[str, Sequence[object]]) -> str:
    """The command that was given, without what is done with the table; `own` are the values of options that tables alone have."""
    words = [str(word) for name, values in own.items() for value in values for word in (name, value)]
    return for_shell("longtail", "table", name, *words, *option_words(base))


def _show(table: PaperTable, cells: Sequence[Cell], measured: Sequence[Measured], base: Request, form: str) -> None:
    shown = [each for each in measured if base.budget in (None, each.terms.budget)]
    if form == TEXT:
        say(text_table(table, cells, shown))
        for sentence in captions(table, cells):
            say(text(sentence))
    else:
        sheet = record_sheet(table, cells, shown, base) if form == "csv" else sheet_of(table, cells, shown)
        print(FORMATS[form](sheet), end="")


def _trained(plan: Plan, on: str | None, options: Mapping[str, str | bool]) -> int:
    """Trains what is missing, and returns the number of failed runs."""
    from longtail.workflow.plan import carry_out

    with Bars() as bars:
        outcomes = carry_out(plan, watcher=bars, on=on, options=options)
    failed = [(run, end) for run, end in zip(plan.runs, outcomes, strict=True) if isinstance(end, UserError)]
    for sentence in dict.fromkeys(str(end) for _, end in failed):
        names = [_named(run) for run, end in failed if str(end) == sentence]
        say(f"[red]{counted(len(names), 'run')} failed ({text('; '.join(names))}): {text(in_flags(sentence))}[/red]")
    return len(failed)


def _named(run: PlannedRun) -> str:
    return f"{run.cell.printed_method}, {run.cell.column.data}, seed {run.request.seed}"
