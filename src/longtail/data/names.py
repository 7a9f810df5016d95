"""What names mean: which files are images by their suffix, which files and folders are trash, which name which split."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable
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
