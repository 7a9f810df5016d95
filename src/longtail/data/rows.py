"""Reads the rows of a CSV that lists images, and decides which paths of a list stay inside its folder."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping
from pathlib import Path

from longtail.data.walking import neighbours, refuse_controls
from longtail.errors import BadFolder, UnreadableFile
from longtail.text import unguarded

SPLITS = ("train", "val", "test")
Row = tuple[int, str, str, str]


def read_rows(path: Path) -> tuple[list[Row], bool]:
    """Reads a CSV with the header path,label[,split].

    Returns:
        For each row its line number, path, label and split ("" where there is none), and whether the header has a split.

    Raises:
        BadFolder: the file does not exist, is not such a CSV, lacks a value, or has a name with control characters.
        UnreadableFile: the system refuses to read the file.
    """
    try:
        if path.exists() and not path.is_file():
            raise BadFolder(f"'{path}' is no regular file; expected a CSV with the header path,label[,split].")
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            header = reader.fieldnames or []
            rows = [(reader.line_num, _cell(row, "path"), _cell(row, "label"), row.get("split") or "") for row in reader]
    except FileNotFoundError as error:
        raise BadFolder(f"'{path}' does not exist. {neighbours(path)}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadFolder(f"'{path}' is not a CSV in UTF-8; expected the header path,label[,split].") from error
    except OSError as error:
        raise UnreadableFile(
            f"'{path}' cannot be read ({error.strerror or error}). Check its permissions and the disk."
        ) from error
    if "path" not in header or "label" not in header:
        raise BadFolder(f"'{path}' has the header {','.join(header) or '(none)'}; expected path,label[,split].")
    _check(path, rows, "split" in header)
    return rows, "split" in header


def _cell(row: Mapping[str, str | None], name: str) -> str:
    """A cell as it was before it was guarded against spreadsheets; "" where the row ends before it."""
    return unguarded(row.get(name) or "")


def _check(path: Path, rows: list[Row], has_splits: bool) -> None:
    for line, file, label, split in rows:
        if not file or not label:
            raise BadFolder(f"'{path}', line {line}: path and label must both be given.")
        if has_splits and split not in SPLITS:
            raise BadFolder(f"'{path}', line {line}: split is '{split}'; expected {', '.join(SPLITS)}.")
        refuse_controls((file, label), f"'{path}', line {line},")


class Inside:
    """Decides whether paths relative to a folder stay inside it, where links lead too; each of its folders is looked up once."""

    def __init__(self, root: Path) -> None:
        self.root, self.known = os.path.join(os.path.realpath(root), ""), dict[str, str]()

    def __contains__(self, file: str) -> bool:
        if leaves(file):
            return False
        folder, _, name = file.rpartition("/")
        if folder not in self.known:
            self.known[folder] = os.path.join(os.path.realpath(self.root + folder), "")
        place = self.known[folder]
        if os.path.islink(place + name):
            place = os.path.realpath(place + name)
        return place.startswith(self.root)


def leaves(file: str) -> bool:
    """Whether a path is absolute or has the part `..`."""
    return os.path.isabs(file) or (".." in file and ".." in file.replace("\\", "/").split("/"))
