"""Files that hold a checksum of their own content, which is checked when they are read: JSON objects and states of tensors.

A sealed JSON object begins with `"sealed": true` and ends with the sha256 of all that is between, written with sorted keys; so
the loss of one of the two is noticed as well. A sealed state begins with a line that states the sha256 of the bytes after it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from longtail.errors import DamagedFile, MissingFileError
from longtail.runs.files import encoded, read_bytes, write_bytes, write_text

State = dict[str, Any]
SEALED, SHA256 = "sealed", "sha256"
MARK = b"longtail state 1 sha256 "
HEADER = len(MARK) + 64 + 1
REMEDY = "Start the training command again, which makes it anew from what is not damaged."


def sha256(content: bytes | memoryview) -> str:
    """sha256 of bytes, in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def json_text(content: Any) -> str:
    """The text of a JSON file; an object is sealed."""
    content = plain(content)
    if isinstance(content, dict):
        content = {SEALED: True, **content, SHA256: _sum_of(content)}
    return json.dumps(content, indent=1)


def write_json(folder: Path, name: str, content: Any) -> Path:
    """Writes `content` as the JSON file `name` of a run folder, an object with its seal; nan becomes null."""
    return write_text(folder / name, json_text(content))


def no_run(folder: Path, name: str) -> MissingFileError:
    """The error of a folder without a file that runs have; of a folder of runs it names one."""
    inside = min((report.parent for depth in ("*", "*/*") for report in folder.glob(f"{depth}/report.json")), default=None)
    if inside is not None and not (folder / "record.json").exists():
        return MissingFileError(f"'{folder}' has no {name}: it is a folder of runs; give one of them, such as '{inside}'.")
    return MissingFileError(f"'{folder}' has no {name}: it is not a longtail run, or the run has not written it yet.")


def read_json(folder: Path, name: str) -> Any:
    """Reads the JSON file `name` of a run folder, and checks its seal; release 0.1.0 wrote files without one.

    Raises:
        MissingFileError: the folder is not a run folder, or the run has not written the file yet.
        DamagedFile: the file is not JSON, or differs from what was written.
    """
    try:
        return parsed(read_bytes(folder / name), folder / name)
    except MissingFileError as error:
        raise no_run(folder, name) from error


def parsed(content: bytes, path: Path) -> Any:
    """Parses the content of a JSON file, and checks and removes its seal.

    Raises:
        DamagedFile: the content is not JSON, or the seal is broken.
    """
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DamagedFile(f"'{path}' is damaged: it is cut off or not JSON ({error}). {REMEDY}") from error
    if not isinstance(found, dict) or not {SEALED, SHA256} & found.keys():
        return found
    marked, written = found.pop(SEALED, None), found.pop(SHA256, None)
    if marked is not True or written != _sum_of(found):
        raise DamagedFile(f"'{path}' is damaged: it differs from what was written (its checksum). {REMEDY}")
    return found


def is_sealed(content: bytes) -> bool:
    """Whether the content of a JSON file was written with a seal, which release 0.1.0 did not do."""
    return f'"{SEALED}"'.encode() in content or f'"{SHA256}"'.encode() in content


def write_tensors(path: Path, state: State, *, before: Path | None = None) -> None:
    """Writes a sealed state of tensors and primitives only, so that `read_tensors` can refuse everything else.

    Args:
        before: name that the file at `path` gets when the new one takes its place.
    """
    import torch

    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getbuffer()
    write_bytes(path, content, header=MARK + sha256(content).encode() + b"\n", before=before)


def read_tensors(path: Path) -> State | None:
    """Reads a state that `write_tensors` wrote; None where there is no file.

    Raises:
        DamagedFile: the file differs from what was written.
    """
    import torch

    try:
        content = check_state(path)
    except MissingFileError:
        return None
    try:
        state: Any = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # what is no state makes torch raise errors of any type
        raise DamagedFile(f"'{path}' is damaged: it holds more than tensors, or no tensors. {REMEDY}") from error
    if not isinstance(state, dict):
        raise DamagedFile(f"'{path}' is damaged: it holds no state. {REMEDY}")
    return state


def check_state(path: Path) -> memoryview:
    """Checks the seal of a state, and returns the bytes that it covers.

    Raises:
        MissingFileError: there is no such file.
        DamagedFile: the file differs from what was written.
    """
    content = memoryview(read_bytes(path))
    if content[:HEADER] != MARK + sha256(content[HEADER:]).encode() + b"\n":
        raise DamagedFile(f"'{path}' is damaged: it differs from what was written (its checksum). {REMEDY}")
    return content[HEADER:]


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


def _sum_of(content: Mapping[str, Any]) -> str:
    return sha256(encoded(json.dumps(content, sort_keys=True)))
