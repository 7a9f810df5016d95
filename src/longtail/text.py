"""Texts from outside, such as names of files and classes, made safe for a terminal and for a spreadsheet."""

from __future__ import annotations

import re

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
FORMULA = re.compile(r"'*[=+\-@\t\r\n\uff0b\uff0d\uff1d\uff20]")  # the last four are wide forms of + - = @
NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")


def visible(text: str) -> str:
    r"""The text with every control character as its escape, such as \x1b, \n or \u202e, so that a terminal does not obey it.

    Bytes of a file name that are not UTF-8, and marks that change the direction of writing, are escaped as well.
    """
    return CONTROL.sub(lambda found: found.group().encode("unicode_escape").decode(), text)


def guarded(cell: str) -> str:
    """The text with a leading ' where a spreadsheet would run it as a formula; `unguarded` gives the text back."""
    return f"'{cell}" if FORMULA.match(cell) and not NUMBER.fullmatch(cell) else cell


def unguarded(cell: str) -> str:
    """The text that `guarded` was given."""
    return cell[1:] if cell.startswith("'") and FORMULA.match(cell) else cell
