"""The images that split.csv of a finished run lists, and where those of two runs differ. Loads no torch."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from longtail.runs.folder import RunFolder
from longtail.text import unguarded

FOLDER_DATA = "longtail.data.folder.folder_data"
Image = tuple[str, str, str]  # path, class, hash of the content; "" where it is not known


def listed_images(split: bytes, name: str = "test") -> list[Image]:
    """The images of one split, in the order of the run's predictions.

    Args:
        split: the content of split.csv.
        name: the split: train, val or test.
    """
    rows = csv.DictReader(io.StringIO(split.decode(errors="surrogateescape"), newline=""))
    return [(unguarded(row["path"]), unguarded(row["label"]), row.get("content") or "") for row in rows if row["split"] == name]


def other_images(first: Sequence[Image], other: Sequence[Image]) -> list[Image]:
    """Those of the first images that are not among the others; contents count where they are known of all images.

    Where the others have more images beside all of the first, it is these that are returned.
    """
    if not all(image[2] for image in (*first, *other)):
        first, other = ([(path, label, "") for path, label, _ in images] for images in (first, other))
    here, there = set(first), set(other)
    return [image for image in first if image not in there] or [image for image in other if image not in here]


def said_of_other(first: Sequence[Image], other: Sequence[Image]) -> str:
    """How many of the first images differ from the others, such as "12 of 60 differ, such as a/1.png"; "" where none does."""
    differing = other_images(first, other)
    return f"{len(differing):,} of {max(len(first), len(other)):,} differ, such as {differing[0][0]}" if differing else ""


def option_for_same_images(folder: Path) -> str:
    """The option that gives another run the images of this one, in backticks: its split, or of named settings its seed."""
    data = RunFolder(folder).record["setting"].get("data", {})
    if data.get("call", FOLDER_DATA) == FOLDER_DATA:
        return f"`split={folder / 'split.csv'}`"
    return f"`split_seed={data['split_seed']}`" if "split_seed" in data else ""
