"""The images that a run was trained and tested on, opened again for a report: from their folder, or from pixels in memory."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longtail.data.cifar import cifar_lt
from longtail.data.digits import digits_lt
from longtail.data.images import content_hash, open_rgb, read_content
from longtail.data.rows import Inside
from longtail.data.splits import Data
from longtail.data.squares import as_tensor, squared
from longtail.errors import UserError
from longtail.reporting.answer import Answer
from longtail.runs.folder import RunFolder
from longtail.spec.description import public_path
from longtail.spec.parts import Slot, restore
from longtail.text import unguarded

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

BUNDLED = Slot("a set of images in memory", {public_path(each): each for each in (digits_lt, cifar_lt)}, 1)


@dataclass(frozen=True)
class Row:
    """An image of a run: its path or its name in a published file, its class, its split, and the hash of its content."""

    file: str
    label: int
    split: str
    content: str


class Originals:
    """The images of a run. Those that are missing, changed or broken are remembered in `unread` and left out.

    Args:
        answer: the run.
        root: folder that the paths are relative to; None where the images lie in memory.
        data: the images in memory, as the run was given them; None where there are none.
        outside: whether files outside the folder may be opened.
    """

    def __init__(self, answer: Answer, *, root: Path | None, data: Data | None = None, outside: bool = False) -> None:
        self.rows = tuple(split_rows(answer))
        self.root, self.data, self.unread = root, data, set[str]()
        self._inside: Any = None if root is None or outside else Inside(root)

    def image(self, row: Row) -> Image | None:
        """The image as RGB, of its file where there is one; None where it cannot be opened or is not what it was."""
        from PIL import Image as Pillow

        if self.root is None:
            pixels = self._held.get(row.file)
            return None if pixels is None else Pillow.fromarray(pixels.permute(1, 2, 0).numpy())
        try:
            if self._inside is None or row.file in self._inside:
                content = read_content(self.root / row.file)
                if row.content in ("", content_hash(content)):
                    return open_rgb(self.root / row.file, content)
        except (FileNotFoundError, UserError):
            pass
        self.unread.add(row.file)
        return None

    def squares(self, rows: Sequence[Row], *, size: int, **how: Any) -> Iterator[Tensor | None]:
        """The images as squares uint8 (3, size, size), as the network was given them; a few threads decode them.

        Args:
            how: further keywords of `longtail.data.squares.squared`.
        """
        with ThreadPoolExecutor(4) as pool:
            yield from pool.map(partial(self._square, size=size, **how), rows)

    def _square(self, row: Row, *, size: int, **how: Any) -> Tensor | None:
        held = self._held.get(row.file)
        if held is not None and held.shape[-1] == size:
            return held
        image = self.image(row)
        return None if image is None else as_tensor(squared(image, size, **how))

    @cached_property
    def _held(self) -> Mapping[str, Tensor]:
        """Pixels (3, S, S) of the images that are in memory, by name."""
        splits = self.data.splits.values() if self.data is not None else ()
        return {file: pixels for s in splits if s.pixels is not None for file, pixels in zip(s.files, s.pixels, strict=True)}


def originals_of(answer: Answer, folder: Path | None, *, data: Data | None = None, outside: bool = False) -> Originals | None:
    """The images of a run, or None where it is not known where they are.

    Args:
        answer: the run.
        folder: folder of the images, or the CSV that lists them; for CIFAR the folder with the official files.
        data: the images as the run was given them, in memory or with their folder; None where they are not at hand.
        outside: whether files outside the folder may be opened, as a CSV may name.
    """
    if data is None:
        data = _bundled(answer.record["setting"].get("data"), folder)
    elif data.train.root is not None:
        folder = data.train.root
    if data is not None and data.train.root is None:
        return Originals(answer, root=None, data=data) if data.train.pixels is not None else None
    if folder is None:
        return None
    return Originals(answer, root=folder.parent if folder.is_file() else folder, data=data, outside=outside)


def split_rows(answer: Answer) -> Iterator[Row]:
    """The images of a run in the order of its split.csv; none where that does not list the images of the predictions."""
    if not answer.files:
        return
    number = {name: label for label, name in enumerate(answer.classes)}
    content = RunFolder(answer.folder).read("split.csv").decode(errors="surrogateescape")
    for row in csv.DictReader(io.StringIO(content)):
        label = number.get(unguarded(row["label"]))
        if label is not None:
            yield Row(unguarded(row["path"]), label, row["split"], row.get("content") or "")


def _bundled(description: Any, folder: Path | None) -> Data | None:
    """The set of images that a record names, if it is one that lies in memory and is there; nothing is downloaded."""
    try:
        build: Callable[..., Data] = restore(description, BUNDLED)
        keywords = {"download": False} if "download" in description else {}
        return build(folder or Path(), **keywords)
    except UserError:  # images in a folder, code of the user's own, or official files that are not there
        return None
