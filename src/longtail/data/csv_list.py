"""Lists the images that a CSV names: each file once, with one class and in one split. No image is opened here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from longtail.data.collection import Listing
from longtail.data.rows import Inside, Row, read_rows
from longtail.errors import BadFolder


def read_csv(path: Path, *, below: Path, missing_ok: bool = False, twice_ok: bool = False, outside: bool = False) -> Listing:
    """Reads a CSV with the header path,label[,split].

    A row that names a file again with the same label and split is left out. Rows of val are the test split where there is none.

    Args:
        path: the CSV file.
        below: folder that the paths in the CSV are relative to, or any file in that folder.
        missing_ok: whether files that do not exist are listed, too, instead of refused.
        twice_ok: whether a file may have several labels or splits, instead of being refused.
        outside: whether files outside that folder may be named, by an absolute path, by `..` or through a link.

    Raises:
        BadFolder: the file is not such a CSV, names a file that does not exist or lies outside, or one file with two labels or in
            two splits.
        UnreadableFile: the system refuses to read it.
    """
    below = below.parent if below.is_file() else below
    rows, has_splits = read_rows(path)
    inside = Inside(below)
    for line, file, _, _ in rows:
        if not outside and file not in inside:
            raise BadFolder(f"'{path}', line {line}: '{file}' {_why_not(inside, file, below)}")
        if not missing_ok and not (below / file).is_file():
            raise BadFolder(f"'{path}', line {line}: there is no file '{below / file}'.{_hint(below, file)}")
    rows, notes = _once(path, rows, inside.place, twice_ok)
    splits = tuple(split for _, _, _, split in rows) if has_splits and rows else None
    if splits is not None and "test" not in splits and "val" in splits:
        splits = tuple("test" if split == "val" else split for split in splits)
        notes = (*notes, f"The test images are those that '{path}' has for val, since there are no others.")
    files, labels = tuple(file for _, file, _, _ in rows), tuple(label for _, _, label, _ in rows)
    return Listing(below, files, labels, splits, csv=path, notes=notes)


def _why_not(inside: Inside, file: str, below: Path) -> str:
    """Why a path is not taken without `outside`."""
    if inside.place(file).startswith(inside.root):
        return f"is absolute, or has `..` in it; name it relative to '{below}', or give `outside=True`."
    return f"lies outside '{below}'; if you trust the list, give `outside=True`."


def _hint(below: Path, file: str) -> str:
    """What may be wrong with a path in a CSV."""
    if file != file.strip() and (below / file.strip()).is_file():
        return " There is one without the spaces around its name."
    if (below / f" {file}").is_file():
        return " There is one with a space before its name; put the name in quotes."
    return " Its name is not written in UTF-8." if not file.isprintable() else ""


def _once(path: Path, rows: Sequence[Row], place: Callable[[str], str], twice_ok: bool) -> tuple[list[Row], tuple[str, ...]]:
    """The rows without those that say the same of a file again, and a sentence that counts these.

    Raises:
        BadFolder: a file has two labels, or is in two splits, and `twice_ok` is False.
    """
    first, again = dict[str, Row](), list[Row]()
    kept = []
    for row in rows:
        before = first.setdefault(place(row[1]), row)
        if before[2:] == row[2:] and before is not row:
            again.append(row)
            continue
        if before is not row and not twice_ok:
            differ = (f"the label '{row[2]}'", f"'{before[2]}'") if before[2] != row[2] else (f"the split {row[3]}", before[3])
            raise BadFolder(
                f"'{path}', line {row[0]}: '{row[1]}' has {differ[0]} here and {differ[1]} in line {before[0]}; keep one of the "
                f"rows."
            )
        kept.append(row)
    if not again:
        return kept, ()
    what = "1 row that names a file again" if len(again) == 1 else f"{len(again):,} rows that name a file again"
    return kept, (f"Left out {what} (first line {again[0][0]}: '{again[0][1]}').",)
