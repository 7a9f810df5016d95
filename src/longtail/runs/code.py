"""Copies of a user's own code in the folder of the run that used it, which are run again only if the caller trusts them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from inspect import isclass, isfunction
from pathlib import Path
from types import ModuleType
from typing import Any

from longtail.errors import UserError
from longtail.runs.files import read_bytes
from longtail.runs.layout import chosen_run
from longtail.runs.run import Run
from longtail.runs.seals import read_json
from longtail.spec.own_code import OwnFile, imported, modules_named


def kept_as(files: Sequence[OwnFile]) -> list[dict[str, str]]:
    """Path of each file's copy in the run folder, and its sha256, for the record."""
    return [{"file": f"code/{file.module}.py", "sha256": file.sha256} for file in files]


def keep_code(run: Run, files: Sequence[OwnFile]) -> None:
    """Writes the content of the files that is in use into the run folder."""
    for file in files:
        run.write(f"code/{file.module}.py", file.source)


def run_kept_code(run: Run, config: Any, *, trust_code: bool) -> dict[str, Callable[..., Any]]:
    """Runs the copies of those files whose parts a model's description names, and returns all that they define, by name.

    Raises:
        UserError: the caller does not trust the code, or a copy is missing or was changed.
    """
    modules = sorted(set(modules_named(config)))
    if not modules:
        return {}
    names = ", ".join(f"code/{module}.py" for module in modules)
    if not trust_code:
        raise UserError(
            f"'{run.folder}' was trained with a user's own code ({names}), which would be run now. Read that code; if you "
            f"trust it, add `trust_code=True`."
        )
    copies = [_checked_copy(run, module) for module in modules]
    return {name: part for copy in copies for name, part in _defined_in(imported(copy)).items()}


def _checked_copy(run: Run, module: str) -> OwnFile:
    """The copy of a file in the run folder, if its content is what the record and the name of the module say."""
    path = run.folder / "code" / f"{module}.py"
    inside = path.parent == run.folder / "code" and "\0" not in module
    copy = OwnFile(path, read_bytes(path) if inside and path.is_file() else b"")
    if {"file": f"code/{module}.py", "sha256": copy.sha256} not in _kept(run) or copy.module != module:
        raise UserError(f"'{path}' is missing or is not the file that the run was trained with; put the original file there.")
    return copy


def _kept(run: Run) -> list[Any]:
    kept = run.record.get("code", [])
    return kept if isinstance(kept, list) else []


def _defined_in(module: ModuleType) -> dict[str, Callable[..., Any]]:
    """Functions and classes that a module defines itself, by the name that descriptions give them."""
    own = (thing for thing in vars(module).values() if isfunction(thing) or isclass(thing))
    return {f"{module.__name__}.{thing.__qualname__}": thing for thing in own if thing.__module__ == module.__name__}


def needs_trust(folder: Path) -> bool:
    """Whether the model of a finished run, or of the run that a comparison chose, is made of a user's own code."""
    run = chosen_run(folder)
    return (run / "model" / "config.json").is_file() and any(modules_named(read_json(run, "model/config.json")))
