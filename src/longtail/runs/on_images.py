"""Evaluates a finished run on other labelled images, of any number."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from longtail.data.groups import shot_groups
from longtail.data.priors import read_prior
from longtail.data.symmetry import check_views
from longtail.errors import UserError
from longtail.metrics import result_of
from longtail.runs.frequencies import shift_to
from longtail.runs.judging import in_groups, no_share
from longtail.runs.labelled import listed_for, said_of_training_images, scored_images
from longtail.runs.layout import chosen_run
from longtail.runs.locks import Note, silent
from longtail.runs.report import RunReport, read_report
from longtail.runs.run import Run
from longtail.runs.serving import load


@dataclass(frozen=True)
class Evaluated:
    """A finished run on labelled images.

    Args:
        report: its results.
        adjusted: the results with scores adjusted to a class prior; None where none was asked for, or they stay as they are.
        notes: sentences on what `longtail tune` changed and on the class frequencies that the scores are adjusted to.
    """

    report: RunReport
    adjusted: RunReport | None
    notes: tuple[str, ...]


def report_on_images(folder: Path, path: Path, **how: Any) -> RunReport:
    """The report of `evaluated_on_images`."""
    return evaluated_on_images(folder, path, **how).report


def evaluated_on_images(
    folder: Path,
    path: Path,
    *,
    groups: str,
    device: str = "auto",
    outside: bool = False,
    skip_corrupt: bool = False,
    trust_code: bool = False,
    views: int | None = None,
    prior: str | None = None,
    note: Note = silent,
) -> Evaluated:
    """Evaluates the run's classifier on a labelled folder or CSV of any number of images; classes are matched by name.

    The report leaves out validation recall and stages, which concern the run's own images.

    Args:
        folder: folder of a run, or of a comparison, of which the chosen run is evaluated.
        path: folder or CSV of the labelled images; where it has splits, only its test split is used.
        groups: rule that gathers classes in groups.
        device: where the network computes: auto, cpu or cuda.
        outside: whether a CSV may name files outside its folder.
        skip_corrupt: whether files that cannot be read are left out instead of refused.
        trust_code: run the user's own code that the run was trained with, if the model needs any.
        views: number of views of each image; None for those that the run was evaluated with. What the run's rule learned when
            it was fitted stays as it is.
        prior: class prior that the scores are adjusted to as well: uniform, train, or a CSV label,share; None for none.
        note: takes a line of text for the user, on what was left out and on images that the run was trained on.

    Raises:
        BadFolder: a class is unknown to the run, or there are no images.
        CorruptImage: an image cannot be read, and `skip_corrupt` is False.
        MissingFileError: the folder holds no finished run.
        UserError: there is no such prior, or it gives no share to a class of the images.
    """
    run = chosen_run(folder)
    if views is not None:
        check_views(views)
    measured, predictor = read_report(run), load(run, device=device, trust_code=trust_code)
    listing = listed_for(path, predictor.classes, missing_ok=skip_corrupt, outside=outside, note=note)
    label_of = {name: label for label, name in enumerate(predictor.classes)}
    members = shot_groups(measured.class_counts, rule=groups)
    views = predictor.views if views is None else views
    labels = torch.tensor([label_of[name] for name in listing.labels])
    files, (offset, notes) = (listing.root, listing.files, labels), _offset(Run(run), measured, prior, labels)
    read = scored_images(predictor, *files, views=views, skip_corrupt=skip_corrupt, offset=offset)
    for said in (*read.said, *said_of_training_images(run, read.digests)):
        note(said)
    images, test = {**measured.images, "test": len(read.digests)}, result_of(read.running, members)
    found = replace(in_groups(measured, groups), images=images, test=test, val_mean_recall=None, stages=(), views=views)
    adjusted = None if read.adjusted is None else replace(found, test=result_of(read.adjusted, members))
    return Evaluated(found, adjusted, (*predictor.notes, *notes))


def _offset(run: Run, measured: RunReport, prior: str | None, labels: Tensor) -> tuple[Tensor | None, tuple[str, ...]]:
    """What adjusts scores to a class prior (C,), None where they stay as they are, and a sentence on it."""
    if prior is None:
        return None, ()
    names, counts = [entry.name for entry in measured.classes], measured.class_counts
    if not bool(read_prior(prior, names, counts)[labels].any()):
        raise no_share(prior)
    try:
        shift = shift_to(run, prior, names, counts)
    except UserError as error:
        return None, (str(error),)
    return (shift.offset if bool(shift.offset.any()) else None), (shift.sentence,)
