"""Images that are copies of each other, byte for byte: held-out images of training images, and images with two labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from longtail.data.splits import Data, Split
from longtail.results import counted
from longtail.text import for_shell, visible

SAID = -1  # label of a content that is known to have two
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


def said_of_two_labels(data: Data, name: object) -> str:
    """Sentence on the contents that have more than one label, of which all but one are wrong; "" for none, or where not known.

    Args:
        data: the images, with the hashes of their contents.
        name: the folder or CSV that they come from.
    """
    twice = dict(_two_labels(data))
    if not twice:
        return ""
    have = "image lies" if len(twice) == 1 else "images lie"
    command = for_shell("longtail", "inspect", name)
    return (
        f"{len(twice):,} {have} in two classes or more, byte for byte (first {next(iter(twice.values()))}): keep the file with "
        f"the right label of each. `{command}` lists them."
    )


def _two_labels(data: Data) -> Iterator[tuple[str, str]]:
    """Each content with two labels, and its first two files that differ in it; only files of equal contents are looked at."""
    first: dict[str, tuple[str, int]] = {}
    for split, indices in _repeated([split for split in data.splits.values() if split.digests]):
        for index in indices:
            content, file, label = split.digests[index], split.files[index], int(split.labels[index])
            other, known = first.setdefault(content, (file, label)) if content else (file, label)
            if known not in (label, SAID):
                first[content] = (file, SAID)
                yield content, f"'{visible(other)}' and '{visible(file)}'"


def _repeated(splits: Sequence[Split]) -> Iterator[tuple[Split, list[int]]]:
    """The indices of the images in each split whose content occurs more than once in all of them."""
    hashes = [np.fromiter(map(hash, split.digests), dtype=np.int64) for split in splits]
    values, counts = np.unique(np.concatenate(hashes), return_counts=True) if hashes else (np.zeros(0), np.zeros(0))
    for split, own in zip(splits, hashes, strict=True):
        yield split, np.flatnonzero(np.isin(own, values[counts > 1])).tolist()
