"""Which rows of a table are on other images than most of its rows. Loads no torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from longtail.errors import UserError
from longtail.runs.folder import RunFolder
from longtail.runs.listed import listed_images, option_for_same_images, other_images, said_of_other
from longtail.runs.seals import sha256
from longtail.runs.table import Row


@dataclass(frozen=True)
class Apart:
    """Rows on other images than most rows.

    Args:
        rows: indices of the rows, which have their images in common.
        usual: index of the first row that is on the images of most rows.
        tested: how many test images differ, such as "12 of 60 differ, such as a/1.png"; "" where none does.
        trained: numbers of training images of these rows and of the usual ones, where the test images are the same.
        option: the option that trains on the images of the usual rows; "" where no run folder of theirs was read.
    """

    rows: tuple[int, ...]
    usual: int
    tested: str
    trained: tuple[int, int] | None
    option: str


def rows_apart(rows: Sequence[Row]) -> list[Apart]:
    """The rows whose images are not those of most rows, gathered by their images.

    Runs whose images differ in size alone are on the same ones. Of results from files, which name no images, nothing but the
    hash is known, which another size changes as well: they have neither `tested` nor `trained`.
    """
    if len({row.split for row in rows}) < 2:
        return []
    lists = _lists(rows)
    keys = [sha256(lists[row.split]) if row.split in lists else row.split for row in rows]
    usual = keys.index(Counter(keys).most_common(1)[0][0])
    others = dict.fromkeys(key for key in keys if key != keys[usual])
    found = (_apart(rows, tuple(n for n, key in enumerate(keys) if key == other), usual, lists) for other in others)
    return [apart for apart in found if apart is not None]


def _lists(rows: Sequence[Row]) -> dict[str, bytes]:
    """The split.csv of each hash of images, of which a run folder can be read."""
    found: dict[str, bytes] = {}
    for row in rows:
        if row.folder is not None and row.split not in found:
            try:
                found[row.split] = RunFolder(row.folder).read("split.csv")
            except UserError:
                continue  # its hash is known all the same
    return found


def _apart(rows: Sequence[Row], own: tuple[int, ...], usual: int, lists: dict[str, bytes]) -> Apart | None:
    mine, theirs = (lists.get(rows[index].split) for index in (own[0], usual))
    folder = rows[usual].folder
    option = "" if folder is None else option_for_same_images(folder)
    if mine is None or theirs is None:
        return Apart(own, usual, "", None, option)
    tested = said_of_other(listed_images(theirs), listed_images(mine))
    if tested:
        return Apart(own, usual, tested, None, option)
    learned, shown = (listed_images(listed, "train") for listed in (mine, theirs))
    return Apart(own, usual, "", (len(learned), len(shown)), option) if other_images(learned, shown) else None
