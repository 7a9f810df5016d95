"""Finds, splits, cuts and reads the images of any folder, or of a CSV that lists them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from longtail.data.collection import Listing
from longtail.data.csv_list import read_csv
from longtail.data.images import read_all
from longtail.data.imbalance import cut_counts, long_tailed_subset
from longtail.data.listing import list_images
from longtail.data.splits import Data, Split, Watch, counts_of, pixel_statistics, stratified
from longtail.data.squares import Interpolation
from longtail.errors import BadFolder, CorruptImage, TooLarge

Statistics = tuple[tuple[float, float, float], tuple[float, float, float]]
MEMORY_LIMIT = 4 * 2**30
SAMPLE = 2000


class Seen(Protocol):
    """Hashes of the content of files that were decoded before."""

    def digest(self, path: Path, state: os.stat_result) -> str | None:
        """The hash of a file that was decoded in this state; None where it was not."""

    def add(self, path: Path, state: os.stat_result, digest: str) -> None:
        """Adds a file that was decoded just now."""


@dataclass(frozen=True)
class _Images:
    """Pixels of the files held in memory, the hashes of all files that can be read, and those that lost their contrast."""

    pixels: dict[str, Tensor] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    faded: list[str] = field(default_factory=list)


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
    seen: Seen | None = None,
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
        interpolation: how images are resized, "bilinear" or "bicubic".
        statistics: mean and standard deviation per channel to normalise with, in [0, 1]; None for those of the training pixels.
        split: a stored split.csv that says which file belongs to which split; its training set is not cut again.
        outside: whether a CSV may name files outside its folder; it does not change the experiment.
        seen: hashes of files that were decoded before. Of images that do not fit into memory, those with an unchanged size and
            time are not read again.
        watch: called with (number of files read, number of all files).

    Raises:
        BadFolder: the folder is empty, has one class only, an empty class, corrupt images, or an unknown class in a split.
    """
    how: Any = {"missing_ok": skip_corrupt, "outside": bool(outside)}
    listing = read_csv(split, below=root, **how) if split is not None else list_images(root, **how)
    images = _Images()
    skipped: tuple[str, ...] = ()
    while True:
        plan = _planned(listing.without(skipped), imbalance if split is None else None, split_seed)
        corrupt = _read_into(images, plan, listing.root, size, seen, watch, interpolation)
        if not corrupt:
            data = _assembled(plan, images, size, skipped)
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


def _read_into(
    images: _Images, plan: _Plan, root: Path, size: int, seen: Seen | None, watch: Watch | None, interpolation: Interpolation
) -> dict[str, CorruptImage]:
    """Decodes the files that are not in `images` yet, adds them there, and returns the errors of those that cannot be read.

    All pixels are kept where they fit into memory, else those of a sample of the training images.
    """
    train = plan.splits["train"].files
    fits = _fits(plan, size)
    held = set(_all_files(plan)) if fits else set(train[:: max(len(train) // SAMPLE, 1)])
    unread = [file for file in _all_files(plan) if file not in images.digests]
    states = {} if fits or seen is None else {file: state for file in unread if (state := _state(root / file)) is not None}
    for file, state in states.items():
        if file not in held and seen is not None and (known := seen.digest(root / file, state)) is not None:
            images.digests[file] = known
    wanted, corrupt = [file for file in unread if file not in images.digests], {}
    for index, (file, result) in enumerate(zip(wanted, read_all(root, wanted, size, interpolation), strict=True)):
        if watch is not None:
            watch(index + 1, len(wanted))
        if isinstance(result, CorruptImage):
            corrupt[file] = result
            continue
        images.digests[file] = result.digest
        if result.faded:
            images.faded.append(file)
        if file in held:
            images.pixels[file] = result.pixels
        if seen is not None and file in states:
            seen.add(root / file, states[file], result.digest)
    return corrupt


def _all_files(plan: _Plan) -> list[str]:
    return [file for split in plan.splits.values() for file in split.files]


def _state(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None  # the reader says what is wrong with the file


def _fits(plan: _Plan, size: int) -> bool:
    return sum(len(split) for split in plan.splits.values()) * 3 * size * size <= MEMORY_LIMIT


def _assembled(plan: _Plan, images: _Images, size: int, skipped: Sequence[str]) -> Data:
    digests, pixels = images.digests, images.pixels
    splits = {name: replace(split, digests=tuple(digests[file] for file in split.files)) for name, split in plan.splits.items()}
    if _fits(plan, size):
        splits = {name: replace(s, pixels=torch.stack([pixels.pop(file) for file in s.files])) for name, s in splits.items()}
    sample = splits["train"].pixels
    if sample is None:
        sample = torch.stack([pixels[file] for file in splits["train"].files if file in pixels])
    mean, std = pixel_statistics(sample)
    train, test, val = splits["train"], splits["test"], splits.get("val")
    return Data(train, test, plan.classes, size, mean, std, val, tuple(skipped), faded=tuple(images.faded))


def said_of_corrupt(corrupt: Mapping[str, CorruptImage]) -> str:
    """What to do about files that cannot be read: the first one that is damaged is named, else the largest."""
    damaged = [error for error in corrupt.values() if not isinstance(error, TooLarge)]
    first = damaged[0] if damaged else max(corrupt.values(), key=lambda error: getattr(error, "pixels", 0))
    others = len(corrupt) - 1
    more = f" {others:,} more file{'' if others == 1 else 's'} cannot be read either." if others else ""
    which = "them" if more else "it"
    instead = f"Remove or repair {which}, or leave" if damaged else "Else leave"
    return f"{first}{more} {instead} {which} out with `skip_corrupt`."
