"""The frequencies that classes will have where a classifier is used."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from longtail.errors import UserError


def read_prior(prior: str, classes: Sequence[str], class_counts: Sequence[int]) -> Float[Tensor, " classes"]:
    """Share of each class (C,), with sum 1: "uniform", "train" for the training images', or a CSV with the header label,share.

    A class that the CSV leaves out has the share 0.

    Raises:
        UserError: there is no such prior, or its file names an unknown class, gives a bad share, or no share above 0.
    """
    if prior == "uniform":
        return _scaled(torch.ones(len(classes), dtype=torch.float64))
    if prior == "train":
        return _scaled(torch.tensor(class_counts, dtype=torch.float64))
    shares = _read_shares(prior)
    if set(shares) - set(classes):
        raise UserError(f"'{prior}' names the class '{min(set(shares) - set(classes))}', which the run does not know.")
    wanted = torch.tensor([shares.get(name, 0.0) for name in classes], dtype=torch.float64)
    if not bool(wanted.any()):
        raise UserError(f"'{prior}' must give a share above 0 to a class.")
    return _scaled(wanted)


def _read_shares(prior: str) -> dict[str, float]:
    path = Path(prior)
    if not path.is_file():
        raise UserError(f"There is no prior '{prior}'; give uniform, train, or a CSV with the header label,share.")
    try:
        rows = list(csv.DictReader(io.StringIO(path.read_bytes().decode("utf-8-sig"), newline="")))
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"'{prior}' is not a CSV in UTF-8; expected the header label,share.") from error
    if not rows or not {"label", "share"} <= set(rows[0]):
        raise UserError(f"'{prior}' needs the header label,share and one line per class.")
    return {name: _share(row["share"], name, prior) for row in rows for name in [row["label"] or ""]}


def _scaled(shares: Tensor) -> Tensor:
    return shares / shares.sum()


def _share(text: str | None, label: str, prior: str) -> float:
    try:
        share = float(text or "")
    except ValueError:
        share = math.nan
    if not 0 <= share < math.inf:
        raise UserError(f"'{prior}' gives '{label}' the share '{text or ''}'; expected a number, 0 or above.")
    return share
