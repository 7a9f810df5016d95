"""Lists the image files of a folder or of a CSV, with their classes and splits. No image is opened here."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from longtail.data.collection import Listing
from longtail.data.csv_list import read_csv
from longtail.data.names import SPLITS, is_image, said_of_left_out, split_of
from longtail.data.walking import everything_below, folders_in, images_below, loose_images, neighbours, some
from longtail.errors import BadFolder, UserError


def list_images(root: Path, *, missing_ok: bool = False, outside: bool = False) -> Listing:
    """Lists the images of a folder of classes, of a folder with train/ and test/ (or val/), or of a CSV.

    Args:
        root: the folder, or the CSV.
        missing_ok: whether files that a CSV names and that do not exist are listed, too, instead of refused.
        outside: whether a CSV may name files outside its folder.

    Raises:
        BadFolder: `root` does not exist, or cannot be a data set.
        UnreadableFile: the system refuses to read a folder or the CSV.
    """
    if not root.exists():
        raise BadFolder(f"'{root}' does not exist. {neighbours(root)}")
    if root.is_file():
        return read_csv(root, below=root.parent, missing_ok=missing_ok, outside=outside)
    folders = folders_in(root)
    if named := _split_folders(root, folders):
        return _list_splits(root, named)
    classes = _classes(root, folders)
    filled = {name: files for name, files in classes.items() if files}
    empty = tuple(name for name, files in classes.items() if not files)
    if not filled and loose_images(root):
        raise BadFolder(f"'{root}' has images but no class folders. Put each class's images into a folder with its name.")
    pairs = [(file, label) for label, files in filled.items() for file in files]
    listing = Listing(root, tuple(file for file, _ in pairs), tuple(label for _, label in pairs), None, empty if filled else ())
    return replace(listing, notes=_said_of_others(root, empty))


def _split_folders(root: Path, folders: Sequence[str]) -> dict[str, str]:
    """The folder of each split, as {"train": "Training", "test": "test"}; empty where the folders are classes.

    A class may be called train too, as in CIFAR-100; then it has no class folders and no test/ beside it.

    Raises:
        BadFolder: two folders mean the same split.
    """
    named: dict[str, list[str]] = {}
    for name in folders:
        if (split := split_of(name)) is not None:
            named.setdefault(split, []).append(name)
    deep = [name for names in named.values() for name in names if folders_in(root / name)]
    if "train" in named:
        meant = bool(set(named["train"]).intersection(deep) or len(named) > 1)
    else:
        meant = bool(len(named) > 1 and sum(map(len, named.values())) == len(folders) and deep)
    if meant and (twice := next((names for names in named.values() if len(names) > 1), None)):
        raise BadFolder(f"'{root}' has the folders {' and '.join(twice)}, which mean the same split; leave one of them there.")
    return {split: named[split][0] for split in SPLITS if split in named} if meant else {}


def _list_splits(root: Path, named: dict[str, str]) -> Listing:
    """Lists the splits; val is the test split where test has no class folders."""
    inside = {split: folders_in(root / name) for split, name in named.items()}
    flat = {split: name for split, name in named.items() if not inside[split] and loose_images(root / name)}
    notes = [_said_of_flat(root / name) for name in flat.values()]
    called = {split: name for split, name in named.items() if split not in flat}
    if "test" not in called and "val" in called:
        called["test"] = called.pop("val")
        notes.append(f"The test images are those of '{root / called['test']}', since there are no others.")
    rows, empty = list[tuple[str, str, str]](), list[str]()
    for split, name in called.items():
        for label, files in _classes(root, folders_in(root / name), f"{name}/").items():
            if not files and split == "train":
                empty.append(label)
            rows.extend([(file, label, split) for file in files])
    columns = [tuple(row[column] for row in rows) for column in range(3)]
    empties = _said_of_others(root, (f"{called['train']}/{label}" for label in empty)) if empty else ()
    listing = Listing(root, columns[0], columns[1], columns[2], tuple(empty))
    return replace(listing, called=called, notes=(*notes, *empties))


def _said_of_flat(folder: Path) -> str:
    images = loose_images(folder)
    what = f"{len(images):,} images, which are" if len(images) > 1 else "1 image, which is"
    return f"'{folder}' has no class folders, so that nothing says the classes of its {what} left out."


def _said_of_others(root: Path, folders: Iterable[str]) -> tuple[str, ...]:
    """A sentence on the files in folders without images, which may be images of another kind."""
    others = [file for folder in folders for file in everything_below(root / folder).others]
    said = said_of_left_out(file.relative_to(root).as_posix() for file in others)
    return (said,) if said else ()


def _classes(root: Path, names: Iterable[str], split: str = "") -> dict[str, list[str]]:
    """The files of every class folder; a folder that holds runs of longtail is no class."""
    every = {name: images_below(root, f"{split}{name}") for name in names}
    return {name: files for name, files in every.items() if files is not None}


def holds_images(folder: Path) -> bool:
    """Whether a folder has images in class folders."""
    try:
        return bool(list_images(folder).files)
    except UserError:
        return False


def unlisted(listing: Listing) -> tuple[str, ...]:
    """Files below the root that the listing does not name, without trash and without folders that hold runs."""
    if listing.csv is not None:
        return ()
    named, found = set(listing.files), everything_below(listing.root)
    inside = [run.relative_to(os.path.abspath(listing.root)) for run in found.runs]
    runs = tuple(holder for run in inside if (holder := _class_level(listing, run)))
    rest = [path.relative_to(listing.root).as_posix() for path in (*found.images, *found.others)]
    return tuple(file for file in rest if file not in named and not file.startswith(runs))


def said_of_unlisted(files: Sequence[str]) -> tuple[str, ...]:
    """Sentences that count and name the files that a listing of the same folder does not name: images, and others."""
    images = [file for file in files if is_image(os.path.basename(file))]
    said = said_of_left_out(file for file in files if not is_image(os.path.basename(file)))
    what = f"{len(images):,} image{'s' if len(images) > 1 else ''} in no class folder ({some(images)})"
    return tuple(filter(None, (f"Left out {what}." if images else "", said)))


def class_around(listing: Listing, folder: Path) -> str | None:
    """Name of the class folder that `folder` would be or lie in; None where it lies in none that has images."""
    inside = os.path.relpath(os.path.realpath(folder), os.path.realpath(listing.root))
    holder = _class_level(listing, Path(inside))
    if holder is None or not any(file.startswith(holder) for file in listing.files):
        return None
    return Path(holder).name


def _class_level(listing: Listing, inside: Path) -> str | None:
    """The folder around `inside` that could be a class, with a final /: the first, or the second where the first is a split."""
    depth = 2 if listing.splits is not None and inside.parts[:1] and split_of(inside.parts[0]) else 1
    return f"{'/'.join(inside.parts[:depth])}/" if len(inside.parts) >= depth else None
