"""report.json: the results of a run, together with what is needed to interpret them. Needs no torch."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from longtail.errors import DamagedFile, UserError
from longtail.results import GROUP_RULES, GROUPS, VIEWS, SplitResult
from longtail.runs.files import write_text
from longtail.runs.former_reports import translated, with_views
from longtail.runs.restoring import restored
from longtail.runs.seals import REMEDY, json_text, plain, read_json

VERSION = 1
NAME = "report.json"
ROUNDING = 1e-9  # how far a mean of shares may be above 1


@dataclass(frozen=True)
class ClassEntry:
    """A class: its name, its number of training images, and the group that it belongs to."""

    name: str
    train_images: int
    group: str


@dataclass(frozen=True)
class EpochResult:
    """Recall on the test images after one epoch of a stage.

    Args:
        epoch: number of the epoch, counted from 1 within the stage.
        mean_recall: mean of the recalls of the evaluated classes.
        groups: mean recall of each group; empty where `recalls` is None and another group rule was asked for than in training.
        recalls: recall of each class, (C,), nan for a class without test images; None in reports of release 0.1.0, which
            stored it for the end of the last stage only.
    """

    epoch: int
    mean_recall: float
    groups: Mapping[str, float]
    recalls: tuple[float, ...] | None


@dataclass(frozen=True)
class StageResult:
    """The result of one training stage.

    Args:
        stage: number of the stage, counted from 1.
        epochs: number of epochs trained.
        last_epoch: result of the last epoch.
        best_test_epoch: result of the epoch with the best mean recall on the test images; None under the clean protocol.
        seconds: training time in seconds, without the evaluation.
        images_per_second: number of training images per second; None where no epoch was timed.
    """

    stage: int
    epochs: int
    last_epoch: EpochResult
    best_test_epoch: EpochResult | None
    seconds: float
    images_per_second: float | None


@dataclass(frozen=True)
class RunReport:
    """The result of a finished run.

    Args:
        method, setting, budget, protocol, seed, precision, device: what was trained, how, and on which device.
        epoch_rule: name of the epoch whose model is evaluated, such as "last epoch".
        imbalance: number of training images of the largest class divided by that of the smallest.
        images: number of images in each split.
        group_rule: rule that gathers classes in groups ("shots" or "auto").
        test: result on the test images.
        val_mean_recall: mean recall on the held-out validation images; None without them.
        transductive: whether the inference rule saw all test images at once.
        chosen: numbers that were chosen when the inference rule was fitted, by name.
        stages: one entry per stage; empty in a report on images other than the run's own.
        classes: one entry per class, (C,), in the order of `test.recalls`.
        views: number of views of each image that its predictions are averaged over.
    """

    method: str
    setting: str
    budget: str
    protocol: str
    epoch_rule: str
    seed: int
    precision: str
    device: str
    imbalance: float
    images: Mapping[str, int]
    group_rule: str
    test: SplitResult
    val_mean_recall: float | None
    transductive: bool
    chosen: Mapping[str, float]
    stages: tuple[StageResult, ...]
    classes: tuple[ClassEntry, ...]
    views: int = 1

    @property
    def class_counts(self) -> list[int]:
        """Number of training images of each class, (C,)."""
        return [entry.train_images for entry in self.classes]

    @property
    def train_seconds(self) -> float:
        """Training time of all stages in seconds."""
        return sum(stage.seconds for stage in self.stages)


def write_report(folder: Path, report: RunReport) -> Path:
    """Writes report.json into the run folder, which marks the run as finished; nan becomes null."""
    return write_text(folder / NAME, report_text(report))


def report_text(report: RunReport) -> str:
    """The text of report.json."""
    return json_text({"version": VERSION, **plain(report)})


def read_report(folder: Path) -> RunReport:
    """Reads the report of the finished run in `folder`; those of earlier releases are converted.

    Raises:
        MissingFileError: the folder holds no finished run.
        UserError: the report is cut off, lacks a field, contradicts itself, or was written by a newer longtail.
    """
    return report_from(read_json(folder, NAME), folder / NAME)


def report_from(content: Any, path: Path) -> RunReport:
    """The report that the JSON `content` of the file at `path` holds.

    Raises:
        UserError: it lacks a field, contradicts itself, or was written by a newer longtail.
    """
    has_version = isinstance(content, dict) and "version" in content
    version = content["version"] if has_version else 0 if isinstance(content, dict) else VERSION
    if type(version) is not int or version < has_version:
        raise DamagedFile(f"'{path}' has version {json.dumps(version):.40}, which is not one that this longtail knows. {REMEDY}")
    if version > VERSION:
        raise UserError(f"'{path}' has version {version}, which is newer than this longtail reads ({VERSION}); update longtail.")
    try:
        report: RunReport = restored(RunReport, with_views(content if version else translated(content)), "report")
        _check_whole(report)
    except (ValueError, OverflowError) as error:
        raise DamagedFile(f"'{path}' is not a complete report: {error}. {REMEDY}") from error
    return report


def _check_whole(report: RunReport) -> None:
    """Refuses a report whose parts do not belong together."""
    if report.group_rule not in GROUP_RULES:
        raise ValueError(f"'group_rule' cannot be {report.group_rule!r}")
    if report.views not in VIEWS:
        raise ValueError(f"'views' cannot be {report.views!r}")
    if set(report.test.groups) != set(GROUPS):
        raise ValueError(f"'groups' has {', '.join(report.test.groups) or 'none'}, and not {', '.join(GROUPS)}")
    epochs = [epoch for stage in report.stages for epoch in (stage.last_epoch, stage.best_test_epoch) if epoch is not None]
    recalls = [report.test.recalls, *(epoch.recalls for epoch in epochs if epoch.recalls is not None)]
    if {len(report.classes)} != {len(each) for each in (*recalls, report.test.test_counts)}:
        raise ValueError("'classes', 'recalls' and 'test_counts' are not of one length")
    groups = [
        *(group.recall for group in report.test.groups.values()),
        *(each for epoch in epochs for each in epoch.groups.values()),
    ]
    _check_shares([*chain(*recalls), *groups, *(epoch.mean_recall for epoch in epochs), report.val_mean_recall])
    _check_shares([report.test.mean_recall, report.test.accuracy, report.test.calibration_error])


def _check_shares(shares: Iterable[float | None]) -> None:
    """Refuses a number that is neither a share nor nan."""
    wrong = [share for share in shares if share is not None and not math.isnan(share) and not 0 <= share <= 1 + ROUNDING]
    if wrong:
        raise ValueError(f"{wrong[0]:g} is no share from 0 to 1, as a recall, an accuracy and a calibration error are")
