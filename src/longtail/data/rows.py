"""Reads the rows of a CSV that lists images, and decides which paths of a list stay inside its folder."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from longtail.data.names import SPLITS, split_of
from longtail.data.walking import neighbours, refuse_controls
from longtail.errors import BadFolder, UnreadableFile
from longtail.text import unguarded, visible

COLUMNS = ("path", "label", "split")
OWN = "content"  # a column that longtail's own split.csv has
MISSING = ("nan", "null", "<na>", "#n/a")  # in small letters
UNDECODED = re.compile(r"[\ud800-\udfff]")  # what bytes become that are not UTF-8
Row = tuple[int, str, str, str]


def read_rows(path: Path) -> tuple[list[Row], bool]:
    """Reads a CSV with the header path,label[,split].

    Spaces around labels and splits, and those before a path, are left out, and a split may have any usual name, as `Training` or
    `valid`. A CSV with the column content was written by longtail, and its names are taken as they are.

    Returns:
        For each row its line number, path, label and split ("" where there is none), and whether the header has a split.

    Raises:
        BadFolder: the file does not exist, is not such a CSV, lacks a value, or has a name with control characters.
        UnreadableFile: the system refuses to read the file.
    """
    try:
        if path.exists() and not path.is_file():
            raise BadFolder(f"'{path}' is no regular file; expected a CSV with the header path,label[,split].")
        with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
            first = csv.reader(file, skipinitialspace=True)
            header = _header(next(first, []))
            reader = csv.DictReader(file, header, skipinitialspace=OWN not in header)  # before a quoted label, say
            rows = [
                (first.line_num + reader.line_num, _cell(row, "path"), _cell(row, "label"), row.get("split") or "")
                for row in reader
            ]
    except FileNotFoundError as error:
        raise BadFolder(f"'{path}' does not exist. {neighbours(path)}") from error
    except csv.Error as error:
        raise BadFolder(f"'{path}' is not a CSV in UTF-8; expected the header path,label[,split].") from error
    except OSError as error:
        raise UnreadableFile(
            f"'{path}' cannot be read ({error.strerror or error}). Check its permissions and the disk."
        ) from error
    if UNDECODED.search("".join(header)):
        raise BadFolder(f"'{path}' is not a CSV in UTF-8; expected the header path,label[,split].")
    refuse_repeated(path, header, COLUMNS)
    if "path" not in header or "label" not in header:
        raise BadFolder(f"'{path}' has the header {','.join(header) or '(none)'}; expected path,label[,split].")
    rows = rows if OWN in header else [_trimmed(path, row) for row in rows]
    _check(path, rows, "split" in header)
    return [(line, file, label, split_of(split) or split) for line, file, label, split in rows], "split" in header


def refuse_repeated(path: Path, header: Sequence[str], columns: Sequence[str]) -> None:
    """Raises BadFolder where a column that is read stands in the header of a CSV more than once."""
    for name in columns:
        if header.count(name) > 1:
            raise BadFolder(f"'{path}' has the column {name} {header.count(name)} times; keep the one that is meant.")


def _header(names: Sequence[str]) -> list[str]:
    """The header, whose path, label and split may have spaces around them and capitals."""
    return [name.strip().lower() if name.strip().lower() in COLUMNS else name for name in names]


def _cell(row: Mapping[str, str | None], name: str) -> str:
    """A cell as it was before it was guarded against spreadsheets; "" where the row ends before it."""
    return unguarded(row.get(name) or "")


def _trimmed(path: Path, row: Row) -> Row:
    """A row that a user wrote, without spaces around its label and split.

    Raises:
        BadFolder: the label stands for none, or is not written in UTF-8.
    """
    line, file, label, split = row
    label, split = label.strip(), split.strip()
    if label.lower() in MISSING:
        raise BadFolder(
            f"'{path}', line {line}: the label '{label}' is how programs write that there is none. Fill it in, or leave the row "
            f"out; where it is the name of a class, give the class another name."
        )
    if UNDECODED.search(label):
        raise BadFolder(f"'{path}', line {line}: the label '{visible(label)}' is not written in UTF-8; save the CSV as UTF-8.")
    return line, file, label, split


def _check(path: Path, rows: list[Row], has_splits: bool) -> None:
    for line, file, label, split in rows:
        if not file.strip() or not label:
            raise BadFolder(f"'{path}', line {line}: path and label must both be given.")
        if has_splits and split_of(split) is None:
            raise BadFolder(f"'{path}', line {line}: split is '{split}'; expected {', '.join(SPLITS)}.")
        refuse_controls((file, label), f"'{path}', line {line},")


class Inside:
    """Decides whether paths relative to a folder stay inside it, where links lead too; each of its folders is looked up once."""

    def __init__(self, root: Path) -> None:
        self.root, self.known = os.path.join(os.path.realpath(root), ""), dict[str, str]()

    def __contains__(self, file: str) -> bool:
        return not leaves(file) and self.place(file).startswith(self.root)

    def place(self, file: str) -> str:
        """Where a path leads, without links."""
        if leaves(file):
            return os.path.realpath(self.root + file if not os.path.isabs(file) else file)
        folder, _, name = file.rpartition("/")
        if folder not in self.known:
            self.known[folder] = os.path.join(os.path.realpath(self.root + folder), "")
        place = self.known[folder] + name
        return os.path.realpath(place) if os.path.islink(place) else place


def leaves(file: str) -> bool:
    """Whether a path is absolute or has the part `..`."""
    return os.path.isabs(file) or (".." in file and ".." in file.replace("\\", "/").split("/"))
