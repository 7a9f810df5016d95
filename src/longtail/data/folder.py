"""Finds, splits, cuts and reads the images of any folder, or of a CSV that lists them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from longtail.data.images import read_all
from longtail.data.imbalance import cut_counts, long_tailed_subset
from longtail.data.listing import Listing, list_images, read_csv
from longtail.data.splits import Data, Split, Watch, counts_of, pixel_statistics, stratified
from longtail.errors import BadFolder, CorruptImage

MEMORY_LIMIT = 4 * 2**30
SAMPLE = 2000


@dataclass(frozen=True)
class _Plan:
    """The class names and the files of each split; no file is read yet."""

    classes: tuple[str, ...]
    splits: dict[str, Split]


def folder_data(
    root: Path,
    *,
    size: int,
    imbalance: float | None = None,
    split_seed: int = 0,
    skip_corrupt: bool = False,
    split: Path | None = None,
    watch: Watch | None = None,
) -> Data:
    """Reads the images below `root` (or listed in the CSV `root`) as squares of `size` pixels.

    A folder with train/ and test/ is taken as it is; a folder of classes is split, 20 % of each class for test. Images that fit
    into memory are held as one tensor; others are read again when they are needed. Every file is decoded once here, so that a
    corrupt one is found before training.

    Args:
        root: the folder, or the CSV.
        size: side of the squares in pixels.
        imbalance: n_max / n_min to which the training set is cut; None to keep all its images.
        split_seed: seed that draws the test images, and the training images that a cut keeps.
        skip_corrupt: whether files that cannot be read are left out instead of refused.
        split: a stored split.csv that says which file belongs to which split; its training set is not cut again.
        watch: called with (number of files read, number of all files).

    Raises:
        BadFolder: the folder is empty, has one class only, an empty class, corrupt images, or an unknown class in a split.
    """
    listing = read_csv(split, below=root) if split is not None else list_images(root)
    images: dict[str, Tensor] = {}
    skipped: tuple[str, ...] = ()
    while True:
        plan = _planned(listing.without(skipped), imbalance if split is None else None, split_seed)
        corrupt = _read_into(images, plan, listing.root, size, watch)
        if not corrupt:
            return _assembled(plan, images, listing.root, size, skipped)
        if not skip_corrupt:
            raise BadFolder(_corrupt_sentence(corrupt))
        skipped = (*skipped, *corrupt)


def training_images(listing: Listing, *, imbalance: float | None = None, split_seed: int = 0) -> int:
    """Number of training images that `folder_data` finds with these arguments; nothing is decoded."""
    return len(_planned(listing, imbalance, split_seed).splits["train"])


def _planned(listing: Listing, imbalance: float | None, split_seed: int) -> _Plan:
    """Splits the listing and cuts its training set to `imbalance`; None keeps all training images, as of a stored split."""
    listing.check()
    classes = listing.classes
    number = {name: index for index, name in enumerate(classes)}
    labels = np.array([number[label] for label in listing.labels], dtype=np.int64)
    whole = Split(listing.files, labels, root=listing.root, sizes=listing.sizes)
    if listing.splits is None:
        chosen = stratified(labels, len(classes), 0.2, seed=split_seed, at_least_one_of=2)
        if not len(chosen):
            raise BadFolder(f"'{listing.root}' has one image per class, so that none is left for test; add images.")
        splits = {"train": whole.take(np.setdiff1d(np.arange(len(labels)), chosen)), "test": whole.take(chosen)}
    else:
        names = np.array(listing.splits)
        splits = {name: whole.take(np.flatnonzero(names == name)) for name in sorted(set(listing.splits))}
    if imbalance is not None:
        counts = cut_counts(counts_of(splits["train"].labels, len(classes)), imbalance)
        kept = long_tailed_subset(splits["train"].labels, counts, split_seed)
        splits["train"] = splits["train"].take(kept)
    return _Plan(classes, splits)


def _read_into(images: dict[str, Tensor], plan: _Plan, root: Path, size: int, watch: Watch | None) -> dict[str, CorruptImage]:
    """Decodes the files that are not in `images` yet, adds them there, and returns the errors of those that cannot be read.

    All pixels are kept where they fit into memory, else those of a sample of the training images.
    """
    wanted = [file for split in plan.splits.values() for file in split.files if file not in images]
    fits = _fits(plan, size)
    train = plan.splits["train"].files
    sample = set(train[:: max(len(train) // SAMPLE, 1)])
    corrupt = {}
    for index, (file, result) in enumerate(zip(wanted, read_all(root, wanted, size), strict=True)):
        if watch is not None:
            watch(index + 1, len(wanted))
        if isinstance(result, CorruptImage):
            corrupt[file] = result
        elif fits or file in sample:
            images[file] = result
        else:
            images[file] = _SEEN
    return corrupt


_SEEN = torch.empty(0)  # stands for a file that can be read, but whose pixels are not kept


def _fits(plan: _Plan, size: int) -> bool:
    return sum(len(split) for split in plan.splits.values()) * 3 * size * size <= MEMORY_LIMIT


def _assembled(plan: _Plan, images: dict[str, Tensor], root: Path, size: int, skipped: Sequence[str]) -> Data:
    splits = plan.splits
    if _fits(plan, size):
        splits = {
            name: replace(split, pixels=torch.stack([images.pop(file) for file in split.files])) for name, split in splits.items()
        }
    sample = splits["train"].pixels
    if sample is None:
        sample = torch.stack([images[file] for file in splits["train"].files if images[file].numel()])
    mean, std = pixel_statistics(sample)
    return Data(splits["train"], splits["test"], plan.classes, size, mean, std, val=splits.get("val"), skipped=tuple(skipped))


def _corrupt_sentence(corrupt: dict[str, CorruptImage]) -> str:
    first = next(iter(corrupt.values()))
    others = len(corrupt) - 1
    more = f" {others:,} more file{'' if others == 1 else 's'} cannot be read either." if others else ""
    which = "them" if more else "it"
    return f"{first}{more} Remove or repair {which}, or leave {which} out with `skip_corrupt`."
