"""Finds, splits, cuts and reads the images of any folder, or of a CSV that lists them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from longtail.data.checking import Check, Found, Seen
from longtail.data.collection import Listing
from longtail.data.csv_list import read_csv
from longtail.data.imbalance import cut_counts, long_tailed_subset
from longtail.data.listing import list_images
from longtail.data.splits import Data, Split, Watch, counts_of, pixel_statistics, stratified
from longtail.data.squares import Interpolation
from longtail.data.texts import Texts
from longtail.errors import BadFolder, CorruptImage, TooLarge

Statistics = tuple[tuple[float, float, float], tuple[float, float, float]]
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
    interpolation: Interpolation = "bilinear",
    statistics: Statistics | None = None,
    split: Path | None = None,
    outside: bool | None = None,
    check: Check = "full",
    seen: Seen | None = None,
    watch: Watch | None = None,
) -> Data:
    """Reads the images below `root` (or listed in the CSV `root`) as squares of `size` pixels.

    A folder with train/ and test/ is taken as it is; a folder of classes is split, 20 % of each class for test. Images that fit
    into memory are held as one tensor; others are read again when they are needed. By `check`, every file is decoded once here,
    so that a corrupt one is found before training.

    Args:
        root: the folder, or the CSV.
        size: side of the squares in pixels.
        imbalance: n_max / n_min to which the training set is cut; None to keep all its images.
        split_seed: seed that draws the test images, and the training images that a cut keeps.
        skip_corrupt: whether files that cannot be read are left out instead of refused.
        interpolation: how images are resized, "bilinear" or "bicubic".
        statistics: mean and standard deviation per channel to normalise with, in [0, 1]; None for those of the training pixels.
        split: a stored split.csv that says which file belongs to which split; its training set is not cut again.
        outside: whether a CSV may name files outside its folder; it does not change the experiment.
        check: how files are looked at that do not fit into memory: "full" decodes all of them, "header" reads their format and
            size, "none" leaves them alone. Under the last two the data have no hashes: images are known by name and class.
        seen: hashes of files that were decoded before. Of images that do not fit into memory, those with an unchanged size and
            time are not read again.
        watch: called with (number of files read, number of all files).

    Raises:
        BadFolder: the folder is empty, has one class only, an empty class, corrupt images, or an unknown class in a split.
    """
    how: Any = {"missing_ok": skip_corrupt, "outside": bool(outside)}
    listing = read_csv(split, below=root, **how) if split is not None else list_images(root, **how)
    found = Found(listing.root, size, interpolation, check, seen, watch)
    skipped: tuple[str, ...] = ()
    fits: bool | None = None
    while True:
        plan = _planned(listing.without(skipped), imbalance if split is None else None, split_seed)
        fits = _fits(plan, size) if fits is None else fits  # whatever is left out then
        corrupt = _read(found, plan, fits)
        if not corrupt:
            data = _assembled(plan, found, fits, skipped)
            mean, std = statistics or (data.mean, data.std)
            return replace(data, mean=mean, std=std, interpolation=interpolation)
        if not skip_corrupt:
            raise BadFolder(said_of_corrupt(corrupt))
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
    whole = Split(listing.files, labels, root=listing.root)
    if listing.splits is None:
        chosen = stratified(labels, len(classes), 0.2, seed=split_seed, at_least_one_of=2)
        if not len(chosen):
            raise BadFolder("There is one image per class, so that none is left for test; add images.")
        splits = {"train": whole.take(np.setdiff1d(np.arange(len(labels)), chosen)), "test": whole.take(chosen)}
    else:
        names = np.array(listing.splits)
        splits = {name: whole.take(np.flatnonzero(names == name)) for name in sorted(set(listing.splits))}
    if imbalance is not None:
        counts = cut_counts(counts_of(splits["train"].labels, len(classes)), imbalance)
        kept = long_tailed_subset(splits["train"].labels, counts, split_seed)
        splits["train"] = splits["train"].take(kept)
    return _Plan(classes, splits)


def _read(found: Found, plan: _Plan, fits: bool) -> dict[str, CorruptImage]:
    """Reads the files that were not read yet, and returns the errors of those that cannot be read.

    All pixels are kept where they fit into memory, else those of a sample of the training images.
    """
    train = plan.splits["train"].files
    sample = train[:: max(len(train) // SAMPLE, 1)]
    return found.read(_all_files(plan), held=None if fits else set(sample))


def _all_files(plan: _Plan) -> list[str]:
    return [file for split in plan.splits.values() for file in split.files]


def _fits(plan: _Plan, size: int) -> bool:
    return sum(len(split) for split in plan.splits.values()) * 3 * size * size <= MEMORY_LIMIT


def _assembled(plan: _Plan, found: Found, fits: bool, skipped: Sequence[str]) -> Data:
    digests, pixels, splits = found.digests, found.pixels, plan.splits
    if fits or found.check == "full":
        splits = {name: replace(split, digests=Texts(map(digests.__getitem__, split.files))) for name, split in splits.items()}
    if fits:
        splits = {name: replace(s, pixels=torch.stack([pixels.pop(file) for file in s.files])) for name, s in splits.items()}
    sample = splits["train"].pixels
    if sample is None:
        sample = torch.stack([pixels[file] for file in splits["train"].files if file in pixels])
    mean, std = pixel_statistics(sample)
    train, test, val = splits["train"], splits["test"], splits.get("val")
    return Data(train, test, plan.classes, found.size, mean, std, val, tuple(skipped), faded=tuple(found.faded))


def said_of_corrupt(corrupt: Mapping[str, CorruptImage]) -> str:
    """What to do about files that cannot be read: the first one that is damaged is named, else the largest."""
    damaged = [error for error in corrupt.values() if not isinstance(error, TooLarge)]
    first = damaged[0] if damaged else max(corrupt.values(), key=lambda error: getattr(error, "pixels", 0))
    others = len(corrupt) - 1
    more = f" {others:,} more file{'' if others == 1 else 's'} cannot be read either." if others else ""
    which = "them" if more else "it"
    instead = f"Remove or repair {which}, or leave" if damaged else "Else leave"
    return f"{first}{more} {instead} {which} out with `skip_corrupt`."
