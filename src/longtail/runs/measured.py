"""Finished runs that belong to the cells of a published table. Needs no torch."""

from __future__ import annotations

import hashlib
import json
import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from longtail.papers import Cell
from longtail.results import counted
from longtail.runs.report import RunReport
from longtail.runs.results_file import StoredResult

FREE_OF_SETTING = ("epochs", "budget", "views", "largest_batch", "weights")
Identify = Callable[[Cell, str, int | None], str]


@dataclass(frozen=True, order=True)
class Terms:
    """Conditions that results of one cell must share to be averaged.

    Args:
        budget: budget of the training.
        epochs: number of epochs of each stage.
        views: number of views of each test image.
        held_out: number of training images held out for validation.
    """

    budget: str
    epochs: tuple[int, ...]
    views: int = 1
    held_out: int = 0

    @property
    def words(self) -> str:
        """The conditions in words, such as "200+30 epochs, paper"; views and held-out images where there are any."""
        one = f"{'+'.join(map(str, self.epochs))} epoch{'s' * (self.epochs != (1,))}, {self.budget}"
        views = f", {counted(self.views, 'view')}" if self.views > 1 else ""
        return one + views + (f", {self.held_out:,} held out" if self.held_out else "")


@dataclass(frozen=True)
class Measured:
    """What was measured for a cell under one set of conditions: a report for each seed."""

    cell: Cell
    terms: Terms
    reports: tuple[RunReport, ...]

    @property
    def mean(self) -> float:
        """Mean over the seeds of the mean recall after the last epoch, in %."""
        return 100 * statistics.fmean(report.test.mean_recall for report in self.reports)

    @property
    def deviation(self) -> float:
        """Standard deviation over the seeds, in % (with n - 1); nan for one seed."""
        shares = [100 * report.test.mean_recall for report in self.reports]
        return statistics.stdev(shares) if len(shares) > 1 else math.nan

    @property
    def difference(self) -> float:
        """Mean minus the published value, in %."""
        return self.mean - self.cell.value

    @property
    def best(self) -> float:
        """Mean over the seeds of the best epoch's mean recall on the test images, in %; nan where it was not looked for."""
        return 100 * statistics.fmean(_best(report) for report in self.reports)


def identity_of(recipe: Mapping[str, Any], setting: Mapping[str, Any]) -> str:
    """Hash of a described recipe and setting, without epochs, budget, views and the file of the initial weights.

    Runs of one identity differ in these alone, in seed, precision and protocol, and in the versions of code and libraries.
    """
    stages = [{name: value for name, value in stage.items() if name != "epochs"} for stage in recipe["stages"]]
    backbone = dict(setting["backbone"])
    starts_trained = bool(backbone.pop("pretrained", False)) or bool(setting.get("weights"))
    kept = {name: value for name, value in setting.items() if name not in FREE_OF_SETTING}
    described = [{**recipe, "stages": stages}, {**kept, "backbone": backbone}, starts_trained]
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()


def measured_of(cells: Iterable[Cell], results: Sequence[StoredResult], identify: Identify) -> list[Measured]:
    """What was measured for each cell, under each set of conditions, most epochs last; one report for each seed.

    Of several results at one seed, the one that knows its best epoch on the test images counts, then the one started last.

    Args:
        cells: published cells; those without a method of ours have no measured result.
        results: finished runs.
        identify: identity of a cell's experiment at a budget, given the setting's `largest_batch`, which data may decide.
    """
    by_identity = _by_identity(results)
    found = []
    for cell in (each for each in cells if each.method):
        likely = [each for each in results if _may_be_of(cell, each)]
        kinds = dict.fromkeys((each.report.budget, each.record["setting"].get("largest_batch")) for each in likely)
        own = dict.fromkeys(identify(cell, budget, largest) for budget, largest in kinds)
        at: dict[Terms, dict[int, RunReport]] = {}
        for report in (result.report for identity in own for result in by_identity.get(identity, [])):
            at.setdefault(terms_of(report), {})[report.seed] = report
        ordered = sorted(at, key=lambda each: (each.epochs, each))
        found += [Measured(cell, terms, tuple(at[terms][seed] for seed in sorted(at[terms]))) for terms in ordered]
    return found


def terms_of(report: RunReport) -> Terms:
    """The conditions of a result."""
    epochs = tuple(stage.epochs for stage in report.stages)
    return Terms(report.budget, epochs, report.views, report.images.get("val", 0))


def _may_be_of(cell: Cell, result: StoredResult) -> bool:
    """Whether a result may be of the cell, as far as its setting's name tells, which a user's own setting may choose."""
    named = cell.column.setting
    return ":" in named or str(result.record["setting"].get("name")).startswith(named)


def _by_identity(results: Sequence[StoredResult]) -> dict[str, list[StoredResult]]:
    """The results by their identity, those that count last."""
    found: dict[str, list[StoredResult]] = {}
    for result in sorted(results, key=lambda each: (not math.isnan(_best(each.report)), each.since)):
        try:
            found.setdefault(identity_of(result.record["recipe"], result.record["setting"]), []).append(result)
        except (KeyError, TypeError, AttributeError, ValueError):  # a record that somebody wrote by hand
            continue
    return found


def _best(report: RunReport) -> float:
    best = report.stages[-1].best_test_epoch if report.stages else None
    return math.nan if best is None else best.mean_recall
