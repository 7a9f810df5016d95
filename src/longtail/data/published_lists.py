"""The published lists of ImageNet-LT, Places-LT and iNaturalist 2018: what is known of them, and how they are read.

Nothing here needs torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from longtail.data.rows import leaves
from longtail.errors import BadFolder
from longtail.text import visible

Name = Literal["imagenet_lt", "places_lt", "inaturalist2018"]
Channels = tuple[float, float, float]

LISTS = "https://github.com/facebookresearch/classifier-balancing/tree/main/data"
AGAIN = f"get the list again from {LISTS}."
IMAGENET: tuple[Channels, Channels] = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
INATURALIST: tuple[Channels, Channels] = ((0.466, 0.471, 0.380), (0.195, 0.194, 0.192))


@dataclass(frozen=True)
class Published:
    """The published lists of one data set, and the images that they name.

    Args:
        prefix: beginning of the lists' file names, as in `prefix`_train.txt.
        classes: number of classes; every list has all labels from 0 to classes - 1.
        images: number of images in each list, one per line.
        photos: where the images themselves are published, and which archives are meant.
        statistics: mean and standard deviation per channel that the papers normalise with.
        groups: number of classes with many, medium and few training images (`longtail.results.GROUP_RULES`).
        counts: sha256 of the training images per class, as text with spaces between; "" where it is not known.
        sha256: sha256 of the lists with Unix line ends, at classifier-balancing@22370c6. That repository's training lists of
            ImageNet-LT and iNaturalist 2018 were not at hand; of them the counts per class are known.
        mistaken: files and folders that other archives have, and what is wrong then.
    """

    prefix: str
    classes: int
    images: Mapping[str, int]
    photos: str
    statistics: tuple[Channels, Channels] = IMAGENET
    groups: tuple[int, int, int] = (0, 0, 0)
    counts: str = ""
    sha256: Mapping[str, str] = field(default_factory=dict)
    mistaken: Mapping[str, str] = field(default_factory=dict)

    @property
    def lists(self) -> str:
        """Address where the lists are published."""
        return f"{LISTS}/{self.prefix}"


PUBLISHED: Mapping[str, Published] = {
    "imagenet_lt": Published(
        "ImageNet_LT",
        1000,
        {"train": 115_846, "val": 20_000, "test": 50_000},
        "ILSVRC 2012 (https://image-net.org; ILSVRC2012_img_train.tar, md5 1d675b47d978889d74fa0da5fadfb00e, and "
        "ILSVRC2012_img_val.tar, md5 29b22e2961454d5413ddabcf34fc5622; unpacked to train/ and val/, one folder per class)",
        groups=(385, 479, 136),
        counts="b8b7c69111e4ef5a6a24b3887752f1adf37c64bf89ddf4e9643ba851071d7f97",
        sha256={
            "val": "9af7ba688acf9532ff5845a8fb14a1e97fdc4c51ac48bc72c08ea9c3f7ff142e",
            "test": "d1590191cf8a71fada7b1aaedaa2d139a2aea93ff2f1b755319d0bd8dbaa55d5",
        },
        mistaken={
            "val/ILSVRC2012_val_00000001.JPEG": "the images of val/ lie loose, as in the archive, but those of the lists in "
            "one folder per class, such as val/n01440764",
            "train/n01440764.tar": "train/ has one archive per class that is not unpacked",
            "ILSVRC/Data/CLS-LOC": "ILSVRC/ is of Kaggle's archive; link ILSVRC/Data/CLS-LOC/train to train, and sort its val/ "
            "into one folder per class",
        },
    ),
    "places_lt": Published(
        "Places_LT",
        365,
        {"train": 62_500, "val": 7_300, "test": 36_500},
        "Places365-Standard (http://places2.csail.mit.edu/download.html; places365standard_easyformat.tar, the 256-pixel images "
        "in one folder per class; its train/ and val/)",
        groups=(131, 163, 71),
        counts="9e1621aeb7faef16be145cc13930511b381ba3eb392516722c1ce3d59ddf7fce",
        sha256={
            "train": "726c4871dcbf07ce2f857703bfe32e9a83ffbf52d704239f6d95c4f4f4c247f7",
            "val": "719e3cf3766c09134ea28f56f1036c78def511ac1ed2c2532a6beef78f2439ba",
            "test": "44eee8441c8098c59195465abede425721bc35525d75209f9433b161a6eb37bc",
        },
        mistaken={
            "places365_standard/train": "the archive's own folder is in between; link places365_standard/train to train, and "
            "places365_standard/val to val",
            "data_256": "data_256/ is of train_256_places365standard.tar, which names folders by letters (a/airfield)",
            "data_large": "data_large/ is of train_large_places365standard.tar, the images of high resolution",
            "val_256": "val_256/ is of val_256.tar, whose images lie in no folders of classes",
            "val_large": "val_large/ is of val_large.tar, the images of high resolution in no folders of classes",
        },
    ),
    "inaturalist2018": Published(
        "iNaturalist18",
        8142,
        {"train": 437_513, "val": 24_426},
        "iNaturalist 2018 (https://github.com/visipedia/inat_comp/tree/master/2018; train_val2018.tar.gz, md5 "
        "b1c6952ce38f31868cc50ea72d066cc3)",
        INATURALIST,
        groups=(842, 4076, 3224),
        counts="fd1316331b954f7d4ceee67ff162e30901f6933b836789e4422593bd80f1b01b",
        sha256={"val": "efaeff65f80641b60864470e6f255aa69453406ef5717eec8c6681748f3a61f3"},
        mistaken={
            "train_val_images": "train_val_images/ is of iNaturalist 2017",
            "train_val2019": "train_val2019/ is of iNaturalist 2019",
            "train/00000_Animalia_Annelida_Clitellata_Haplotaxida_Lumbricidae_Lumbricus_terrestris": "train/ is of iNaturalist "
            "2021",
        },
    ),
}


def list_path(folder: Path, published: Published, part: str) -> Path:
    """Where the list of a part is expected."""
    return folder / f"{published.prefix}_{part}.txt"


def no_list(path: Path, published: Published) -> str:
    """What to do about a list that is not there."""
    folder = path.parent.name
    return (
        f"The list '{path}' is not there: give the folder that has {folder}/ with `root=DIR`, and put the lists of "
        f"{published.lists} into {folder}/, the folder that the paths in them are relative to."
    )


def read_list(path: Path) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Reads the paths, which may contain spaces, and the labels of one list.

    Raises:
        BadFolder: a line is not "path label", or names a file outside the folder.
    """
    files, labels = list[str](), list[int]()
    with path.open(encoding="utf-8-sig", errors="surrogateescape") as lines:
        for number, line in enumerate(lines, 1):
            parts = line.rsplit(maxsplit=1)
            if parts and (len(parts) < 2 or not parts[1].isdecimal() or len(parts[1]) > 9):
                got = visible(line.strip())
                raise BadFolder(f"'{path}', line {number}: expected a path and a number, as in a/1.jpg 0; got '{got}'.")
            if parts and leaves(parts[0]):
                raise BadFolder(f"'{path}', line {number}: '{visible(parts[0])}' lies outside '{path.parent}'; {AGAIN}")
            files.extend(parts[:1])
            labels.extend(map(int, parts[1:]))
    return tuple(files), np.array(labels, dtype=np.int64)


def check_labels(path: Path, labels: NDArray[np.int64], published: Published, part: str) -> None:
    """Compares the labels of a list with what is published.

    Raises:
        BadFolder: the number of images or of classes is another one.
    """
    again = f"get it again from {published.lists}."
    if len(labels) != published.images[part]:
        raise BadFolder(f"'{path}' names {len(labels):,} images, the published list names {published.images[part]:,}: {again}")
    known = np.unique(labels)
    if not np.array_equal(known, np.arange(published.classes)):
        raise BadFolder(
            f"'{path}' has {len(known):,} classes from {known[0]} to {known[-1]}, the published list has {published.classes:,} "
            f"from 0 to {published.classes - 1}: {again}"
        )
