"""The terminal: lines and tables, in which names from outside are harmless."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape

from longtail.text import visible

console = Console()


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
