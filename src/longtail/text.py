"""Texts from outside, such as names of files and classes, made safe for a terminal and for a spreadsheet."""

from __future__ import annotations

import re

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
FORMULA = re.compile(r"'*[=+\-@\t\r]")
NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")


def visible(text: str) -> str:
    r"""The text with every control character as its escape, such as \x1b, \n or \u202e, so that a terminal does not obey it."""
    return CONTROL.sub(lambda found: found.group().encode("unicode_escape").decode(), text)


def guarded(cell: str) -> str:
    """The text with a leading ' where a spreadsheet would run it as a formula; `unguarded` gives the text back."""
    return f"'{cell}" if FORMULA.match(cell) and not NUMBER.fullmatch(cell) else cell


def unguarded(cell: str) -> str:
    """The text that `guarded` was given."""
    return cell[1:] if cell.startswith("'") and FORMULA.match(cell) else cell
