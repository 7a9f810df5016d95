"""Copies of a user's own code in the folder of the run that used it, which are run again only if the caller trusts them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from longtail.errors import UserError
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


def run_kept_code(run: Run, config: Any, *, trust_code: bool) -> None:
    """Runs the copies of those files whose parts a model's description names, so that the parts can be restored.

    Raises:
        UserError: the caller does not trust the code, or a copy is missing or was changed.
    """
    modules = sorted(set(modules_named(config)))
    if not modules:
        return
    names = ", ".join(f"code/{module}.py" for module in modules)
    if not trust_code:
        raise UserError(
            f"'{run.folder}' was trained with a user's own code ({names}), which would be run now. Read that code; if you "
            f"trust it, add `trust_code=True`."
        )
    hashes = {kept["file"]: kept["sha256"] for kept in run.record.get("code", [])}
    for module in modules:
        path = run.folder / "code" / f"{module}.py"
        copy = OwnFile(path, path.read_bytes() if path.is_file() else b"")
        if copy.sha256 != hashes.get(f"code/{module}.py") or copy.module != module:
            raise UserError(f"'{path}' is missing or is not the file that the run was trained with; put the original file there.")
        imported(copy)


def needs_trust(folder: Path) -> bool:
    """Whether the model of a finished run, or of the run that a comparison chose, is made of a user's own code."""
    run = chosen_run(folder)
    return (run / "model" / "config.json").is_file() and any(modules_named(read_json(run, "model/config.json")))
