"""CIFAR-10-LT and CIFAR-100-LT from the official files, with the published counts and images."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import torch

from longtail.data.imbalance import cut_counts, long_tailed_subset
from longtail.data.splits import Data, Split, counts_of
from longtail.errors import MissingFileError

MEAN = (0.4914, 0.4822, 0.4465)
STD = (0.2023, 0.1994, 0.2010)
Name = Literal["cifar10", "cifar100"]


def cifar_lt(root: Path, *, name: Name, imbalance: float | None = 100, split_seed: int = 0, download: bool = False) -> Data:
    """CIFAR with an exponentially long-tailed training set and the whole, balanced test set.

    Both sets are normalised with CIFAR-10's constants, as in the papers' scripts. `root` holds `cifar-10-batches-py` or
    `cifar-100-python`.

    Raises:
        MissingFileError: the official files are not below `root` (or their md5 differs) and `download` is False.
    """
    train, classes = _read(root, name, train=True, download=download)
    test, _ = _read(root, name, train=False, download=download)
    if imbalance is not None:
        counts = cut_counts(counts_of(train.labels, len(classes)), imbalance)
        train = train.take(long_tailed_subset(train.labels, counts, split_seed))
    return Data(train, test, classes, size=32, mean=MEAN, std=STD)


def _read(root: Path, name: Name, *, train: bool, download: bool) -> tuple[Split, tuple[str, ...]]:
    from torchvision.datasets import CIFAR10, CIFAR100

    source = {"cifar10": CIFAR10, "cifar100": CIFAR100}[name]
    try:
        dataset = source(str(root), train=train, download=download)
    except RuntimeError as error:
        raise MissingFileError(
            f"The official files of {source.__name__} are not below '{root}' ({source.base_folder}/). "
            f"Give their folder with `root=DIR`, or let longtail fetch them with `download`."
        ) from error
    part = "train" if train else "test"
    files = tuple(f"{part}/{index}" for index in range(len(dataset.targets)))
    pixels = torch.from_numpy(dataset.data).permute(0, 3, 1, 2).contiguous()
    return Split(files, np.asarray(dataset.targets, dtype=np.int64), pixels), tuple(dataset.classes)
