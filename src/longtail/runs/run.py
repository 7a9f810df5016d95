"""The folder of one run: writes and reads its files. Every write is atomic, so a kill leaves the old file or the new one."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from longtail.data.splits import Data
from longtail.errors import UserError
from longtail.inference import Predictions
from longtail.runs.files import (
    State,
    plain,
    read_json,
    read_tensors,
    write_bytes,
    write_csv,
    write_json,
    write_tensors,
    write_text,
)


class Run:
    """One experiment's folder.

    Args:
        folder: path of the folder, which is made when the first file is written.
        shared: folder of finished stages that runs of one setting share.
        tensorboard: whether the log is also written for TensorBoard.
    """

    def __init__(self, folder: Path, *, shared: Path | None = None, tensorboard: bool = False) -> None:
        self.folder, self.shared, self.tensorboard = folder, shared or folder / "stages", tensorboard

    @cached_property
    def record(self) -> dict[str, Any]:
        """Content of record.json: recipe, setting, split and versions of the run."""
        record: dict[str, Any] = self.read_json("record.json")
        return record

    @property
    def finished(self) -> bool:
        """Whether the run is finished: its report is written."""
        return (self.folder / "report.json").exists()

    def open(self, record: Mapping[str, Any]) -> None:
        """Writes record.json, or checks that it is of the same experiment, and deletes files that a kill left half-written.

        Raises:
            UserError: the folder holds another experiment.
        """
        for partial in self.folder.glob(".*.partial"):
            partial.unlink(missing_ok=True)
        if (self.folder / "record.json").exists():
            if self.read_json("record.json")["experiment"] != record["experiment"]:
                raise UserError(
                    f"'{self.folder}' holds another experiment (its record.json differs). Choose another folder with `runs=DIR`, "
                    f"or move it away."
                )
            return
        self.write_json("record.json", record)

    def write_json(self, name: str, content: Any) -> Path:
        """Writes the JSON file `name`; nan becomes null."""
        return write_json(self.folder, name, content)

    def read_json(self, name: str) -> Any:
        """Reads the JSON file `name`.

        Raises:
            MissingFileError: the folder is not a run folder, or the run has not written the file yet.
            UserError: the file is not JSON, for example because it is cut off.
        """
        return read_json(self.folder, name)

    def save_state(self, state: State) -> None:
        """Writes the checkpoint to resume from."""
        write_tensors(self.folder / "state.pt", state)

    def load_state(self) -> State | None:
        """Reads the checkpoint to resume from; None where there is none."""
        return read_tensors(self.folder / "state.pt")

    def drop_state(self) -> None:
        """Deletes the checkpoint."""
        (self.folder / "state.pt").unlink(missing_ok=True)

    def drop_stage(self, key: str) -> None:
        """Deletes a stored stage."""
        (self.shared / f"{key}.pt").unlink(missing_ok=True)

    def drop_report(self) -> None:
        """Deletes the report, which makes a finished run an unfinished one."""
        (self.folder / "report.json").unlink(missing_ok=True)

    def save_stage(self, key: str, state: State) -> None:
        """Stores a finished stage for this run and for others that begin in the same way."""
        write_tensors(self.shared / f"{key}.pt", state)

    def load_stage(self, key: str) -> State | None:
        """Reads a stored stage; None where there is none."""
        return read_tensors(self.shared / f"{key}.pt")

    def write_log(self, entries: Sequence[Mapping[str, Any]], *, new: int = 1) -> None:
        """Writes one line of JSON per epoch, and the last `new` of them for TensorBoard where that was asked for."""
        write_text(self.folder / "log.jsonl", "".join(json.dumps(plain(entry)) + "\n" for entry in entries))
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
        """Writes split.csv, which the option `split` takes."""
        rows = [
            (file, data.classes[label], name)
            for name, split in data.splits.items()
            for file, label in zip(split.files, split.labels, strict=True)
        ]
        write_csv(self.folder / "split.csv", ("path", "label", "split"), rows)

    def write_predictions(self, predictions: Predictions, scores: Tensor) -> None:
        """Writes predictions.npz: features, logits, scores, true labels and predicted labels of the test images."""
        buffer = io.BytesIO()
        arrays = {"features": predictions.features, "logits": predictions.logits, "scores": scores}
        halves: dict[str, Any] = {name: tensor.half().numpy() for name, tensor in arrays.items()}
        predicted = scores.argmax(1).numpy()
        np.savez_compressed(buffer, labels=predictions.labels.numpy(), predicted=predicted, **halves)
        write_bytes(self.folder / "predictions.npz", buffer.getvalue())

    def write_model(self, tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> None:
        """Writes the folder model/: safetensors and config.json."""
        from safetensors.torch import save

        contiguous = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
        write_bytes(self.folder / "model" / "model.safetensors", save(contiguous))
        self.write_json("model/config.json", config)
