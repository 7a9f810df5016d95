"""Splits of images and their class map: the containers that the modules reading files build and the training loop is fed from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from longtail.data.squares import Fit, Interpolation
from longtail.data.texts import Texts, in_one_buffer
from longtail.errors import UserError

Labels = NDArray[np.int64]
Watch = Callable[[int, int], None]


@dataclass(frozen=True)
class Split:
    """Some images and their labels.

    Files and digests are kept in one buffer each (`Texts`), so that a million of them take little memory.

    Args:
        files: name of each image: its path below `root`, or its position in the published file.
        labels: class indices (N,).
        pixels: uint8 (N, 3, S, S), or None where the images are read from `root` when needed.
        root: the folder that `files` are in.
        digests: hash of the content of each file; empty where the set was published under a checksum or a list of names.
    """

    files: Sequence[str]
    labels: Labels
    pixels: Tensor | None = None
    root: Path | None = None
    digests: Sequence[str] = ()

    def __post_init__(self) -> None:
        for name in ("files", "digests"):
            object.__setattr__(self, name, in_one_buffer(getattr(self, name)))

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def contents(self) -> Sequence[str]:
        """Hash of the content of each image; "" where it is not known."""
        return self.digests or ("",) * len(self)

    def take(self, indices: Sequence[int] | NDArray[np.int64]) -> Split:
        """The images at `indices`, in that order."""
        chosen = np.asarray(indices, dtype=np.int64)
        return replace(
            self,
            files=Texts(self.files[index] for index in chosen),
            labels=self.labels[chosen],
            pixels=None if self.pixels is None else self.pixels[torch.from_numpy(chosen)],
            digests=Texts(self.digests[index] for index in chosen) if self.digests else (),
        )

    def joined(self, other: Split) -> Split:
        """The images of this split, then those of another of the same root."""
        both = self.pixels is not None and other.pixels is not None
        return replace(
            self,
            files=Texts(chain(self.files, other.files)),
            labels=np.concatenate([self.labels, other.labels]),
            pixels=torch.cat([self.pixels, other.pixels]) if both else None,  # type: ignore[list-item]
            digests=Texts(chain(self.digests, other.digests)),
        )


@dataclass(frozen=True)
class Data:
    """Train, test and sometimes validation images under one class map.

    Args:
        classes: class names; a label is an index into them.
        mean, std: mean and standard deviation per channel that images are normalised with, in [0, 1]: those of the training
            pixels, or those that a pretrained network was trained with.
        size: side of the square images that the network sees.
        interpolation: how images are resized, "bilinear" or "bicubic".
        fit: how a square is made of an image: "pad" for a margin, "short_side" for its centre (`longtail.data.squares`).
        resize: length of the shorter side before the centre is cut, in pixels; None where images are padded.
        skipped: files that could not be read and were left out on request.
        faded: files of more than 8 bits per value of which little contrast is left.
    """

    train: Split
    test: Split
    classes: tuple[str, ...]
    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    val: Split | None = None
    skipped: tuple[str, ...] = ()
    interpolation: Interpolation = "bilinear"
    faded: tuple[str, ...] = ()
    fit: Fit = "pad"
    resize: int | None = None

    def __post_init__(self) -> None:
        if (self.fit == "pad") != (self.resize is None) or (self.resize or self.size) < self.size:
            raise UserError(
                f"`resize` is for fit='short_side', and at least the size of the cut, {self.size} pixels; got fit='{self.fit}' "
                f"and resize={self.resize}."
            )

    @property
    def class_counts(self) -> list[int]:
        """Training images per class."""
        return counts_of(self.train.labels, len(self.classes))

    @property
    def splits(self) -> dict[str, Split]:
        """The splits that exist, by name."""
        return {"train": self.train, **({"val": self.val} if self.val is not None else {}), "test": self.test}


def counts_of(labels: Labels, num_classes: int) -> list[int]:
    """Images per class."""
    return [int(count) for count in np.bincount(labels, minlength=num_classes)]


def fingerprint(data: Data) -> str:
    """sha256 over the class names, the image size, and the names, labels and content of the images of every split.

    The content are the hashes of the files, or the pixels where a published set is held in memory without files; of published
    lists, whose images are read later, it is the names and labels alone.
    """
    digest = hashlib.sha256(ascii((data.classes, data.size)).encode())
    for name, split in data.splits.items():
        digest.update(f"{name} {len(split)}\n".encode())
        texts = [in_one_buffer(column).lines for column in (split.files, split.digests) if column]
        digest.update(b"\n".join(texts))
        digest.update(split.labels.astype("<i8").tobytes())
        if not split.digests and split.pixels is not None:
            digest.update(split.pixels.contiguous().numpy().data)
    return digest.hexdigest()


def hold_out(data: Data, share: float, *, seed: int) -> Data:
    """`data` with `share` of each class's training images moved to a validation split.

    At least one image is moved of a class that has three or more. `data` are returned as they are where they have a validation
    split already, and where `share` is 0.

    Raises:
        UserError: the share does not lie between 0 and 1.
    """
    if data.val is not None or share == 0:
        return data
    if not 0 < share < 1:
        raise UserError(f"The validation share must lie between 0 and 1; got {share:g}.")
    chosen = stratified(data.train.labels, len(data.classes), share, seed=seed, at_least_one_of=3)
    kept = np.setdiff1d(np.arange(len(data.train)), chosen)
    return replace(data, train=data.train.take(kept), val=data.train.take(chosen))


def with_validation_in_training(data: Data) -> Data:
    """`data` with its validation images among the training images; `data` as they are where there are none."""
    if data.val is None:
        return data
    return replace(data, train=data.train.joined(data.val), val=None)


def stratified(labels: Labels, num_classes: int, share: float, *, seed: int, at_least_one_of: int) -> Labels:
    """Indices of a random `share` of each class, rounded, but never of the whole class.

    At least one image is chosen of a class that has `at_least_one_of` images or more.
    """
    generator = np.random.default_rng(seed)
    chosen = []
    for label in range(num_classes):
        images = generator.permutation(np.flatnonzero(labels == label))
        wanted = max(round(share * len(images)), 1 if len(images) >= at_least_one_of else 0)
        chosen.append(images[: min(wanted, max(len(images) - 1, 0))])
    return np.sort(np.concatenate(chosen))


def pixel_statistics(pixels: Tensor) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Mean and standard deviation per channel of uint8 images (N, 3, H, W), in [0, 1]; exact, from their histogram."""
    values = torch.arange(256, dtype=torch.float64)
    share = torch.stack([torch.bincount(pixels[:, channel].flatten(), minlength=256) for channel in range(3)]).double()
    share /= share.sum(1, keepdim=True)
    mean = share @ values
    std = (share @ values**2 - mean**2).clamp(min=1.0).sqrt()
    return _triple(mean / 255), _triple(std / 255)


def _triple(values: Tensor) -> tuple[float, float, float]:
    first, second, third = (round(value, 4) for value in values.tolist())
    return first, second, third
