"""The validation images of a finished run, read again, with the predictions of its network on them."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from longtail.data.cifar import cifar_lt
from longtail.data.digits import digits_lt
from longtail.data.folder import folder_data
from longtail.data.published import listed
from longtail.data.rows import Inside
from longtail.data.splits import Split
from longtail.errors import BadFolder, UserError
from longtail.inference import Predictions
from longtail.networks.classifier import Classifier
from longtail.runs.folder import RunFolder
from longtail.runs.judging import pixels_of_files
from longtail.runs.model_reading import predictions_of
from longtail.spec.description import name_of
from longtail.text import unguarded

BUNDLED = {name_of(function): function for function in (digits_lt, cifar_lt, listed)}


@dataclass(frozen=True)
class Place:
    """Where the images of a run lie.

    Args:
        data: the folder or CSV that the run was trained on; None for the data of a named setting.
        root: folder that holds the data of named settings; $LONGTAIL_DATA or ./data if None.
        outside: whether a CSV may name files outside its folder.
    """

    data: Path | None = None
    root: Path | None = None
    outside: bool = False

    def check(self) -> None:
        """Refuses data that are not there.

        Raises:
            BadFolder: the folder or the CSV does not exist.
        """
        if self.data is not None and not self.data.exists():
            raise BadFolder(f"'{self.data}' does not exist; give the folder or CSV that the run was trained on.")


def validation_predictions(run: RunFolder, model: Classifier, config: Mapping[str, Any], place: Place) -> Predictions:
    """Predictions of the run's network on its validation images, in as many views as the run was evaluated with.

    Args:
        run: the run, whose split.csv names the images; no other image is read.
        model: its network.
        config: the checked values of its model/config.json.
        place: where the images lie.

    Raises:
        UserError: the run has no validation images, or where they lie was not said.
        BadFolder: an image is not there, or is another one than in training.
    """
    rows = validation_rows(run)
    if not rows:
        raise UserError(
            f"'{run.folder}' has no validation images to tune on; train it with `val=0.1`. Where auto chose it, give the folder "
            f"of its comparison, which keeps what is needed."
        )
    files, contents = [unguarded(row["path"]) for row in rows], [row.get("content") or "" for row in rows]
    number = {name: label for label, name in enumerate(config["classes"])}
    labels = torch.tensor([number[unguarded(row["label"])] for row in rows])
    chunks = _chunks(run, files, contents, labels, config, place)
    parts = [predictions_of(model, config, pixels, views=config.get("views", 1)) for pixels in chunks]
    features, logits = (torch.cat([getattr(part, name) for part in parts]) for name in ("features", "logits"))
    return replace(parts[0], features=features, logits=logits, labels=labels)


def validation_rows(run: RunFolder) -> list[dict[str, str]]:
    """The rows of a run's split.csv that are validation images."""
    text = run.read("split.csv").decode(errors="surrogateescape")
    return [row for row in csv.DictReader(io.StringIO(text, newline="")) if row["split"] == "val"]


def _chunks(
    run: RunFolder, files: list[str], contents: list[str], labels: Tensor, config: Mapping[str, Any], place: Place
) -> Iterator[Tensor]:
    """The images as chunks of pixels, from the folder that was given or from the data of the named setting."""
    described = run.record["setting"]["data"]
    if described["call"] == name_of(folder_data):
        root = _folder(run, place)
        within = Inside(root)
        outside = [] if place.outside else [file for file in files if file not in within]
        if outside:
            raise BadFolder(f"'{outside[0]}' lies outside '{root}'; add `outside` if that is meant.")
        return pixels_of_files(root, files, config, contents=contents)
    if described["call"] not in BUNDLED:
        raise UserError(f"The images of '{run.folder}' are read by a user's own code, which tuning does not run.")
    split = _named(run, described, files, place)
    if split.labels.tolist() != labels.tolist():
        raise BadFolder(f"The data of '{run.record['setting']['name']}' are not those that the run was trained on.")
    if split.pixels is not None:
        return iter(torch.split(split.pixels, 256))
    assert split.root is not None
    return pixels_of_files(split.root, files, config)


def _folder(run: RunFolder, place: Place) -> Path:
    if place.data is None:
        raise UserError(f"Give the folder or CSV that the run was trained on: longtail tune {run.folder} DATA.")
    place.check()
    return place.data if place.data.is_dir() else place.data.parent


def _named(run: RunFolder, described: Mapping[str, Any], files: list[str], place: Place) -> Split:
    """The files of a named setting's training and validation images; its test images are left alone."""
    reader = partial(BUNDLED[described["call"]], **{name: value for name, value in described.items() if name != "call"})
    data = reader(place.root or Path(os.environ.get("LONGTAIL_DATA", "data")))
    for split in (data.val, data.train):
        index = {} if split is None else {file: number for number, file in enumerate(split.files)}
        if split is not None and all(file in index for file in files):
            return split.take([index[file] for file in files])
    raise BadFolder(f"The data of '{run.record['setting']['name']}' do not have the validation images of '{run.folder}'.")
