"""The command that writes the report of finished runs, and the report at the end of other commands."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from longtail.cli.options import in_flags
from longtail.cli.show import say, text
from longtail.errors import UserError
from longtail.reporting.writing import write_report_page


def run_report(folders: Sequence[Path], output: Path | None, *, groups: str) -> None:
    """Writes the report of finished runs side by side, and prints where it lies."""
    _said(write_report_page(folders, output, groups=groups, wording=in_flags))


def add_report(folders: Sequence[Path], *, wanted: bool, groups: str, output: Path | None = None) -> None:
    """Writes the report of runs that a command has finished, if it is wanted; a report that cannot be written is only said."""
    if not wanted:
        return
    try:
        _said(write_report_page(folders, output, groups=groups, wording=in_flags))
    except (UserError, OSError) as error:
        say(f"[yellow]No report: {text(in_flags(str(error)))} The results are stored.[/yellow]")


def _said(page: Path) -> None:
    say(f"Report: [bold]{text(page)}[/bold]")
