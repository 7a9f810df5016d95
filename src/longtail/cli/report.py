"""The command that writes the report of finished runs, and the report at the end of other commands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from longtail.cli.options import in_flags
from longtail.cli.show import console, say, text
from longtail.errors import UserError
from longtail.reporting.writing import write_report_page


def run_report(folders: Sequence[Path], output: Path | None, *, groups: str, **wanted: Any) -> None:
    """Writes the report of finished runs side by side, and prints where it lies; `wanted` are fields of `Wanted`."""
    _said(_written(folders, output, groups, wanted))


def add_report(folders: Sequence[Path], *, wanted: bool, groups: str, output: Path | None = None, **shown: Any) -> None:
    """Writes the report of runs that a command has finished, if it is wanted; a report that cannot be written is only said."""
    if not wanted:
        return
    try:
        _said(_written(folders, output, groups, shown))
    except (UserError, OSError) as error:
        say(f"[yellow]No report: {text(in_flags(str(error)))} The results are stored.[/yellow]")


def _written(folders: Sequence[Path], output: Path | None, groups: str, wanted: Mapping[str, Any]) -> Path:
    with console.status("writing the report"):
        return write_report_page(folders, output, groups=groups, wording=in_flags, **wanted)


def _said(page: Path) -> None:
    say(f"Report: [bold]{text(page)}[/bold]")
