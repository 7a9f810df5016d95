"""Names of classes that are alike: those that may be one class, a known name in another Unicode form, the name that is meant."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping

from longtail.text import did_you_mean

SHOWN = 6


def near_names(names: Iterable[str]) -> list[tuple[str, ...]]:
    """Groups of names that differ only in capitals, in spaces or in their Unicode form, characters without width among it."""
    alike = defaultdict(list)
    for name in dict.fromkeys(names):
        alike[_folded(name)].append(name)
    return [tuple(group) for group in alike.values() if len(group) > 1]


def _folded(name: str) -> str:
    shown = (character for character in unicodedata.normalize("NFKC", name) if unicodedata.category(character) != "Cf")
    return "".join("".join(shown).casefold().split())


def said_of_near(names: Iterable[str]) -> tuple[str, ...]:
    """A sentence on each group of class names that differ only in capitals, in spaces or in their Unicode form."""
    what, advice = "Classes whose names differ only in capitals, spaces or Unicode form", "Give them one name if they are one"
    return tuple(f"{what}: {', '.join(map(repr, group))}. {advice}." for group in near_names(names))


def near(name: str, names: Iterable[str]) -> str | None:
    """The first of the names that differs from `name` only in capitals, in spaces or in its Unicode form; None for none."""
    return next((other for other in names if other != name and _folded(other) == _folded(name)), None)


def in_known_form(names: Iterable[str], known: Collection[str]) -> dict[str, str]:
    """For each name that is unknown, the one known name that is equal to it but for its Unicode form (NFC or NFD)."""
    by_form = defaultdict(list)
    for name in known:
        by_form[unicodedata.normalize("NFC", name)].append(name)
    forms = {name: by_form.get(unicodedata.normalize("NFC", name), []) for name in dict.fromkeys(names) if name not in known}
    return {name: equal[0] for name, equal in forms.items() if len(equal) == 1}


def said_of_known_form(renamed: Mapping[str, str]) -> str:
    """Sentence on class names that are taken for known ones of another Unicode form."""
    many = len(renamed) > 1
    what = f"{len(renamed)} classes are" if many else "1 class is"
    return f"{what} written in another Unicode form than in the run, and taken for {'those' if many else 'that'} of the run: " + (
        ", ".join(repr(name) for name in list(renamed.values())[:SHOWN]) + (", ..." if len(renamed) > SHOWN else "") + "."
    )


def meant(name: str, names: Collection[str]) -> str:
    """Sentence on the name that is most like an unknown one, with a space before it; "" where none is like it."""
    close = near(name, names)
    return did_you_mean(name, names) if close is None else f" '{close}' differs from it only in capitals, spaces or Unicode form."
