"""Copies of a user's own code in the folder of the run that used it, which are run again only if the caller trusts them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from longtail.errors import UserError
from longtail.runs.files import write_bytes
from longtail.runs.run import Run
from longtail.spec.own_code import content_hash, imported, module_name, modules_named


def kept_as(files: Sequence[Path]) -> list[dict[str, str]]:
    """Path of each file's copy in the run folder, and its sha256, for the record."""
    return [{"file": f"code/{module_name(file)}.py", "sha256": content_hash(file)} for file in files]


def keep_code(run: Run, files: Sequence[Path]) -> None:
    """Copies the files into the run folder."""
    for file, kept in zip(files, kept_as(files), strict=True):
        write_bytes(run.folder / kept["file"], file.read_bytes())


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
        copy = run.folder / "code" / f"{module}.py"
        if not copy.is_file() or content_hash(copy) != hashes.get(f"code/{module}.py"):
            raise UserError(f"'{copy}' is missing or is not the file that the run was trained with; put the original file there.")
        imported(copy)
