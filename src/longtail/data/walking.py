"""Walks folders of images: which files and folders are data, what cannot be read, and which folders hold runs of longtail."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NoReturn

from longtail.data.images import SUFFIXES, read_content
from longtail.errors import BadFolder, UnreadableFile
from longtail.text import visible

RECORD, RECORD_KEYS, RECORD_BYTES = "record.json", {"experiment", "recipe"}, 2**26
FIGURE = "demo.png"
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
Visit = tuple[str, list[str], list[str]]


def folders_in(root: Path) -> list[str]:
    """Names of the folders in `root`, sorted and without hidden ones.

    Raises:
        BadFolder: a name has control characters, or `root` is no folder.
        UnreadableFile: the system refuses to read the folder.
    """
    names = sorted(name for name in _entries(root, folders=True) if not name.startswith((".", "__")))
    refuse_controls(names, f"'{root}'")
    return names


def loose_images(root: Path) -> bool:
    """Whether image files lie directly in `root`."""
    return any(is_image(name) for name in _entries(root, folders=False))


def images_below(root: Path, below: str) -> list[str] | None:
    """Paths of the image files in the folder `below`, relative to `root` and without hidden ones; None where it holds runs.

    Raises:
        BadFolder: a name has control characters, or the folder has both runs below it and images that are not of the runs.
        UnreadableFile: the system refuses to read a folder.
    """
    found, runs = list[str](), set[Path]()
    for folder, folders, files in walk(root / below):
        if RECORD in files and is_record(Path(folder, RECORD)):
            runs.add(Path(os.path.abspath(folder)))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        names = [name for name in files if is_image(name)]
        refuse_controls((*folders, *names), f"'{folder}'")
        inside = Path(folder).relative_to(root)
        found.extend((inside / name).as_posix() for name in names)
    if not runs:
        return sorted(found)
    root = Path(os.path.abspath(root))
    if all(_of_runs(root / file, runs, root / below) for file in found):
        return None
    raise BadFolder(f"The class folder '{root / below}' has runs of longtail inside; move them to another folder.")


def _of_runs(path: Path, runs: Iterable[Path], class_folder: Path) -> bool:
    """Whether an image lies in the folder of the runs of a setting, or is the figure of a demonstration beside one."""
    for run in runs:
        setting = run.parent.parent
        inside = setting == class_folder or class_folder in setting.parents
        if (inside and setting in path.parents) or (path.name == FIGURE and path.parent.parent == setting.parent):
            return True
    return False


def every_image(root: Path) -> list[Path]:
    """Paths of all image files below `root`, sorted, whatever the folders mean.

    Raises:
        UnreadableFile: the system refuses to read a folder.
    """
    return sorted(Path(folder, name) for folder, _, names in walk(root) for name in names if is_image(name))


def walk(root: Path) -> Iterator[Visit]:
    """Walks all folders below `root` as `os.walk` does, but a folder that cannot be read is an error.

    Raises:
        UnreadableFile: the system refuses to read a folder.
    """
    return os.walk(root, onerror=_unreadable)


def is_image(name: str) -> bool:
    """Whether a file counts as an image by its name."""
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in SUFFIXES


def is_record(path: Path) -> bool:
    """Whether a file is the record of a run of longtail; other programs write a record.json, too."""
    try:
        content = json.loads(read_content(path)) if path.stat().st_size <= RECORD_BYTES else None
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and content.keys() >= RECORD_KEYS


def refuse_controls(names: Iterable[str], where: str) -> None:
    """Refuses names with control characters, which a terminal would obey.

    Raises:
        BadFolder: a name has one; the sentence shows it escaped.
    """
    names = tuple(names)
    if CONTROL.search("".join(names)):
        name = next(name for name in names if CONTROL.search(name))
        raise BadFolder(f"The name '{visible(name)}' in {visible(where)} has control characters (shown as escapes); rename it.")


def neighbours(root: Path) -> str:
    """Sentence on what there is in place of a file or folder that does not exist."""
    import difflib

    if not root.parent.is_dir():
        return f"Its parent folder '{root.parent}' does not exist either."
    names = sorted(name for name in os.listdir(root.parent) if not name.startswith("."))
    close = difflib.get_close_matches(root.name, names, n=3)
    return f"Did you mean {' or '.join(close)}?" if close else f"'{root.parent}' has {some(names) or 'nothing'}."


def some(names: Iterable[str]) -> str:
    """The first twelve names as text, and the number of the others."""
    names = list(names)
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")


def _entries(root: Path, *, folders: bool) -> list[str]:
    """Names of the folders in `root`, or of the files."""
    try:
        with os.scandir(root) as entries:
            return [entry.name for entry in entries if (entry.is_dir() if folders else entry.is_file())]
    except NotADirectoryError as error:
        raise BadFolder(f"'{root}' is neither a folder nor a CSV.") from error
    except OSError as error:
        _unreadable(error)


def _unreadable(error: OSError) -> NoReturn:
    raise UnreadableFile(
        f"The folder '{error.filename}' cannot be read ({error.strerror or error}), so the images in it would be left out. Check "
        f"its permissions and the disk."
    ) from error
