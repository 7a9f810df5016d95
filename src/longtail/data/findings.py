"""What is found in a folder of images or in a CSV, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

Counts = dict[str, int]
Copies = tuple[tuple[str, ...], ...]


class Group(NamedTuple):
    """Number of classes in a shot group, and number of their training images."""

    classes: int
    images: int


class Range(NamedTuple):
    """Smallest, median and largest length in pixels, over all images that can be read."""

    smallest: int
    median: float
    largest: int


@dataclass(frozen=True)
class Inspection:
    """The findings on a folder or a CSV; plain values, so that they can be written as JSON.

    Args:
        counts: images per class, all splits together.
        splits: images per class for each split; empty where the data are not split yet.
        imbalance, groups: imbalance and shot groups of the training split, or of all images where the data are not split yet.
        width, height, short_side: lengths in pixels of the images that can be read (`short_side` is the median of the shorter
            sides); None where no image can be read.
        modes, formats: images per PIL mode and per file format, most first.
        corrupt: files that cannot be decoded, each with the reason.
        large: files with more pixels than the limit, each with its number of pixels.
        refused: files that the system refuses to read, each with the reason; they may be good.
        conflicts: groups of identical files with different labels.
        leaks: groups of identical files in different splits.
        duplicates: number of exact copies of other files that are in neither of these groups.
        empty_classes: classes without files; of the training split alone, where there are splits.
        missing: for each split, the classes of train that it lacks; they cannot be evaluated there.
        unknown: for each split, its classes that train lacks.
        ignored: number of files that are not images.
        outside: images in folders that training does not read.
        faded: files of more than 8 bits per value of which training sees little contrast.
        csv: whether the images are listed by a CSV.
        notes: sentences on what was passed over or taken for something else.
        warnings: one sentence for each problem, which says what to change and how.
    """

    counts: Counts
    splits: dict[str, Counts]
    imbalance: float
    groups: dict[str, Group]
    width: Range | None
    height: Range | None
    short_side: float | None
    modes: Counts
    formats: Counts
    corrupt: dict[str, str]
    large: dict[str, int]
    refused: dict[str, str]
    conflicts: Copies
    leaks: Copies
    duplicates: int
    empty_classes: tuple[str, ...]
    missing: dict[str, tuple[str, ...]]
    unknown: dict[str, tuple[str, ...]]
    ignored: int
    outside: tuple[str, ...]
    faded: tuple[str, ...] = ()
    csv: bool = False
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
