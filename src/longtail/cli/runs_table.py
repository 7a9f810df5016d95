"""Finished runs side by side, and as lines of text that are added to a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from longtail.cli.options import in_flags
from longtail.cli.other_images import images_below_table
from longtail.cli.show import lines_on_stderr, say, text
from longtail.cli.tables import differences, rows_table
from longtail.errors import MissingFileError
from longtail.results import counted
from longtail.runs.places import data_behind
from longtail.text import for_shell


def run_table(setting: str, runs: Path, *, budget: str | None, results: Sequence[Path], form: str) -> None:
    """Prints every finished run of a setting or of a folder of images, best mean recall last."""
    from longtail.cli.tables import rows_sheet
    from longtail.reporting.sheets import FORMATS, TEXT
    from longtail.runs.results_file import results_in
    from longtail.runs.table import rows_of

    def note(line: str) -> None:
        say(text(line))

    with lines_on_stderr(form != TEXT):
        rows = rows_of(runs, setting, budget=budget, further=results_in(results, note=note), note=note)
    if form != TEXT:
        print(FORMATS[form](rows_sheet(rows)), end="")
        return
    say(rows_table(rows))
    for line in differences(rows):
        say(text(line))
    for line in images_below_table(rows):
        say(text(in_flags(line)))
    say(text(_next(runs, setting)))


def _next(runs: Path, setting: str) -> str:
    """The command that trains more runs for the table, with the place of the data as the runs know it."""
    data = data_behind(runs, setting)
    if data not in (setting, Path(setting).name) and not Path(data).exists():
        gone = f"the place of the images, which are not at '{data}' any more, as DATA"
        return f"Next: longtail train DATA --method NAME, with {gone}"
    return f"Next: {for_shell('longtail', 'train', data)} --method NAME"


def run_results(runs: Sequence[Path], output: Path) -> None:
    """Adds finished runs to a file of results."""
    from longtail.runs.results_file import add_results, results_below, results_in

    def note(line: str) -> None:
        say(text(line))

    found = []
    for path in runs:
        found += results_below(path, note=note) if path.is_dir() else results_in([path], note=note)
    if not found:
        raise MissingFileError(f"There is no finished run in {', '.join(map(repr, map(str, runs)))}.")
    added = add_results(output, found, note=note)
    again = f"; {counted(len(found) - added, 'run')} written anew" if added < len(found) else ""
    say(f"{counted(added, 'run')} added to {text(output)}{again}")
    say(f"Next: longtail table TABLE --results {text(output)}")
