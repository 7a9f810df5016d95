"""Images that are held out and are copies of training images, byte for byte."""

from __future__ import annotations

from longtail.data.splits import Data, Split
from longtail.results import counted
from longtail.text import for_shell

HELD_OUT = {"val": "validation", "test": "test"}


def said_of_copies(data: Data, name: object) -> str:
    """Sentence that counts the held-out images which training shows as well; "" for none, or where contents are not known.

    Args:
        data: the images, with the hashes of their contents.
        name: the folder or CSV that they come from.
    """
    held = {HELD_OUT[kind]: split for kind, split in data.splits.items() if kind in HELD_OUT}
    found = {words: copies_in(split, data.train) for words, split in held.items()}
    parts = [f"{number:,} of {counted(len(held[words]), f'{words} image')}" for words, number in found.items() if number]
    if not parts:
        return ""
    are = "is a copy of a training image" if sum(found.values()) == 1 else "are copies of training images"
    command = for_shell("longtail", "inspect", name)
    return f"{' and '.join(parts)} {are}, so results look better than they are. `{command}` finds them; keep one file of each."


def copies_in(split: Split, train: Split) -> int:
    """Number of images of a split whose file has the content of a training image's."""
    known = set(split.digests) - {""}
    shown = {digest for digest in train.digests if digest in known} if known else known
    return sum(digest in shown for digest in split.digests)
