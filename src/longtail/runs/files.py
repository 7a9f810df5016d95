"""Writing and reading files. Every write is atomic: a kill leaves the old file or the new one. Only tensors load torch."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from longtail.errors import MissingFileError, OutOfSpace, UserError

State = dict[str, Any]


def write_csv(path: Path, header: Iterable[str], rows: Iterable[Iterable[Any]]) -> Path:
    """Writes a CSV file with a header line."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return write_text(path, text.getvalue())


def write_tensors(path: Path, state: State) -> None:
    """Writes a state of tensors and primitives only, so that `read_tensors` can refuse everything else."""
    import torch

    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_bytes(path, buffer.getbuffer())


def read_tensors(path: Path) -> State | None:
    """Reads a state that `write_tensors` wrote; None where there is no file."""
    import torch

    if not path.exists():
        return None
    state: State = torch.load(path, map_location="cpu", weights_only=True)
    return state


def write_json(folder: Path, name: str, content: Any) -> Path:
    """Writes `content` as the JSON file `name` of a run folder; nan becomes null."""
    return write_text(folder / name, json.dumps(plain(content), indent=1))


def read_json(folder: Path, name: str) -> Any:
    """Reads the JSON file `name` of a run folder.

    Raises:
        MissingFileError: the folder is not a run folder, or the run has not written the file yet.
        UserError: the file is not JSON, for example because it is cut off.
    """
    path = folder / name
    if not path.exists():
        raise MissingFileError(f"'{folder}' has no {name}: it is not a longtail run, or the run has not written it yet.")
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise UserError(
            f"'{path}' is cut off or not JSON ({error}). "
            f"Delete '{folder}' and start the training command again; finished stages are kept."
        ) from error


def write_text(path: Path, text: str) -> Path:
    """Writes text as UTF-8; file names in it that are not UTF-8 keep their bytes."""
    return write_bytes(path, text.encode(errors="surrogateescape"))


def write_bytes(path: Path, content: bytes | memoryview) -> Path:
    """Writes a temporary file beside `path`, flushes it to the disk, then renames it to `path`.

    Raises:
        OutOfSpace: the disk is full or the quota is used up.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        if error.errno in (28, 122):
            raise OutOfSpace(
                f"The disk is full: '{path}' could not be written. Files written before are intact; free some space and "
                f"start the same command again, which continues the run."
            ) from error
        raise
    return path


def plain(content: Any) -> Any:
    """Converts to JSON's own types: dataclasses to mappings, numpy's numbers to Python's, nan and infinity to null."""
    if dataclasses.is_dataclass(content) and not isinstance(content, type):
        content = dataclasses.asdict(content)
    if isinstance(content, Mapping):
        return {str(key): plain(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [plain(item) for item in content]
    if isinstance(content, np.generic):
        content = content.item()
    return None if isinstance(content, float) and not np.isfinite(content) else content
