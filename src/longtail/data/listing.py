"""Lists the image files of a folder or a CSV, with their classes and splits. No image is opened here."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from longtail.data.images import SUFFIXES
from longtail.errors import BadFolder

SPLITS = ("train", "val", "test")


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


def list_images(root: Path) -> Listing:
    """Lists the images of a folder of classes, of a folder with train/ and test/ (or val/), or of a CSV.

    Raises:
        BadFolder: `root` does not exist, or cannot be a data set.
    """
    if not root.exists():
        raise BadFolder(f"'{root}' does not exist. {_neighbours(root)}")
    if root.is_file():
        return read_csv(root, below=root.parent)
    folders = _folders(root)
    # A class may be called train too, as in CIFAR-100; then it has no class folders and no test/ beside it.
    if "train" in folders and (_folders(root / "train") or {"val", "test"} & set(folders)):
        return _list_splits(root, folders)
    classes = {name: _images(root, name) for name in folders}
    filled = {name: files for name, files in classes.items() if files}
    empty = tuple(name for name, files in classes.items() if not files)
    if not filled and _images(root, "."):
        raise BadFolder(f"'{root}' has images but no class folders. Put each class's images into a folder with its name.")
    return _listing(root, filled, empty if filled else ())


def read_csv(path: Path, *, below: Path, missing_ok: bool = False) -> Listing:
    """Reads a CSV with the header path,label[,split].

    Args:
        path: the CSV file.
        below: folder that the paths in the CSV are relative to, or any file in that folder.
        missing_ok: whether files that do not exist are listed, too, instead of refused.

    Raises:
        BadFolder: the file is not such a CSV, or names a file that does not exist.
    """
    below = below.parent if below.is_file() else below
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            header = reader.fieldnames or []
            rows = [(reader.line_num, row) for row in reader]
    except FileNotFoundError as error:
        raise BadFolder(f"'{path}' does not exist. {_neighbours(path)}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadFolder(f"'{path}' is not a CSV in UTF-8; expected the header path,label[,split].") from error
    if "path" not in header or "label" not in header:
        raise BadFolder(f"'{path}' has the header {','.join(header) or '(none)'}; expected path,label[,split].")
    for line, row in rows:
        if not row["path"] or not row["label"]:
            raise BadFolder(f"'{path}', line {line}: path and label must both be given.")
        if not missing_ok and not (below / row["path"]).is_file():
            raise BadFolder(f"'{path}', line {line}: there is no file '{below / row['path']}'.")
        if "split" in header and row["split"] not in SPLITS:
            raise BadFolder(f"'{path}', line {line}: split is '{row['split'] or ''}'; expected {', '.join(SPLITS)}.")
    splits = tuple(row["split"] for _, row in rows) if "split" in header and rows else None
    return Listing(below, tuple(row["path"] for _, row in rows), tuple(row["label"] for _, row in rows), splits)


def unlisted(listing: Listing) -> tuple[str, ...]:
    """Files below the root that the listing does not name, without hidden ones."""
    named, found = set(listing.files), list[str]()
    for folder, folders, files in os.walk(listing.root):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__")))
        inside = Path(folder).relative_to(listing.root)
        found.extend((inside / name).as_posix() for name in sorted(files) if not name.startswith("."))
    return tuple(file for file in found if file not in named)


def _list_splits(root: Path, folders: list[str]) -> Listing:
    names = [name for name in SPLITS if name in folders]
    called = {"val": "test"} if "test" not in names else {}
    rows, empty = list[tuple[str, str, str]](), list[str]()
    for split in names:
        for label in _folders(root / split):
            files = _images(root, f"{split}/{label}")
            if not files and split == "train":
                empty.append(label)
            rows.extend([(file, label, called.get(split, split)) for file in files])
    columns = [tuple(row[column] for row in rows) for column in range(3)]
    return Listing(root, columns[0], columns[1], columns[2], tuple(empty))


def _listing(root: Path, classes: dict[str, list[str]], empty: tuple[str, ...]) -> Listing:
    pairs = [(file, label) for label, files in classes.items() for file in files]
    return Listing(root, tuple(file for file, _ in pairs), tuple(label for _, label in pairs), None, empty)


def _folders(root: Path) -> list[str]:
    return sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith((".", "__")))


def _images(root: Path, below: str) -> list[str]:
    """Paths of the image files in the folder `below`, relative to `root` and without hidden ones."""
    if below == ".":
        return [entry.name for entry in os.scandir(root) if entry.is_file() and _is_image(entry.name)]
    found = list[str]()
    for folder, folders, files in os.walk(root / below):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        inside = Path(folder).relative_to(root)
        names = (name for name in files if _is_image(name))
        found.extend((inside / name).as_posix() for name in names)
    return sorted(found)


def _is_image(name: str) -> bool:
    return not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES


def some(names: Iterable[str]) -> str:
    """The first twelve names as text, and the number of the others."""
    names = list(names)
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")


def _neighbours(root: Path) -> str:
    import difflib

    if not root.parent.is_dir():
        return f"Its parent folder '{root.parent}' does not exist either."
    names = sorted(entry.name for entry in os.scandir(root.parent) if not entry.name.startswith("."))
    close = difflib.get_close_matches(root.name, names, n=3)
    return f"Did you mean {' or '.join(close)}?" if close else f"'{root.parent}' has {some(names) or 'nothing'}."
