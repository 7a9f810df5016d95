"""A run is a folder. The only module that writes files; every write is atomic, so a kill leaves the old file or the new one."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from longtail.data.splits import Data
from longtail.inference import Predictions

State = dict[str, Any]


class OutOfSpace(OSError):  # noqa: N818
    """The disk is full; nothing that was there before is lost."""


class Run:
    """One experiment's folder.

    Args:
        folder: where it lies; made when the first file is written.
        shared: folder of finished stages that runs of one setting share.
        tensorboard: also write the log's numbers for TensorBoard.
    """

    def __init__(self, folder: Path, *, shared: Path | None = None, tensorboard: bool = False) -> None:
        self.folder, self.shared, self.tensorboard = folder, shared or folder / "stages", tensorboard

    @cached_property
    def record(self) -> dict[str, Any]:
        """What was run: recipe, setting, split, versions."""
        record: dict[str, Any] = self.read_json("record.json")
        return record

    @property
    def finished(self) -> bool:
        """Whether the report is written."""
        return (self.folder / "report.json").exists()

    def open(self, record: Mapping[str, Any]) -> None:
        """Claims the folder for the experiment that `record` describes, and sweeps up what a kill left half-written.

        Raises:
            ValueError: another experiment lives there.
        """
        for left in self.folder.glob(".*.partial"):
            left.unlink(missing_ok=True)
        if (self.folder / "record.json").exists():
            if self.read_json("record.json")["experiment"] != record["experiment"]:
                raise ValueError(
                    f"'{self.folder}' holds another experiment (its record.json differs). Choose another folder with --runs DIR, "
                    f"or move it away."
                )
            return
        self.write_json("record.json", record)

    def write_json(self, name: str, content: Any) -> Path:
        """Writes `name`; nan becomes null."""
        return write_text(self.folder / name, json.dumps(_plain(content), indent=1))

    def read_json(self, name: str) -> Any:
        """Reads `name`.

        Raises:
            FileNotFoundError: this is no run folder, or the run has not come so far.
        """
        path = self.folder / name
        if not path.exists():
            raise FileNotFoundError(f"'{self.folder}' has no {name}: it is not a longtail run, or has not come so far yet.")
        return json.loads(path.read_text())

    def save_state(self, state: State) -> None:
        """The state to resume from."""
        write_tensors(self.folder / "state.pt", state)

    def load_state(self) -> State | None:
        """The state to resume from; None before the first epoch has ended."""
        return read_tensors(self.folder / "state.pt")

    def drop_state(self) -> None:
        """A finished run does not need it."""
        (self.folder / "state.pt").unlink(missing_ok=True)

    def drop_stage(self, key: str) -> None:
        """Forgets a finished stage."""
        (self.shared / f"{key}.pt").unlink(missing_ok=True)

    def drop_report(self) -> None:
        """Makes a finished run an unfinished one."""
        (self.folder / "report.json").unlink(missing_ok=True)

    def save_stage(self, key: str, state: State) -> None:
        """Keeps a finished stage for this run and for others that begin in the same way."""
        write_tensors(self.shared / f"{key}.pt", state)

    def load_stage(self, key: str) -> State | None:
        """A finished stage, if there is one."""
        return read_tensors(self.shared / f"{key}.pt")

    def write_log(self, entries: Sequence[Mapping[str, Any]], *, new: int = 1) -> None:
        """One line of JSON per epoch; the last `new` ones are drawn for TensorBoard where that was asked for."""
        write_text(self.folder / "log.jsonl", "".join(json.dumps(_plain(entry)) + "\n" for entry in entries))
        if self.tensorboard:
            for entry in entries[-new:]:
                for name in ("loss", "learning_rate", "images_per_second"):
                    self._board.add_scalar(f"stage {entry['stage'] + 1}/{name}", entry[name], entry["epoch"])
            self._board.flush()

    @cached_property
    def _board(self) -> Any:
        from torch.utils.tensorboard import SummaryWriter

        return SummaryWriter(self.folder / "tensorboard")

    def write_split(self, data: Data) -> None:
        """split.csv, which `--split` takes again."""
        rows = [
            (file, data.classes[label], name)
            for name, split in data.splits.items()
            for file, label in zip(split.files, split.labels, strict=True)
        ]
        write_csv(self.folder / "split.csv", ("path", "label", "split"), rows)

    def write_predictions(self, predictions: Predictions, scores: Tensor) -> None:
        """predictions.npz: features, logits, scores and labels of the test images."""
        buffer = io.BytesIO()
        arrays = {"features": predictions.features, "logits": predictions.logits, "scores": scores}
        halves: dict[str, Any] = {name: tensor.half().numpy() for name, tensor in arrays.items()}
        np.savez_compressed(buffer, labels=predictions.labels.numpy(), **halves)
        write_bytes(self.folder / "predictions.npz", buffer.getvalue())

    def write_model(self, tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> None:
        """model/: safetensors and config.json."""
        from safetensors.torch import save

        contiguous = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
        write_bytes(self.folder / "model" / "model.safetensors", save(contiguous))
        self.write_json("model/config.json", config)


def write_csv(path: Path, header: Iterable[str], rows: Iterable[Iterable[Any]]) -> Path:
    """A CSV with a header line."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return write_text(path, text.getvalue())


def write_tensors(path: Path, state: State) -> None:
    """Tensors and primitives only, so that `read_tensors` can refuse everything else."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_bytes(path, buffer.getbuffer())


def read_tensors(path: Path) -> State | None:
    """What `write_tensors` wrote; None where there is no file."""
    if not path.exists():
        return None
    state: State = torch.load(path, map_location="cpu", weights_only=True)
    return state


def write_text(path: Path, text: str) -> Path:
    """UTF-8 text; file names that are not UTF-8 keep their bytes."""
    return write_bytes(path, text.encode(errors="surrogateescape"))


def write_bytes(path: Path, content: bytes | memoryview) -> Path:
    """Writes beside the file, flushes to the disk, then renames over it.

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
                f"The disk is full: '{path}' could not be written. What was there before is intact; free some space and "
                f"start the same command again, it continues."
            ) from error
        raise
    return path


def versions() -> dict[str, str]:
    """Of everything that can change a number."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for package in ("longtail", "torch", "torchvision", "timm", "lightning-fabric", "numpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def commit() -> str | None:
    """Commit of the source tree that longtail runs from, "+" where it was changed; None for an installed package."""
    import subprocess

    source = Path(__file__).resolve().parents[2]
    if not (source / ".git").exists():
        return None
    try:
        answer = subprocess.run(
            ["git", "-C", str(source), "describe", "--always", "--dirty=+", "--abbrev=10", "--exclude=*"],
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        return None
    return answer.stdout.strip() or None


def _plain(content: Any) -> Any:
    if dataclasses.is_dataclass(content) and not isinstance(content, type):
        content = dataclasses.asdict(content)
    if isinstance(content, Mapping):
        return {str(key): _plain(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_plain(item) for item in content]
    if isinstance(content, np.generic):
        content = content.item()
    return None if isinstance(content, float) and not np.isfinite(content) else content
