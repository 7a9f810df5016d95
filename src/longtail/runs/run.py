"""The folder of one run: its checkpoints, its stages, and what it writes of the data, the training and the model."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from longtail.data.splits import Data
from longtail.errors import DamagedFile
from longtail.inference import Predictions
from longtail.runs.files import csv_text, encoded, sweep
from longtail.runs.folder import REPORT, RunFolder
from longtail.runs.layout import CHECKPOINTS, FRESH
from longtail.runs.locks import Note, is_held, locked, silent
from longtail.runs.seals import State, check_state, plain, read_tensors, write_tensors
from longtail.text import guarded

SCALARS = ("loss", "learning_rate", "images_per_second", "val_mean_recall")  # numbers of an epoch that TensorBoard shows


class Run(RunFolder):
    """One experiment's folder.

    Args:
        folder: path of the folder, which is made when the first file is written.
        shared: folder of finished stages that runs of one setting share.
        tensorboard: whether the log is also written for TensorBoard.
        note: takes a line of text for the user, on damaged files and on waiting.
    """

    def __init__(self, folder: Path, *, shared: Path | None = None, tensorboard: bool = False, note: Note = silent) -> None:
        super().__init__(folder, note=note)
        self.shared, self.tensorboard = shared or folder / "stages", tensorboard
        self.said = set[str]()

    @contextmanager
    def stage_locked(self, key: str) -> Iterator[None]:
        """Waits for the lock of a stage that runs of the setting share, and holds it inside the `with` block."""
        with locked(self._lock_of(key), f"the stage {key[:6]}", note=self.note, wait=True):
            sweep(self.shared, f"{key}.pt")
            yield

    def stage_in_use(self, key: str) -> bool:
        """Whether a run, of this process or another one, holds the lock of a stage."""
        return is_held(self._lock_of(key))

    def _lock_of(self, key: str) -> Path:
        return self.shared / f".{key}.lock"

    def beside(self) -> Run:
        """A run in a folder inside this one, with stages of its own, to train the experiment anew while this one stays whole."""
        return Run(self.folder / FRESH, tensorboard=self.tensorboard, note=self.note)

    def reopen(self) -> None:
        """Deletes the report before other files are written, so that a kill leaves a run that is not finished."""
        (self.folder / REPORT).unlink(missing_ok=True)

    def forget(self) -> None:
        """Forgets what was read of the folder before its files changed."""
        for read_before in ("record", "checksums"):
            self.__dict__.pop(read_before, None)

    def save_state(self, state: State) -> None:
        """Writes the checkpoint to resume from, and keeps the one before it."""
        newest, before = (self.folder / name for name in CHECKPOINTS)
        write_tensors(newest, state, before=before)

    def load_states(self) -> Iterator[State]:
        """Reads the checkpoints to resume from, the newest first; a damaged one is named to the user and left out."""
        for name in CHECKPOINTS:
            state = self._whole(self.folder / name, "Training goes on from what was stored before it.")
            if state is not None:
                yield state

    def drop_states(self) -> None:
        """Deletes the checkpoints, the newest first, so that a kill leaves an older one that may be used."""
        for name in CHECKPOINTS:
            (self.folder / name).unlink(missing_ok=True)

    def save_stage(self, key: str, state: State) -> None:
        """Stores a finished stage for this run and for others that begin in the same way, and checks that it can be read."""
        path = self.stage_file(key)
        write_tensors(path, {"key": key, **state})
        check_state(path)

    def load_stage(self, key: str) -> State | None:
        """Reads a stored stage; None where there is none, or where it is damaged, which is said to the user."""
        path = self.stage_file(key)
        state = self._whole(path, "The stage is trained anew.")
        if state is not None and state.get("key") != key:
            self._say(f"'{path}' holds another stage than its name says. The stage is trained anew.")
            return None
        return state

    def stage_file(self, key: str) -> Path:
        """Path of a stored stage."""
        return self.shared / f"{key}.pt"

    def _whole(self, path: Path, consequence: str) -> State | None:
        try:
            return read_tensors(path)
        except DamagedFile as error:
            self._say(f"{str(error).partition('. ')[0]}. {consequence}")
            return None

    def _say(self, text: str) -> None:
        """Says a line to the user once: a stage is looked for before its lock is waited for, and again after that."""
        if text not in self.said:
            self.said.add(text)
            self.note(text)

    def write_log(self, entries: Sequence[Mapping[str, Any]], *, new: int = 1) -> None:
        """Writes one line of JSON per epoch, and the last `new` of them for TensorBoard where that was asked for."""
        self.write("log.jsonl", encoded("".join(json.dumps(plain(entry)) + "\n" for entry in entries)))
        if self.tensorboard:
            for entry in entries[-new:]:
                for name in (name for name in SCALARS if name in entry):
                    self._board.add_scalar(f"stage {entry['stage'] + 1}/{name}", entry[name], entry["epoch"])
            self._board.flush()

    @cached_property
    def _board(self) -> Any:
        from torch.utils.tensorboard import SummaryWriter

        return SummaryWriter(self.folder / "tensorboard")

    def write_split(self, data: Data) -> None:
        """Writes split.csv, which the option `split` takes, with the hash of each image's file."""
        rows = (
            (guarded(file), guarded(data.classes[label]), name, digest)
            for name, split in data.splits.items()
            for file, label, digest in zip(split.files, split.labels, split.contents, strict=True)
        )
        self.write("split.csv", encoded(csv_text(("path", "label", "split", "content"), rows)))

    def write_predictions(self, predictions: Predictions, scores: Tensor) -> None:
        """Writes predictions.npz: features, logits, scores, true labels and predicted labels of the test images.

        Numbers are stored in float16, those of an array that exceeds it in float32. Scores that are the logits are not stored a
        second time.
        """
        buffer = io.BytesIO()
        arrays = {"features": predictions.features, "logits": predictions.logits}
        if scores is not predictions.logits:
            arrays["scores"] = scores
        stored: dict[str, Any] = {name: in_half(tensor).numpy() for name, tensor in arrays.items()}
        predicted = scores.argmax(1).numpy()
        np.savez_compressed(buffer, labels=predictions.labels.numpy(), predicted=predicted, **stored)
        self.write("predictions.npz", buffer.getvalue())

    def write_model(self, tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> None:
        """Writes the folder model/: safetensors and config.json."""
        from safetensors.torch import save

        contiguous = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
        self.write("model/model.safetensors", save(contiguous))
        self.write_json("model/config.json", config)


def in_half(tensor: Tensor) -> Tensor:
    """The numbers in float16, or as they are where a finite one would become infinite."""
    half = tensor.half()
    return half if bool((half.isinf() == tensor.isinf()).all()) else tensor
