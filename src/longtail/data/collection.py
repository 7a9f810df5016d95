"""A list of images with their classes and splits, and what keeps it from being trained on. No image is opened here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from longtail.data.class_names import near
from longtail.data.names import SPLITS
from longtail.data.opening import FORMATS
from longtail.data.walking import some
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
        csv: the CSV that lists the files; None where they were found in folders.
        called: for each split, the name that its folder, or its rows in the CSV, have.
        notes: sentences for the user on what was passed over or taken for something else.
    """

    root: Path
    files: tuple[str, ...]
    labels: tuple[str, ...]
    splits: tuple[str, ...] | None = None
    empty_classes: tuple[str, ...] = ()
    csv: Path | None = None
    called: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def source(self) -> Path:
        """The CSV or the folder, for messages."""
        return self.csv or self.root

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
        files, labels = tuple(self.files[index] for index in kept), tuple(self.labels[index] for index in kept)
        rest = replace(self, files=files, labels=labels, splits=splits)
        lost = sorted(set(self.classes).difference(rest.classes))
        return replace(rest, empty_classes=(*self.empty_classes, *lost))

    def of_split(self, split: str) -> Listing:
        """The files of one split; all files where the data are not split."""
        if self.splits is None:
            return self
        return self.without([file for file, other in zip(self.files, self.splits, strict=True) if other != split])

    def check(self) -> None:
        """Refuses a listing that cannot be trained on.

        Raises:
            BadFolder: there are no images, a class has none, there is one class only, the train or test split is missing, or
                another split has a class that train lacks.
        """
        if not self.files:
            raise BadFolder(self._nothing())
        if self.splits is not None:
            self._check_present(self.splits)
        if self.empty_classes:
            raise BadFolder(self._empty())
        if len(self.classes) < 2:
            only = f" ('{self.classes[0]}')" if self.classes else ""
            needed = "classes in the column label" if self.csv else "class folders"
            raise BadFolder(f"'{self.source}' has one class only{only}; a classifier needs at least two {needed}.")
        if self.splits is not None:
            self._check_known(self.splits)

    def _nothing(self) -> str:
        if self.csv is not None:
            return f"'{self.csv}' has no images. Expected one row path,label[,split] for each image."
        expected = f"Expected one folder per class with images in it ({', '.join(FORMATS)})."
        return " ".join((f"'{self.root}' has no images. {expected}", *self.notes))

    def _empty(self) -> str:
        if self.csv is not None:
            names = f"Class{'es' if len(self.empty_classes) > 1 else ''} without readable images: {some(self.empty_classes)}"
            return f"{names}. Add images, or remove the rows from '{self.csv}'."
        folders = f"Class folder{'s' if len(self.empty_classes) > 1 else ''} without readable images: {some(self.empty_classes)}"
        return " ".join((f"{folders}. Add images or remove the folder.", *self.notes))

    def _check_present(self, splits: tuple[str, ...]) -> None:
        present = Counter(splits)
        for needed in ("train", "test"):
            if not present[needed]:
                has = ", ".join(split for split in SPLITS if present[split])
                what = f"'{self.source}' has no images for {needed}; it has {has}."
                raise BadFolder(" ".join((what, *self.notes, self._to_add())))

    def _to_add(self) -> str:
        """What to do about a split without images."""
        if self.csv is not None:
            return "Add some, or leave out the column split to have 20 % of each class taken for test."
        folder = f" '{self.root / self.called['train']}'" if "train" in self.called else ""
        return f"Add some, or give one folder of classes{folder} to have 20 % of each class taken for test."

    def _check_known(self, splits: tuple[str, ...]) -> None:
        known = set(self.classes)
        strange = {label: split for label, split in zip(self.labels, splits, strict=True) if label not in known}
        if strange:
            label, split = next(iter(strange.items()))
            raise BadFolder(
                f"{self.called.get(split, split)} has the class '{label}', which train does not have. "
                f"Classes of train: {some(self.classes)}. {self.rename(label, self.classes)}"
            )

    def rename(self, label: str, known: Iterable[str]) -> str:
        """What to do about a class that is not known."""
        close = near(label, known)
        hint = f"'{close}' differs only in capitals, spaces or Unicode form. " if close is not None else ""
        return f"{hint}Rename {'it in the CSV' if self.csv else 'the folder'}, or add training images."
