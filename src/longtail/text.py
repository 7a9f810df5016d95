"""Texts from outside, such as names of files and classes, made safe for a terminal, a spreadsheet and Markdown, and compared."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable
from pathlib import Path

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
FORMULA = re.compile(r"'*[=+\-@\t\r\n\uff0b\uff0d\uff1d\uff20]")  # the last four are wide forms of + - = @
MARKDOWN = re.compile(r"[\\`*_\[\]<>#|~&$]|:(?=//)|(?<=www)\.", re.IGNORECASE)
NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")


def visible(text: str) -> str:
    r"""The text with every control character as its escape, such as \x1b, \n or \u202e, so that a terminal does not obey it.

    Bytes of a file name that are not UTF-8, and marks that change the direction of writing, are escaped as well.
    """
    return CONTROL.sub(lambda found: found.group().encode("unicode_escape").decode(), text)


def for_shell(*words: object) -> str:
    """A command line of which a POSIX shell makes these words again, whatever characters they have.

    Control characters and bytes that are not UTF-8 are written as in `$'caf\\xe9'`. A path that begins with - gets ./ before it,
    since it would be an option.
    """
    return " ".join(_word(f"./{word}" if isinstance(word, Path) and str(word).startswith("-") else str(word)) for word in words)


def _word(word: str) -> str:
    if visible(word) == word:
        return shlex.quote(word)
    safe = (visible(character) == character and character not in "\\'" for character in word)
    parts = (c if as_is else _escaped(c) for c, as_is in zip(word, safe, strict=True))
    return f"$'{''.join(parts)}'"


def _escaped(character: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in os.fsencode(character))


def guarded(cell: str) -> str:
    """The text with a leading ' where a spreadsheet would run it as a formula; `unguarded` gives the text back."""
    return f"'{cell}" if FORMULA.match(cell) and not NUMBER.fullmatch(cell) else cell


def unguarded(cell: str) -> str:
    """The text that `guarded` was given."""
    return cell[1:] if cell.startswith("'") and FORMULA.match(cell) else cell


def markdown(text: str) -> str:
    """The text in one line of Markdown, in which nothing has a meaning: no link, image, HTML, emphasis, formula or new column.

    A character of the text that would have one gets a backslash before it, which Markdown does not show.
    """
    return MARKDOWN.sub(lambda found: f"\\{found.group()}", visible(text))


def alike(name: str, known: Iterable[str], most: int = 1) -> list[str]:
    """The known names that are most like an unknown one, the best first, at most `most` of them; none where none is like it."""
    import difflib

    return difflib.get_close_matches(name, list(known), n=most)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Sentence on the known name that is most like an unknown one, with a space before it; "" where none is like it."""
    guesses = alike(name, known)
    return f" Did you mean '{guesses[0]}'?" if guesses else ""


def unknown(kind: str, name: str, known: list[str]) -> str:
    """The message on an unknown name: what was asked for, the nearest match, and what exists."""
    return f"There is no {kind} '{name}'.{did_you_mean(name, known)} There are: {', '.join(known)}."
