"""The terminal: lines and tables, in which names from outside are harmless."""

from __future__ import annotations

import codecs
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape

from longtail.text import visible

console = Console()
PLAIN = {"█": "#", "←": "<-", "–": "-", "±": "+-", "·": "-", "×": "x", "…": "..."}


def fit_output() -> None:
    """Has characters that the terminal, or the file that is written instead, cannot encode replaced by others, never refused."""
    codecs.register_error("longtail", _replaced)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="longtail")


def _replaced(error: UnicodeError) -> tuple[str, int]:
    """Similar characters of ASCII for the signs of longtail's own tables, and escapes as \\u03b1 for names."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_plain, error.object[error.start : error.end])), error.end


def _plain(character: str) -> str:
    if character in PLAIN:
        return PLAIN[character]
    drawn = "\u2500" <= character <= "\u257f" or "\u2800" <= character <= "\u28ff"  # lines, and dots of a status
    return "-" if drawn else character.encode("ascii", "backslashreplace").decode()


def text(thing: object) -> str:
    """A name, path or sentence as it is printed: control characters as escapes, and square brackets not as markup."""
    return escape(visible(str(thing)))


def say(thing: Any) -> None:
    """Prints a line or a table."""
    console.print(thing, highlight=False, soft_wrap=isinstance(thing, str))


@contextmanager
def lines_on_stderr(wanted: bool) -> Iterator[None]:
    """Inside the `with` block, lines and tables go to standard error if wanted, so that standard output holds data alone."""
    before, console.stderr = console.stderr, wanted or console.stderr
    try:
        yield
    finally:
        console.stderr = before
