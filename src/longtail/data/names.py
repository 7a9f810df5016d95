"""What names mean: which files are images by their suffix, which files and folders are trash, which name which split."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from functools import cache

from longtail.data.opening import FORMATS, HEIF, registered
from longtail.results import counted
from longtail.text import visible

SPLITS = ("train", "val", "test")
SPLIT = re.compile(
    r"(?:(?P<train>train|training|trn)|(?P<val>val|valid|validation|dev|eval|evaluation)|(?P<test>test|testing|tst))"
    r"(?:[ _-]?(?:set|data|images|split))?",
    re.IGNORECASE,
)
TRASH = frozenset(  # of systems, network drives and notebooks, in small letters; hidden names are trash as well
    {
        "__macosx",
        "__pycache__",
        "@eadir",
        "@recycle",
        "@recently-snapshot",
        "#recycle",
        "#snapshot",
        "$recycle.bin",
        "recycler",
        "system volume information",
        "lost+found",
        "network trash folder",
        "temporary items",
        "thumbs.db",
        "ehthumbs.db",
        "desktop.ini",
    }
)
SHOWN = 6


@cache
def image_suffixes() -> frozenset[str]:
    """Suffixes, in small letters, of the image files that are read here: those that Pillow, as installed, has for `FORMATS`."""
    from PIL import Image as Pillow

    read = {*registered().intersection(FORMATS), "MPO"}  # two JPEG images in one file, which the reader of JPEG opens
    return frozenset(suffix.lower() for suffix, name in Pillow.EXTENSION.items() if name in read)


def suffix_of(name: str) -> str:
    """The suffix of a file name, in small letters; "" where it has none."""
    return os.path.splitext(name)[1].lower()


def is_image(name: str) -> bool:
    """Whether a file counts as an image by its name."""
    return not is_trash(name) and suffix_of(name) in image_suffixes()


def is_trash(name: str) -> bool:
    """Whether a file or folder is hidden, or something that a system, a network drive or a notebook leaves among data."""
    return name.startswith(".") or name.lower() in TRASH


def split_of(name: str) -> str | None:
    """The split that a name means, "train", "val" or "test", as `Training`, `valid` and `TEST` do; None for other names."""
    found = SPLIT.fullmatch(name.strip())
    return None if found is None else found.lastgroup


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
    import difflib

    close = near(name, names)
    if close is not None:
        return f" '{close}' differs from it only in capitals, spaces or Unicode form."
    guesses = difflib.get_close_matches(name, names, n=1)
    return f" Did you mean '{guesses[0]}'?" if guesses else ""


def said_of_left_out(files: Iterable[str]) -> str:
    """Sentence that counts and names files which are no images by their names; "" where there are none."""
    by_suffix = defaultdict(list)
    for file in files:
        by_suffix[suffix_of(file)].append(file)
    if not by_suffix:
        return ""
    ranked = sorted(by_suffix.items(), key=lambda pair: -len(pair[1]))
    kinds = [_kind(suffix, alike) for suffix, alike in ranked]
    number = sum(len(alike) for alike in by_suffix.values())
    others = f" and {counted(len(kinds) - SHOWN, 'more kind')}" if len(kinds) > SHOWN else ""
    what = "1 file whose suffix is" if number == 1 else f"{number:,} files whose suffixes are"
    return f"Left out {what} not that of a readable image: {', '.join(kinds[:SHOWN])}{others}."


def _kind(suffix: str, files: list[str]) -> str:
    needs = "; install pillow-heif to read such files" if suffix in HEIF else ""
    first = f"{'first ' if len(files) > 1 else ''}'{visible(files[0])}'"
    return f"{len(files):,} {visible(suffix) or 'without a suffix'} ({first}{needs})"
