"""The command line: all commands, and how it ends. A command imports what it needs in its body, so that help is shown at once."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import Annotated

import typer

from longtail import __version__
from longtail.cli import run_commands, table_commands, training_commands
from longtail.cli.options import in_flags
from longtail.cli.show import fit_output
from longtail.cli.stopping import Stopped, stopping_on_signals
from longtail.errors import UserError
from longtail.text import visible

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Train and evaluate image classifiers on data in which few classes have most of the images.\n\n"
    "Start with [bold]longtail demo[/bold], then [bold]longtail inspect FOLDER[/bold] and [bold]longtail train FOLDER[/bold].",
)

for part in (training_commands, run_commands, table_commands):
    app.add_typer(part.commands)
app.add_typer(training_commands.data_commands, name="data")

INTERRUPTED = 130


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"longtail {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the installed version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Options that stand before a command."""


def main() -> None:
    """Runs a command; an error that a user can fix is one sentence on stderr and exit code 2, others keep their traceback."""
    fit_output()
    try:
        with stopping_on_signals():
            app()
    except Stopped as stop:
        _stop(stop.sentence, stop.code)
    except SystemExit as stop:
        if stop.code == INTERRUPTED:  # typer catches KeyboardInterrupt itself and says nothing
            _stop("Interrupted. What has been stored is kept; the same command goes on from there.", INTERRUPTED)
        raise
    except (SyntaxError, UserError, OSError) as error:
        if os.environ.get("LONGTAIL_DEBUG"):
            raise
        _stop(_sentence(error), 2)


def _sentence(error: Exception) -> str:
    if isinstance(error, SyntaxError):
        return f"'{error.filename}', line {error.lineno}, is not Python ({error.msg})."
    return in_flags(str(error))


def _stop(text: str, code: int) -> None:
    turns = sys.modules.get("longtail.turns")  # of several processes of a run one says what happened
    if turns is not None and not turns.fails():
        sys.exit(code)
    with suppress(OSError):  # the terminal may be gone
        typer.secho(visible(" ".join(text.split())), fg=typer.colors.RED, err=True)
    sys.exit(code)
