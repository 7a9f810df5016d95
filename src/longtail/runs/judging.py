"""Evaluates a finished run again: its classes in other groups, under another class prior, or on other labelled images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from longtail.data.groups import group_of_each, shot_groups
from longtail.data.priors import read_prior
from longtail.data.reading import read_all
from longtail.data.symmetry import check_views
from longtail.errors import BadFolder, UserError
from longtail.metrics import Groups, accuracy_under_prior, group_means, group_results
from longtail.results import counted
from longtail.runs.judged import Judged, stored_judgement
from longtail.runs.layout import chosen_run
from longtail.runs.model_config import square_of
from longtail.runs.report import EpochResult, RunReport, StageResult, read_report
from longtail.runs.run import Run
from longtail.text import for_shell


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
            f"folder or CSV of the labelled test images: {for_shell('longtail', 'evaluate', folder)} FOLDER `views={views}`."
        )
    if measured.group_rule == groups:
        return measured
    members = shot_groups(measured.class_counts, rule=groups)
    recalls, counts = torch.tensor(measured.test.recalls, dtype=torch.float64), torch.tensor(measured.test.test_counts)
    test = replace(measured.test, groups=group_results(recalls, counts, members))
    return replace(in_groups(measured, groups), test=test)


def judged_again(folder: Path, *, groups: str, views: int | None = None, trust_code: bool = False) -> Judged:
    """A finished run on its own test images, in other groups, with what `longtail tune` chose for it; see `regrouped_report`.

    Raises:
        MissingFileError: the folder holds no finished run, or the run stored no predictions.
        UserError: the predictions are stored for another number of views.
    """
    report = regrouped_report(folder, groups=groups, views=views)
    return stored_judgement(Run(chosen_run(folder)), report, trust_code=trust_code)


def no_share(prior: str) -> UserError:
    return UserError(f"'{prior}' must give a share above 0 to a class that was evaluated.")


def accuracy_under(measured: RunReport, prior: str) -> float:
    """Expected accuracy under a class prior: "uniform", "train", or a CSV with the header label,share.

    Raises:
        UserError: there is no such prior, or its file names an unknown class or gives a bad share.
    """
    recalls = torch.tensor(measured.test.recalls, dtype=torch.float64)
    wanted = read_prior(prior, [entry.name for entry in measured.classes], measured.class_counts)
    if not wanted[~recalls.isnan()].any():
        raise no_share(prior)
    return accuracy_under_prior(recalls, wanted)


def in_groups(measured: RunReport, groups: str) -> RunReport:
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


def pixels_of_files(
    root: Path, files: Sequence[str], config: Mapping[str, Any], *, contents: Sequence[str] = (), at_once: int = 256
) -> Iterator[Tensor]:
    """The images in chunks of uint8 pixels (B, 3, S, S), as the model of that configuration takes them.

    Args:
        root: folder that the files are relative to.
        files: the image files.
        config: the checked values of the run's model/config.json.
        contents: hash of the content that each file should have; "" for any.
        at_once: number of images in a chunk.

    Raises:
        CorruptImage: a file cannot be read as an image.
        BadFolder: a file has another content.
    """
    waiting = []
    for number, image in enumerate(read_all(root, files, **square_of(config)), 1):
        if isinstance(image, Exception):
            raise image
        if contents and contents[number - 1] not in ("", image.digest):
            raise BadFolder(f"'{root / files[number - 1]}' is not the image that the run was trained with; put that back.")
        waiting.append(image.pixels)
        if len(waiting) == at_once or number == len(files):
            yield torch.stack(waiting)
            waiting = []
