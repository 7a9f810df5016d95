"""Which folder below `--runs` belongs to which folder of images or CSV, so that two of one name do not share their runs."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from longtail.errors import UserError
from longtail.runs.files import encoded, read_bytes, write_bytes
from longtail.runs.layout import data_file, finished_runs, folder_name


@dataclass(frozen=True)
class Owner:
    """The data that a folder of runs belongs to.

    Args:
        data: path of the folder of images or of the CSV, without links.
        classes: names of its classes when it was trained on.
    """

    data: str
    classes: tuple[str, ...]

    def is_gone(self, classes: Sequence[str] | None) -> bool:
        """Whether the data are not there any more; others with the same classes are taken for the same, moved elsewhere."""
        return not os.path.exists(self.data) and classes in (None, self.classes)


def name_of_runs(runs: Path, path: Path, *, classes: Sequence[str] | None = None, reserved: Collection[str] = ()) -> str:
    """Name of the folder below `runs` for the runs on a folder of images or a CSV; nothing is written.

    It is the name of the data, or that with -2, -3 and so on where others have it.

    Args:
        classes: names of the classes; None where they are not known.
        reserved: names of settings, which, also with a suffix such as `_50`, belong to these.
    """
    usual = folder_name(path)
    if any(usual == name or usual.startswith(f"{name}_") for name in reserved):
        usual = f"{usual}-folder"
    place, free = os.path.realpath(path), ""
    for number in itertools.count(1):
        name = usual if number == 1 else f"{usual}-{number}"
        owner = owner_of(runs, name)
        if owner is not None and owner.data == place:
            return name
        if not free and (owner is None or owner.is_gone(None if classes is None else tuple(classes))):
            free = name
        if owner is None and not (runs / name).exists():
            return free
    raise AssertionError("the names do not end")


def name_of_trained(runs: Path, path: Path) -> str:
    """Name of the folder below `runs` for the runs on data that may have the name of a setting."""
    names = (name_of_runs(runs, path), name_of_runs(runs, path, reserved=(folder_name(path),)))
    return next((name for name in names if owns(runs, name, path)), names[0])


def owns(runs: Path, name: str, path: Path) -> bool:
    """Whether a folder of runs belongs to a folder of images or a CSV."""
    owner = owner_of(runs, name)
    return owner is not None and owner.data == os.path.realpath(path)


def owner_of(runs: Path, name: str) -> Owner | None:
    """The data that a folder of runs belongs to; None where that was not written."""
    try:
        content = json.loads(read_bytes(data_file(runs, name)))
        return Owner(str(content["data"]), tuple(map(str, content["classes"])))
    except (UserError, ValueError, KeyError, TypeError):
        return None


def name_below(runs: Path, path: Path) -> str | None:
    """Name of a setting's folder of finished runs that the path itself is; None for any other path."""
    return path.name if path.resolve().parent == runs.resolve() and any(finished_runs(runs, path.name)) else None


def data_behind(runs: Path, what: str) -> str:
    """What `train` takes for more runs like those below `what`: a path that is there, or a setting, as it is.

    In place of a folder of runs, or of its name, it is the place of their data, which may not be there any more.
    """
    what = name_below(runs, Path(what).expanduser()) or what
    owner = None if Path(what).expanduser().exists() else owner_of(runs, what)
    return what if owner is None else owner.data


def take(runs: Path, name: str, path: Path, classes: Sequence[str]) -> None:
    """Writes whose the folder of runs `name` is.

    Raises:
        UserError: other data took it in the meantime.
        UnwritableFile: the system refuses to write.
    """
    owner = Owner(os.path.realpath(path), tuple(classes))
    before = owner_of(runs, name)
    if before == owner:
        return
    if before is not None and before.data != owner.data and not before.is_gone(owner.classes):
        raise UserError(f"'{runs / name}' was taken for the runs on '{before.data}' just now; start the same command again.")
    write_bytes(data_file(runs, name), encoded(json.dumps({"data": owner.data, "classes": owner.classes}, indent=1)))
