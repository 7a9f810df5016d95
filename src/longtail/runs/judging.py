"""Evaluates a finished run again: its classes in other groups, under another class prior, or on other labelled images."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from longtail.data.groups import group_of_each, shot_groups
from longtail.data.images import read_all
from longtail.data.listing import list_images
from longtail.data.priors import read_prior
from longtail.data.symmetry import check_views
from longtail.errors import BadFolder, UserError
from longtail.metrics import Groups, accuracy_under_prior, as_scored, group_means, group_results, result_of
from longtail.results import counted
from longtail.running import RunningResult
from longtail.runs.layout import chosen_run
from longtail.runs.report import EpochResult, RunReport, StageResult, read_report
from longtail.runs.serving import load


def regrouped_report(folder: Path, *, groups: str, views: int | None = None) -> RunReport:
    """Reads the report of a finished run and puts its classes in other groups; all other numbers stay as they were measured.

    Args:
        folder: folder of a run, or of a comparison, of which the chosen run is read.
        groups: rule that gathers classes in groups.
        views: number of views of each image, which must be that of the stored predictions; None for that one.

    Raises:
        MissingFileError: the folder holds no finished run.
        UserError: the predictions are stored for another number of views.
    """
    run = chosen_run(folder)
    measured = read_report(run)
    if views not in (None, measured.views):
        check_views(views)
        stored = counted(measured.views, "view")
        raise UserError(
            f"The predictions stored in '{folder}' are for {stored} of each image; another number needs the images, so give the "
            f"folder or CSV of the labelled test images: longtail evaluate {folder} FOLDER `views={views}`."
        )
    if measured.group_rule == groups:
        return measured
    members = shot_groups(measured.class_counts, rule=groups)
    recalls, counts = torch.tensor(measured.test.recalls, dtype=torch.float64), torch.tensor(measured.test.test_counts)
    test = replace(measured.test, groups=group_results(recalls, counts, members))
    return replace(_in_groups(measured, groups), test=test)


def report_on_images(
    folder: Path,
    path: Path,
    *,
    groups: str,
    device: str = "auto",
    outside: bool = False,
    trust_code: bool = False,
    views: int | None = None,
) -> RunReport:
    """Evaluates the run's classifier on a labelled folder or CSV; classes are matched by name.

    The report leaves out validation recall and stages, which concern the run's own images.

    Args:
        folder: folder of a run, or of a comparison, of which the chosen run is evaluated.
        path: folder or CSV of the labelled images; where it has splits, only its test split is used.
        groups: rule that gathers classes in groups.
        device: where the network computes: auto, cpu or cuda.
        outside: whether a CSV may name files outside its folder.
        trust_code: run the user's own code that the run was trained with, if the model needs any.
        views: number of views of each image; None for those that the run was evaluated with. What the run's rule learned when
            it was fitted stays as it is.

    Raises:
        BadFolder: a class is unknown to the run, or an image is corrupt.
        MissingFileError: the folder holds no finished run.
    """
    run = chosen_run(folder)
    if views is not None:
        check_views(views)
    measured, predictor = read_report(run), load(run, device=device, trust_code=trust_code)
    listing = list_images(path, outside=outside)
    if listing.splits is not None:
        listing = listing.without([f for f, s in zip(listing.files, listing.splits, strict=True) if s != "test"])
    if not listing.files:
        raise BadFolder(f"'{path}' has no labelled images; expected one folder per class, or a CSV path,label.")
    label_of = {name: label for label, name in enumerate(predictor.classes)}
    unknown = sorted(set(listing.labels) - set(label_of))
    if unknown:
        raise BadFolder(f"'{path}' has the class '{unknown[0]}', which the run does not know; it knows {', '.join(label_of)}.")
    labels = torch.tensor([label_of[name] for name in listing.labels])
    members = shot_groups(measured.class_counts, rule=groups)
    views = predictor.views if views is None else views
    test = result_of(_counted(predictor, listing.root, listing.files, labels, views), members)
    images = {**measured.images, "test": len(labels)}
    return replace(_in_groups(measured, groups), images=images, test=test, val_mean_recall=None, stages=(), views=views)


def accuracy_under(measured: RunReport, prior: str) -> float:
    """Expected accuracy under a class prior: "uniform", "train", or a CSV with the header label,share.

    Raises:
        UserError: there is no such prior, or its file names an unknown class or gives a bad share.
    """
    recalls = torch.tensor(measured.test.recalls, dtype=torch.float64)
    wanted = read_prior(prior, [entry.name for entry in measured.classes], measured.class_counts)
    if not wanted[~recalls.isnan()].any():
        raise UserError(f"'{prior}' must give a share above 0 to a class that was evaluated.")
    return accuracy_under_prior(recalls, wanted)


def _in_groups(measured: RunReport, groups: str) -> RunReport:
    """Puts stages and classes in other groups; the test result keeps its groups."""
    counts = measured.class_counts
    members = shot_groups(counts, rule=groups)
    names = group_of_each(counts, rule=groups)
    return replace(
        measured,
        group_rule=groups,
        stages=tuple(_stage_in_groups(stage, members) for stage in measured.stages),
        classes=tuple(replace(entry, group=name) for entry, name in zip(measured.classes, names, strict=True)),
    )


def _stage_in_groups(stage: StageResult, members: Groups) -> StageResult:
    best = stage.best_test_epoch
    return replace(
        stage,
        last_epoch=_epoch_in_groups(stage.last_epoch, members),
        best_test_epoch=None if best is None else _epoch_in_groups(best, members),
    )


def _epoch_in_groups(epoch: EpochResult, members: Groups) -> EpochResult:
    known = epoch.recalls is not None
    return replace(epoch, groups=group_means(torch.tensor(epoch.recalls, dtype=torch.float64), members) if known else {})


def _counted(predictor: Any, root: Path, files: tuple[str, ...], labels: Tensor, views: int) -> RunningResult:
    """What is counted of the images, a batch at a time, so that there may be any number of them."""
    running = RunningResult(len(predictor.classes))
    images = iter(read_all(root, files, predictor.config["size"], predictor.config["interpolation"]))
    for truth in torch.split(labels, 256):
        pixels = torch.stack([_read(image) for image in islice(images, len(truth))])
        running.add(*as_scored("evaluate", predictor.scores(pixels, views=views), truth))
    return running


def _read(image: Any) -> Tensor:
    if isinstance(image, Exception):
        raise image
    pixels: Tensor = image.pixels
    return pixels
