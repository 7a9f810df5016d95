"""ImageNet-LT, Places-LT and iNaturalist 2018 from their published lists of files. No image is opened here."""

from __future__ import annotations

from pathlib import Path

from longtail.data.published_lists import PUBLISHED, Name, Published, check_labels, list_path, no_list, read_list
from longtail.data.splits import Data, Split, Watch
from longtail.data.squares import Fit
from longtail.errors import MissingFileError

SIZE, RESIZE = 224, 256


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
    path = list_path(folder, published, part)
    if not path.is_file():
        raise MissingFileError(no_list(path, published))
    files, labels = read_list(path)
    check_labels(path, labels, published, part)
    missing = [file for file in (files[0], files[-1]) if not (folder / file).is_file()]
    if missing:
        raise MissingFileError(
            f"'{folder / missing[0]}', which {path.name} names, is not there: put the images of {published.photos} into "
            f"'{folder}', or a link to each of their folders."
        )
    return Split(files, labels, root=folder)


def _class_names(train: Split, classes: int) -> tuple[str, ...]:
    """Names of the folders where every class has one folder of its own and their names differ; else the labels as text."""
    folders = (file.rpartition("/")[0].rpartition("/")[2] for file in train.files)
    pairs = sorted(set(zip(train.labels.tolist(), folders, strict=True)))
    names = tuple(name for _, name in pairs if name)
    return names if len(pairs) == len(set(names)) == classes else tuple(map(str, range(classes)))
