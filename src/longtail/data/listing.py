"""Lists the image files of a folder or a CSV, with their classes and splits. No image is opened here."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from longtail.data.images import SUFFIXES
from longtail.data.rows import SPLITS, Inside, read_rows
from longtail.data.walking import RECORD, folders_in, images_below, is_record, loose_images, neighbours, some, walk
from longtail.errors import BadFolder


@dataclass(frozen=True)
class Listing:
    """Files below `root`, with their classes and, where they are given, their splits.

    Args:
        root: folder that the paths are relative to.
        files: path of each file below `root`, in a fixed order.
        labels: class name of each file.
        splits: "train", "val" or "test" for each file; None where the data are not split yet.
        empty_classes: classes without files; of the training split alone, where there are splits.
    """

    root: Path
    files: tuple[str, ...]
    labels: tuple[str, ...]
    splits: tuple[str, ...] | None = None
    empty_classes: tuple[str, ...] = ()

    @property
    def classes(self) -> tuple[str, ...]:
        """The class map: names of the training split, sorted."""
        if self.splits is None:
            return tuple(sorted(set(self.labels)))
        return tuple(sorted({label for label, split in zip(self.labels, self.splits, strict=True) if split == "train"}))

    @property
    def sizes(self) -> tuple[int, ...]:
        """Bytes of each file."""
        return tuple((self.root / file).stat().st_size for file in self.files)

    def without(self, files: Iterable[str]) -> Listing:
        """The listing without some files; a training class that loses its last file is added to `empty_classes`."""
        gone = set(files)
        kept = [index for index, file in enumerate(self.files) if file not in gone]
        splits = None if self.splits is None else tuple(self.splits[index] for index in kept)
        chosen = tuple(self.files[index] for index in kept), tuple(self.labels[index] for index in kept)
        rest = Listing(self.root, *chosen, splits)
        lost = sorted(set(self.classes).difference(rest.classes))
        return replace(rest, empty_classes=(*self.empty_classes, *lost))

    def check(self) -> None:
        """Refuses a listing that cannot be trained on.

        Raises:
            BadFolder: there are no images, a class has none, there is one class only, the train or test split is missing, or
                another split has a class that train lacks.
        """
        if not self.files:
            raise BadFolder(
                f"'{self.root}' has no images. Expected one folder per class with images in it ({', '.join(sorted(SUFFIXES))})."
            )
        if self.splits is not None:
            self._check_present(self.splits)
        if self.empty_classes:
            raise BadFolder(
                f"Class folder{'s' if len(self.empty_classes) > 1 else ''} without readable images: {some(self.empty_classes)}. "
                f"Add images or remove the folder."
            )
        if len(self.classes) < 2:
            only = f" ('{self.classes[0]}')" if self.classes else ""
            raise BadFolder(f"'{self.root}' has one class only{only}; a classifier needs at least two class folders.")
        if self.splits is not None:
            self._check_known(self.splits)

    def _check_present(self, splits: tuple[str, ...]) -> None:
        present = Counter(splits)
        for needed in ("train", "test"):
            if not present[needed]:
                raise BadFolder(
                    f"'{self.root}' has no images for {needed}; it has {', '.join(present)}. Add some, or give one folder of "
                    f"classes (or a CSV without the column split) to have 20 % of each class taken for test."
                )

    def _check_known(self, splits: tuple[str, ...]) -> None:
        known = set(self.classes)
        strange = {label: split for label, split in zip(self.labels, splits, strict=True) if label not in known}
        if strange:
            label, split = next(iter(strange.items()))
            raise BadFolder(
                f"{split} has the class '{label}', which train does not have. "
                f"Classes of train: {some(self.classes)}. Rename the folder, or add training images."
            )


def list_images(root: Path, *, outside: bool = False) -> Listing:
    """Lists the images of a folder of classes, of a folder with train/ and test/ (or val/), or of a CSV.

    Args:
        root: the folder, or the CSV.
        outside: whether a CSV may name files outside its folder.

    Raises:
        BadFolder: `root` does not exist, or cannot be a data set.
        UnreadableFile: the system refuses to read a folder or the CSV.
    """
    if not root.exists():
        raise BadFolder(f"'{root}' does not exist. {neighbours(root)}")
    if root.is_file():
        return read_csv(root, below=root.parent, outside=outside)
    folders = folders_in(root)
    # A class may be called train too, as in CIFAR-100; then it has no class folders and no test/ beside it.
    if "train" in folders and (folders_in(root / "train") or {"val", "test"} & set(folders)):
        return _list_splits(root, folders)
    classes = _classes(root, folders)
    filled = {name: files for name, files in classes.items() if files}
    empty = tuple(name for name, files in classes.items() if not files)
    if not filled and loose_images(root):
        raise BadFolder(f"'{root}' has images but no class folders. Put each class's images into a folder with its name.")
    return _listing(root, filled, empty if filled else ())


def _list_splits(root: Path, folders: list[str]) -> Listing:
    names = [name for name in SPLITS if name in folders]
    called = {"val": "test"} if "test" not in names else {}
    rows, empty = list[tuple[str, str, str]](), list[str]()
    for split in names:
        for label, files in _classes(root, folders_in(root / split), f"{split}/").items():
            if not files and split == "train":
                empty.append(label)
            rows.extend([(file, label, called.get(split, split)) for file in files])
    columns = [tuple(row[column] for row in rows) for column in range(3)]
    return Listing(root, columns[0], columns[1], columns[2], tuple(empty))


def _classes(root: Path, names: list[str], split: str = "") -> dict[str, list[str]]:
    """The files of every class folder; a folder that holds runs of longtail is no class."""
    every = {name: images_below(root, f"{split}{name}") for name in names}
    return {name: files for name, files in every.items() if files is not None}


def _listing(root: Path, classes: dict[str, list[str]], empty: tuple[str, ...]) -> Listing:
    pairs = [(file, label) for label, files in classes.items() for file in files]
    return Listing(root, tuple(file for file, _ in pairs), tuple(label for _, label in pairs), None, empty)


def read_csv(path: Path, *, below: Path, missing_ok: bool = False, outside: bool = False) -> Listing:
    """Reads a CSV with the header path,label[,split].

    Args:
        path: the CSV file.
        below: folder that the paths in the CSV are relative to, or any file in that folder.
        missing_ok: whether files that do not exist are listed, too, instead of refused.
        outside: whether files outside that folder may be named, by an absolute path, by `..` or through a link.

    Raises:
        BadFolder: the file is not such a CSV, or names a file that does not exist or lies outside.
        UnreadableFile: the system refuses to read it.
    """
    below = below.parent if below.is_file() else below
    rows, has_splits = read_rows(path)
    inside = Inside(below)
    for line, file, _, _ in rows:
        if not outside and file not in inside:
            raise BadFolder(
                f"'{path}', line {line}: '{file}' lies outside '{below}'; if you trust the list, give `outside=True`."
            )
        if not missing_ok and not (below / file).is_file():
            raise BadFolder(f"'{path}', line {line}: there is no file '{below / file}'.")
    splits = tuple(split for _, _, _, split in rows) if has_splits and rows else None
    return Listing(below, tuple(file for _, file, _, _ in rows), tuple(label for _, _, label, _ in rows), splits)


def unlisted(listing: Listing) -> tuple[str, ...]:
    """Files below the root that the listing does not name, without hidden ones and without folders that hold runs."""
    named, found, runs = set(listing.files), list[str](), set[str]()
    for folder, folders, files in walk(listing.root):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__")))
        inside = Path(folder).relative_to(listing.root)
        found.extend((inside / name).as_posix() for name in sorted(files) if not name.startswith("."))
        if RECORD in files and (holder := _class_level(listing, inside)) and is_record(Path(folder, RECORD)):
            runs.add(holder)
    return tuple(file for file in found if file not in named and not file.startswith(tuple(runs)))


def class_around(listing: Listing, folder: Path) -> str | None:
    """Name of the class folder that `folder` would be or lie in; None where it lies in none that has images."""
    inside = os.path.relpath(os.path.realpath(folder), os.path.realpath(listing.root))
    holder = _class_level(listing, Path(inside))
    if holder is None or not any(file.startswith(holder) for file in listing.files):
        return None
    return Path(holder).name


def _class_level(listing: Listing, inside: Path) -> str | None:
    """The folder around `inside` that could be a class, with a final /: the first, or the second where the first is a split."""
    depth = 2 if listing.splits is not None and inside.parts[:1] and inside.parts[0] in SPLITS else 1
    return f"{'/'.join(inside.parts[:depth])}/" if len(inside.parts) >= depth else None
