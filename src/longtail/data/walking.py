"""Walks folders of images: which files and folders are data, what cannot be read, and which folders hold runs of longtail."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NoReturn

from longtail.data.below import Below, runs_in
from longtail.data.names import is_image, is_trash
from longtail.errors import BadFolder, UnreadableFile
from longtail.text import alike, visible

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
Visit = tuple[str, list[str], list[str]]


def folders_in(root: Path) -> list[str]:
    """Names of the folders in `root`, also of linked ones, sorted, without trash and without links to a folder around `root`.

    Raises:
        BadFolder: a name has control characters, or `root` is no folder.
        UnreadableFile: the system refuses to read the folder.
    """
    top = os.path.realpath(root)
    names = sorted(name for name in _entries(root, folders=True) if not is_trash(name))
    names = [name for name in names if not _surrounds(os.path.realpath(root / name), top)]
    refuse_controls(names, f"'{root}'")
    return names


def loose_images(root: Path) -> list[str]:
    """Names of the image files that lie directly in `root`, sorted."""
    return sorted(name for name in _entries(root, folders=False) if is_image(name))


def images_below(root: Path, below: str) -> list[str] | None:
    """Paths of the image files in the folder `below`, relative to `root`, without trash; None where it holds runs.

    Raises:
        BadFolder: a name has control characters, or the folder has both runs below it and images that are not of the runs.
        UnreadableFile: the system refuses to read a folder.
    """
    found = everything_below(root / below)
    _refuse_controls_below(root, found.images)
    if not found.runs:
        return sorted(image.relative_to(root).as_posix() for image in found.images)
    if all(found.of_runs(image, root / below) for image in found.images):
        return None
    raise BadFolder(f"The class folder '{root / below}' has runs of longtail inside; move them to another folder.")


def everything_below(root: Path) -> Below:
    """All files below `root` but trash, through links, in the order of their folders and names.

    Raises:
        UnreadableFile: the system refuses to read a folder.
    """
    found = Below()
    for folder, _, files in walk(root):
        found.runs.update(runs_in(folder, files))
        for name in files:
            (found.images if is_image(name) else found.others).append(Path(folder, name))
    return found


def _refuse_controls_below(root: Path, images: Iterable[Path]) -> None:
    for image in images:
        inside = image.relative_to(root)
        if CONTROL.search(str(inside)):
            for part, around in zip(reversed(inside.parts), inside.parents, strict=True):
                refuse_controls((part,), f"'{root / around}'")


def images_to_predict(root: Path) -> tuple[list[Path], list[str]]:
    """Paths of all image files below `root`, whatever the folders mean, and names of its other files; both without runs.

    Raises:
        UnreadableFile: the system refuses to read a folder.
    """
    found = everything_below(root)
    images, others = ([path for path in paths if not found.of_runs(path, root)] for paths in (found.images, found.others))
    return sorted(images), [path.relative_to(root).as_posix() for path in others]


def walk(root: Path) -> Iterator[Visit]:
    """Walks all folders below `root` as `os.walk` does, sorted, without trash, and into linked folders, each of them once.

    A link that leads to a folder around itself, or to one that is visited by its own path, is not followed.

    Raises:
        UnreadableFile: the system refuses to read a folder.
    """
    top = os.path.realpath(root)
    visited = {top}
    for folder, folders, files in os.walk(root, onerror=_unreadable, followlinks=True):
        folders[:] = [name for name in sorted(folders) if not is_trash(name) and _is_new(folder, name, top, visited)]
        yield folder, folders, sorted(name for name in files if not is_trash(name))


def _is_new(folder: str, name: str, top: str, visited: set[str]) -> bool:
    """Whether the walk from `top` enters a folder; its place is added to those that are visited."""
    path = os.path.join(folder, name)
    place = os.path.realpath(path)
    inside = os.path.islink(path) and _surrounds(top, place) and not any(map(is_trash, _parts(place, top)))
    if inside or place in visited or _surrounds(place, top):
        return False
    visited.add(place)
    return True


def _surrounds(outer: str, inner: str) -> bool:
    """Whether `inner` is the folder `outer` or lies in it; both are without links."""
    return inner == outer or inner.startswith(os.path.join(outer, ""))


def _parts(place: str, top: str) -> tuple[str, ...]:
    return Path(os.path.relpath(place, top)).parts if place != top else ()


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
    if not root.parent.is_dir():
        return f"Its parent folder '{root.parent}' does not exist either."
    names = sorted(name for name in os.listdir(root.parent) if not name.startswith("."))
    close = alike(root.name, names, most=3)
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
