"""ImageNet-LT, Places-LT and iNaturalist 2018 from their published lists of files. No image is opened here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from longtail.data.rows import leaves
from longtail.data.splits import Data, Labels, Split, Watch
from longtail.data.squares import Fit
from longtail.errors import BadFolder, MissingFileError
from longtail.text import visible

Name = Literal["imagenet_lt", "places_lt", "inaturalist2018"]
Channels = tuple[float, float, float]

LISTS = "https://github.com/facebookresearch/classifier-balancing/tree/main/data"
IMAGENET: tuple[Channels, Channels] = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
INATURALIST: tuple[Channels, Channels] = ((0.466, 0.471, 0.380), (0.195, 0.194, 0.192))
SIZE, RESIZE = 224, 256
AGAIN = f"get the list again from {LISTS}."


@dataclass(frozen=True)
class Published:
    """The published lists of one data set.

    Args:
        prefix: beginning of the lists' file names, as in `prefix`_train.txt.
        classes: number of classes; every list has all labels from 0 to classes - 1.
        images: number of images in each list, one per line.
        photos: where the images themselves are published.
        statistics: mean and standard deviation per channel that the papers normalise with.
    """

    prefix: str
    classes: int
    images: Mapping[str, int]
    photos: str
    statistics: tuple[Channels, Channels] = IMAGENET

    @property
    def lists(self) -> str:
        """Address where the lists are published."""
        return f"{LISTS}/{self.prefix}"


PUBLISHED: Mapping[str, Published] = {
    "imagenet_lt": Published(
        "ImageNet_LT",
        1000,
        {"train": 115_846, "val": 20_000, "test": 50_000},
        "ILSVRC 2012 (https://image-net.org; train/ and val/, one folder per class in each)",
    ),
    "places_lt": Published(
        "Places_LT",
        365,
        {"train": 62_500, "val": 7_300, "test": 36_500},
        "Places365-Standard (http://places2.csail.mit.edu/download.html; train/ and val/ of the 256-pixel images)",
    ),
    "inaturalist2018": Published(
        "iNaturalist18",
        8142,
        {"train": 437_513, "val": 24_426},
        "iNaturalist 2018 (https://github.com/visipedia/inat_comp/tree/master/2018; train_val2018/)",
        INATURALIST,
    ),
}


def listed(root: Path, *, name: Name, split_seed: int = 0, fit: Fit = "pad", watch: Watch | None = None) -> Data:
    """The images that the lists `root/name/PREFIX_train.txt`, `_val.txt` and `_test.txt` name, with the lists' own labels.

    Each line is "path label", the path relative to `root/name`. Images are read when they are needed; here it is only checked
    that the first and the last image of each list exist. iNaturalist 2018 has no labels for its test images: its val list is the
    test set, as in the papers. On ImageNet-LT and Places-LT, inference rules are fitted on the val list.

    Args:
        root: folder that has the folder `name`.
        name: the data set.
        split_seed: not used here, since the published lists are long-tailed already; it is part of the run's record, and draws
            the images that are held out of iNaturalist's training list.
        fit: "short_side" for test images as in the papers, whose shorter side is resized to 256 pixels before the centre is cut
            out; "pad" for the whole image, padded to a square.
        watch: called with (number of lists read, number of all lists).

    Raises:
        MissingFileError: a list, or an image that was looked for, does not exist.
        BadFolder: a list is not the published one.
    """
    published, splits = PUBLISHED[name], dict[str, Split]()
    for index, part in enumerate(published.images):
        splits[part] = _read(root / name, published, part)
        if watch is not None:
            watch(index + 1, len(published.images))
    classes, (mean, std) = _class_names(splits["train"], published.classes), published.statistics
    test, val = (splits["test"], splits["val"]) if "test" in splits else (splits["val"], None)
    resize = None if fit == "pad" else RESIZE
    return Data(splits["train"], test, classes, SIZE, mean, std, val, fit=fit, resize=resize)


def _read(folder: Path, published: Published, part: str) -> Split:
    path = folder / f"{published.prefix}_{part}.txt"
    if not path.is_file():
        raise MissingFileError(
            f"The list '{path}' is not there: give the folder that has {folder.name}/ with `root=DIR`, and put the lists of "
            f"{published.lists} into {folder.name}/, the folder that the paths in them are relative to."
        )
    files, labels = _lines(path)
    _check_labels(path, labels, published, part)
    missing = [file for file in (files[0], files[-1]) if not (folder / file).is_file()]
    if missing:
        raise MissingFileError(
            f"'{folder / missing[0]}', which {path.name} names, is not there: put the images of {published.photos} into "
            f"'{folder}', or a link to each of their folders."
        )
    return Split(files, labels, root=folder)


def _lines(path: Path) -> tuple[tuple[str, ...], Labels]:
    """Reads the paths, which may contain spaces, and the labels of one list."""
    files, labels = list[str](), list[int]()
    with path.open(encoding="utf-8-sig", errors="surrogateescape") as lines:
        for number, line in enumerate(lines, 1):
            parts = line.rsplit(maxsplit=1)
            if parts and (len(parts) < 2 or not parts[1].isdecimal()):
                got = visible(line.strip())
                raise BadFolder(f"'{path}', line {number}: expected a path and a number, as in a/1.jpg 0; got '{got}'.")
            if parts and leaves(parts[0]):
                raise BadFolder(f"'{path}', line {number}: '{visible(parts[0])}' lies outside '{path.parent}'; {AGAIN}")
            files.extend(parts[:1])
            labels.extend(map(int, parts[1:]))
    return tuple(files), np.array(labels, dtype=np.int64)


def _check_labels(path: Path, labels: Labels, published: Published, part: str) -> None:
    again = f"get it again from {published.lists}."
    if len(labels) != published.images[part]:
        raise BadFolder(f"'{path}' names {len(labels):,} images, the published list names {published.images[part]:,}: {again}")
    known = np.unique(labels)
    if not np.array_equal(known, np.arange(published.classes)):
        raise BadFolder(
            f"'{path}' has {len(known):,} classes from {known[0]} to {known[-1]}, the published list has {published.classes:,} "
            f"from 0 to {published.classes - 1}: {again}"
        )


def _class_names(train: Split, classes: int) -> tuple[str, ...]:
    """Names of the folders where every class has one folder of its own and their names differ; else the labels as text."""
    folders = (file.rpartition("/")[0].rpartition("/")[2] for file in train.files)
    pairs = sorted(set(zip(train.labels.tolist(), folders, strict=True)))
    names = tuple(name for _, name in pairs if name)
    return names if len(pairs) == len(set(names)) == classes else tuple(map(str, range(classes)))
