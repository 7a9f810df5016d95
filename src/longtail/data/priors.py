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

from longtail.data.class_names import meant
from longtail.data.rows import refuse_repeated
from longtail.data.walking import some
from longtail.errors import UserError, WrongTypeError
from longtail.results import counted
from longtail.text import unguarded


def read_prior(prior: str, classes: Sequence[str], class_counts: Sequence[int]) -> Float[Tensor, " classes"]:
    """Share of each class (C,), with sum 1: "uniform", "train" for the training images', or a CSV with the header label,share.

    A class that the CSV leaves out has the share 0. Spaces around the cells and capitals in the header are no matter.

    Raises:
        WrongTypeError: the prior is no text.
        UserError: there is no such prior, or its file names an unknown class, gives a bad share, two shares of one class, or no
            share above 0.
    """
    if not isinstance(prior, str):
        raise WrongTypeError(f"`prior` must be uniform, train or the name of a CSV, as text; got {prior!r}.")
    if prior == "uniform":
        return _scaled(torch.ones(len(classes), dtype=torch.float64))
    if prior == "train":
        return _scaled(torch.tensor(class_counts, dtype=torch.float64))
    shares = _read_shares(prior, classes)
    wanted = torch.tensor([shares.get(name, 0.0) for name in classes], dtype=torch.float64)
    if not bool(wanted.any()):
        raise UserError(f"'{prior}' must give a share above 0 to a class.")
    return _scaled(wanted)


def said_of_no_share(prior: str, classes: Sequence[str], shares: Tensor, *, adjusted: bool = True) -> str:
    """Sentence on the classes to which a class prior gives no share; "" where there are none.

    Args:
        prior: name of the prior.
        classes: names of the classes (C,).
        shares: their shares (C,).
        adjusted: whether scores are adjusted to the prior, or methods are only compared under it.
    """
    left = [name for name, share in zip(classes, shares.tolist(), strict=True) if share == 0]
    if not left:
        return ""
    have, are = ("has", "is") if len(left) == 1 else ("have", "are")
    what = "never predicted" if adjusted else "left out where methods are compared"
    number = f"{len(left):,} of {counted(len(classes), 'class')}"
    return f"{number} {have} no share in the class prior '{prior}' and {are} {what}: {some(left)}."


def _read_shares(prior: str, classes: Sequence[str]) -> dict[str, float]:
    """The share of each class that the CSV names."""
    shares = dict[str, float]()
    for label, text in _rows(prior):
        name = _class_of(label, classes, prior)
        share = _share(text, name, prior)
        if shares.setdefault(name, share) != share:
            raise UserError(f"'{prior}' gives '{name}' two shares, {shares[name]:g} and {share:g}; keep one of the lines.")
    return shares


def _rows(prior: str) -> list[tuple[str, str]]:
    """The cells label and share of each line."""
    path = Path(prior)
    if not path.is_file():
        raise UserError(f"There is no prior '{prior}'; give uniform, train, or a CSV with the header label,share.")
    try:
        reader = csv.DictReader(io.StringIO(path.read_bytes().decode("utf-8-sig"), newline=""), skipinitialspace=True)
        reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or ()]
        refuse_repeated(path, reader.fieldnames, ("label", "share"))
        rows = list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"'{prior}' is not a CSV in UTF-8; expected the header label,share.") from error
    if not rows or not {"label", "share"} <= set(rows[0]):
        raise UserError(f"'{prior}' needs the header label,share and one line per class.")
    if long := next((row["label"] for row in rows if any(row.get(None, ()))), None):
        raise UserError(
            f"The line of '{long}' in '{prior}' has more cells than its header; write numbers with a point, as 1.5, and "
            f"names that hold a comma in double quotes."
        )
    return [(row["label"] or "", row["share"] or "") for row in rows]


def _class_of(label: str, classes: Sequence[str], prior: str) -> str:
    """The class that a cell names, without spaces around it and without the guard against spreadsheets."""
    for name in (label, label.strip(), unguarded(label.strip())):
        if name in classes:
            return name
    name = label.strip()
    raise UserError(f"'{prior}' names the class '{name}', which the run does not know.{meant(name, classes)}")


def _scaled(shares: Tensor) -> Tensor:
    if not shares.sum().isfinite():
        shares = shares / shares.max()
    return shares / shares.sum()


def _share(text: str, label: str, prior: str) -> float:
    try:
        share = math.nan if "_" in text else float(text)
    except ValueError:
        share = math.nan
    if not 0 <= share < math.inf:
        only = ", without %" if text.rstrip().endswith("%") else ""
        raise UserError(f"'{prior}' gives '{label}' the share '{text}'; expected a number, 0 or above{only}.")
    return share
