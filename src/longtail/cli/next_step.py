"""What a command says at its end: the run folder and the command to give next."""

from __future__ import annotations

from pathlib import Path

from longtail.cli.options import in_flags
from longtail.cli.show import console, say, text
from longtail.runs.code import needs_trust
from longtail.text import for_shell


def note(line: str) -> None:
    """Prints a sentence, whose arguments become flags."""
    say(text(in_flags(line)))


def to_predict(folder: Path) -> str:
    """The command that predicts with a finished run."""
    return with_trust(f"{for_shell('longtail', 'predict', folder)} IMAGES", folder)


def with_trust(command: str, folder: Path) -> str:
    """The command with the flag without which a model of the user's own code is refused."""
    return f"{command} --trust-code" if needs_trust(folder) else command


def say_next(folder: Path, command: str, purpose: str) -> None:
    """Prints the run folder, and the command to give next."""
    console.print(f"Run folder: [bold]{text(folder)}[/bold]", highlight=False, soft_wrap=True)
    console.print(f"Next: [bold cyan]{text(command)}[/bold cyan]  ({purpose})", highlight=False, soft_wrap=True)
