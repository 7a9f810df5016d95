"""Judging a finished run again: from its stored predictions, or on other labelled images."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from longtail.data.groups import shot_groups
from longtail.data.images import read_all
from longtail.data.listing import list_images
from longtail.errors import BadFolder, UserError
from longtail.metrics import accuracy_under_prior, report
from longtail.runs.run import Run
from longtail.runs.serving import load


def judged_again(folder: Path, *, groups: str) -> dict[str, Any]:
    """The report of a finished run, its stored predictions read in other groups."""
    run = _behind(folder)
    stored = np.load(run.folder / "predictions.npz") if run.finished else {}
    known = run.read_json("report.json")
    scores, labels = torch.from_numpy(stored["scores"]).float(), torch.from_numpy(stored["labels"])
    return _reported(known, scores, labels, groups)


def judged_on(folder: Path, path: Path, *, groups: str) -> dict[str, Any]:
    """The run's classifier on a labelled folder or CSV; classes are matched by name.

    Raises:
        BadFolder: a class is unknown to the run, or an image is corrupt.
    """
    run = _behind(folder)
    known, predictor = run.read_json("report.json"), load(run.folder)
    listing = list_images(path)
    if listing.splits is not None:
        listing = listing.without([f for f, s in zip(listing.files, listing.splits, strict=True) if s != "test"])
    if not listing.files:
        raise BadFolder(f"'{path}' has no labelled images; expected one folder per class, or a CSV path,label.")
    number = {name: label for label, name in enumerate(predictor.classes)}
    strange = sorted(set(listing.labels) - set(number))
    if strange:
        raise BadFolder(f"'{path}' has the class '{strange[0]}', which the run does not know; it knows {', '.join(number)}.")
    labels = torch.tensor([number[name] for name in listing.labels])
    return _reported(known, _scores(predictor, listing.root, listing.files), labels, groups)


def prior_of(known: Mapping[str, Any], prior: str) -> float:
    """Expected accuracy under a class prior: "uniform", "train", or a CSV with the header label,share.

    Raises:
        UserError: no such prior, or the file names an unknown class.
    """
    names, recalls = known["names"], torch.tensor(known["test"]["recalls"], dtype=torch.float64)
    if prior == "uniform":
        return accuracy_under_prior(recalls, torch.ones_like(recalls))
    if prior == "train":
        counts = [entry["train_images"] for entry in known["classes"]]
        return accuracy_under_prior(recalls, torch.tensor(counts, dtype=torch.float64))
    path = Path(prior)
    if not path.exists():
        raise UserError(f"There is no prior '{prior}'; it is uniform, train, or a CSV with the header label,share.")
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    if not rows or not {"label", "share"} <= set(rows[0]):
        raise UserError(f"'{prior}' needs the header label,share and one line per class.")
    shares = {row["label"]: _share(row["share"], row["label"], prior) for row in rows}
    if set(shares) - set(names):
        raise UserError(f"'{prior}' names the class '{min(set(shares) - set(names))}', which the run does not know.")
    wanted = torch.tensor([shares.get(name, 0.0) for name in names], dtype=torch.float64)
    if not wanted[~recalls.isnan()].any():
        raise UserError(f"'{prior}' gives no class that was evaluated a share above 0.")
    return accuracy_under_prior(recalls, wanted)


def _share(text: str | None, label: str, prior: str) -> float:
    try:
        share = float(text or "")
    except ValueError:
        share = math.nan
    if not 0 <= share < math.inf:
        raise UserError(f"'{prior}' gives '{label}' the share '{text or ''}'; expected a number, 0 or above.")
    return share


def _behind(folder: Path) -> Run:
    """The run, or the one that a comparison chose."""
    run = Run(folder)
    if (folder / "answers.json").exists():
        return Run(folder / run.read_json("answers.json")["chosen_run"])
    return run


def _reported(known: dict[str, Any], scores: Tensor, labels: Tensor, groups: str) -> dict[str, Any]:
    counts = [entry["train_images"] for entry in known["classes"]]
    names = [entry["name"] for entry in known["classes"]]
    test = asdict(report(scores, labels, shot_groups(counts, rule=groups)))
    return {**known, "test": test, "names": names, "group_rule": groups, "val_mean_recall": None}


def _scores(predictor: Any, root: Path, files: tuple[str, ...]) -> Tensor:
    parts, waiting = [], []
    for image in read_all(root, files, predictor.config["size"]):
        if isinstance(image, Exception):
            raise image
        waiting.append(image)
        if len(waiting) == 256:
            parts.append(predictor.scores(torch.stack(waiting)))
            waiting = []
    if waiting:
        parts.append(predictor.scores(torch.stack(waiting)))
    return torch.cat(parts)
