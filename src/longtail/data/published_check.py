"""Compares the lists and the images of a published data set on this machine with what is published. No image is opened."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from longtail.data.groups import shot_groups
from longtail.data.published_lists import PUBLISHED, Name, Published, check_labels, list_path, no_list, read_list
from longtail.errors import BadFolder
from longtail.results import counted
from longtail.text import visible

if TYPE_CHECKING:
    from longtail.data.splits import Watch  # loads torch

Labels = NDArray[np.int64]
SHOWN = 3
ARCHIVES = (".tar", ".tar.gz", ".tgz", ".zip")


@dataclass(frozen=True)
class ListFound:
    """One list as it was found.

    Args:
        part: "train", "val" or "test".
        images: number of images that it names; 0 where it cannot be read.
        missing: number of those that are not there.
        content: how it compares with the published list, in words.
    """

    part: str
    images: int
    missing: int
    content: str


@dataclass(frozen=True)
class SetFound:
    """A data set as it was found.

    Args:
        folder: the folder that was looked into.
        lists: its lists.
        counts: training images per class; empty where the training list cannot be read.
        problems: what is wrong, one sentence each; none where everything is as published.
    """

    folder: Path
    lists: tuple[ListFound, ...]
    counts: tuple[int, ...]
    problems: tuple[str, ...]

    @property
    def groups(self) -> dict[str, int]:
        """Number of classes with many, medium and few training images; none where the training list cannot be read."""
        return {name: len(labels) for name, labels in shot_groups(self.counts).items()} if self.counts else {}


def check_published(root: Path, name: Name, *, watch: Watch | None = None) -> SetFound:
    """Looks for the lists and all images of a published data set in `root/name`; each folder is read once, and no image.

    Args:
        root: folder that has the folder `name`.
        name: the data set.
        watch: called with (number of folders read, number of folders that the list names) for each list.

    Raises:
        UnreadableFile: the system refuses to read a list.
    """
    published, folder = PUBLISHED[name], root / name
    problems, found, counts = list[str](), list[ListFound](), list[int]()
    for part in published.images:
        path = list_path(folder, published, part)
        try:
            files, labels = read_list(path)
        except (BadFolder, FileNotFoundError) as error:
            problems.append(str(error) if isinstance(error, BadFolder) else no_list(path, published))
            found.append(ListFound(part, 0, 0, "not there" if isinstance(error, FileNotFoundError) else "not readable"))
            continue
        missing = list(missing_of(folder, files, watch))
        content, wrong = _compared(path, files, labels, published, part)
        found.append(ListFound(part, len(files), len(missing), content))
        problems += [*wrong, *([_said_of_missing(path, missing)] if missing else [])]
        counts = _counts(labels) if part == "train" else counts
    if any(each.missing for each in found):
        problems += _causes(folder, published)
    return SetFound(folder, tuple(found), tuple(counts), tuple(problems))


def missing_of(folder: Path, files: Sequence[str], watch: Watch | None = None) -> Iterator[str]:
    """Those of the files, given relative to `folder`, that do not exist, folder by folder in the order of first naming."""
    by_folder = dict[str, list[str]]()
    for file in files:
        below, _, name = file.rpartition("/")
        by_folder.setdefault(below, []).append(name)
    for done, (below, names) in enumerate(by_folder.items(), 1):
        there = _names_in(folder / below)
        yield from (f"{below}/{name}" if below else name for name in names if name not in there)
        if watch is not None:
            watch(done, len(by_folder))


def _names_in(folder: Path) -> set[str]:
    """Names of the files in a folder; none where there is no such folder. A link that leads nowhere is no file."""
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if entry.is_file()}
    except (FileNotFoundError, NotADirectoryError):
        return set()


def _compared(path: Path, files: Sequence[str], labels: Labels, published: Published, part: str) -> tuple[str, list[str]]:
    """How a list compares with the published one, in a word and in sentences on what is wrong."""
    try:
        check_labels(path, labels, published, part)
    except BadFolder as error:
        return "differs", [str(error)]
    known, counts = published.sha256.get(part), " ".join(map(str, _counts(labels)))
    if known is not None and list_hash(files, labels) != known:
        return "differs", [
            f"'{path}' names other images than the published list, or in another order, though as many: get it again from "
            f"{published.lists}, or keep it and say in your results which list was used."
        ]
    if part == "train" and published.counts and _sha256(counts) != published.counts:
        return "differs", [f"'{path}' has other numbers of images per class than published: get it again from {published.lists}."]
    if known is not None:
        return "as published", []
    return ("class counts as published" if part == "train" and published.counts else "not compared"), []


def _counts(labels: Labels) -> list[int]:
    """Number of images of each label that occurs, in the order of the labels."""
    return [int(count) for count in np.unique(labels, return_counts=True)[1]]


def list_hash(files: Sequence[str], labels: Labels) -> str:
    """sha256 of a list written as one "path label" per line, which of a published list is that of its file."""
    return _sha256("".join(f"{file} {label}\n" for file, label in zip(files, np.asarray(labels).tolist(), strict=True)))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


def _said_of_missing(path: Path, missing: Sequence[str]) -> str:
    names = ", ".join(f"'{visible(file)}'" for file in missing[:SHOWN])
    more = f" and {len(missing) - SHOWN:,} more" if len(missing) > SHOWN else ""
    verb = "is" if len(missing) == 1 else "are"
    return f"{counted(len(missing), 'image')} of {path.name} {verb} not in '{path.parent}': {names}{more}."


def _causes(folder: Path, published: Published) -> Iterator[str]:
    """Sentences on why images may be missing, and where they come from."""
    yield from (f"'{folder}': {why}." for path, why in published.mistaken.items() if (folder / path).exists())
    packed = sorted(file for file in _names_in(folder) if file.endswith(ARCHIVES))
    if packed:
        yield f"'{folder}' has archives, which may not be unpacked: {', '.join(map(visible, packed))}."
    yield f"The images are those of {published.photos}; put them into '{folder}', or a link to each of their folders."
