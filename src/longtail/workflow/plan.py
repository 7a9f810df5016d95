"""What is missing of a published table, what it would cost, and whether its data are here; and the training of it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from longtail.data.imbalance import exponential_counts
from longtail.data.published_lists import PUBLISHED
from longtail.errors import UserError
from longtail.inference import reference_of
from longtail.papers import Cell
from longtail.runs.layout import jobs_folder
from longtail.runs.measured import Measured, Terms
from longtail.runs.run import Run
from longtail.settings import cifar10_lt
from longtail.spec.cost import plain_size, stage_costs
from longtail.spec.description import digest, parameters_of
from longtail.spec.own_code import is_own
from longtail.spec.recipe import Recipe, Setting
from longtail.workflow.cells import Cells
from longtail.workflow.checks import check
from longtail.workflow.cluster import Outcome, run_requests
from longtail.workflow.each import train_each
from longtail.workflow.one_run import Result
from longtail.workflow.request import Request
from longtail.workflow.resolve import chosen_setting
from longtail.workflow.watcher import Watcher

UNIT = "cross-entropy on cifar10_lt at imbalance 100 for 200 epochs"
Stages = dict[tuple[str, int], float]  # costs of the stages of a run, by a name and the seed
CIFAR_CLASSES = {"cifar10": 10, "cifar100": 100}


@dataclass(frozen=True)
class PlannedRun:
    """A run that is missing.

    Args:
        cell: the published cell that it is for.
        request: the request that trains it.
        terms: its budget, epochs and views.
        cost: arithmetic of its training, where `UNIT` is 1, without the stages that runs before it in the plan train as well;
            nan where its network cannot be run here.
        needs_weights: whether it starts from pretrained weights of timm.
    """

    cell: Cell
    request: Request
    terms: Terms
    cost: float
    needs_weights: bool = False


@dataclass(frozen=True)
class Plan:
    """The missing runs of a table, the cheapest first.

    Args:
        runs: the missing runs.
        methodless: published cells that no method of ours is for.
        unreadable: why data cannot be read here, by the name of their setting; the others can.
    """

    runs: tuple[PlannedRun, ...]
    methodless: tuple[Cell, ...]
    unreadable: dict[str, str]


def plan_of(cells: Sequence[Cell], measured: Iterable[Measured], base: Request, *, seeds: int) -> Plan:
    """The runs that the cells still need at seeds 0 to seeds - 1.

    Args:
        measured: results that are there; under another budget, at other epochs or other views they do not count, and under the
            paper protocol those without their best epoch on the test images do not.
        base: options of training, the same for all cells; `fresh` asks for every run again.

    Raises:
        UserError: an option cannot be used, or a cell names a method that does not exist.
    """
    experiments, done = Cells(base), [] if base.fresh else list(measured)
    runs = list[tuple[PlannedRun, Stages]]()
    for cell in (each for each in cells if each.method):
        check(experiments.request(cell))
        setting, recipe = experiments.setting(cell), experiments.recipe(cell)
        terms = Terms(setting.budget, tuple(stage.epochs for stage in recipe.stages), setting.views)
        stages, needs_weights = _stages(recipe, setting, base), bool(parameters_of(setting.backbone).get("pretrained"))
        for seed in sorted(set(range(seeds)) - _seeds_of(cell, terms, done, base, _holds_out(cell, recipe, setting, base))):
            planned = PlannedRun(cell, experiments.request(cell, seed=seed), terms, math.nan, needs_weights)
            runs.append((planned, {(name, seed): cost for name, cost in stages.items()}))
    unreadable = _unreadable({run.cell.column.setting: run.request for run, _ in runs})
    return Plan(tuple(_cheapest_first(runs)), tuple(cell for cell in cells if not cell.method), unreadable)


def carry_out(
    plan: Plan, *, watcher: Watcher, on: str | None = None, options: Mapping[str, str | bool] | None = None
) -> list[Result | UserError]:
    """Trains the runs of the plan in their order, and returns the finished run or the error of each.

    Args:
        on: scheduler that trains each run as a job, slurm or local; None for processes of this machine.
        options: options of sbatch by name.
    """
    requests = [run.request for run in plan.runs]
    if on is None:
        return train_each(requests, watcher=watcher)
    first = requests[0]
    how: dict[str, Any] = {"folder": jobs_folder(first.runs), "jobs": first.jobs, "options": options}
    return [_result(each) for each in run_requests(requests, on=on, watcher=watcher, **how)]


def _result(outcome: Outcome) -> Result | UserError:
    if outcome.folder is None or outcome.report is None:
        return UserError(outcome.problem)
    return Result(Run(outcome.folder), outcome.report)


def _seeds_of(cell: Cell, terms: Terms, measured: Iterable[Measured], base: Request, holds_out: bool | None) -> set[int]:
    """Seeds at which the cell has been measured under the terms.

    Args:
        holds_out: whether training images are held out for validation; None where results with and without count alike.
    """
    own = [each for each in measured if each.cell == cell and replace(each.terms, held_out=0) == terms]
    own = [each for each in own if holds_out in (None, each.terms.held_out > 0)]
    reports = [report for each in own for report in each.reports]
    return {report.seed for report in reports if base.protocol == "clean" or report.protocol == base.protocol}


def _holds_out(cell: Cell, recipe: Recipe, setting: Setting, base: Request) -> bool | None:
    """Whether a run holds training images out; None where the data may come with validation images of their own."""
    own = {name: published for name, published in PUBLISHED.items() if "val" in published.images}
    if is_own(cell.column.setting) or parameters_of(setting.data).get("name") in own:
        return None
    return bool(base.val) if base.val is not None else reference_of(recipe.inference) == "val"


def _stages(recipe: Recipe, setting: Setting, base: Request) -> dict[str, float]:
    """The cost of each stage, by a name for what it is with all stages before it and with its training images."""
    plain, usual = plain_size(setting), plain_size(cifar10_lt())
    work = plain.multiply_adds * _training_images(setting, base) if plain else math.nan
    unit = usual.multiply_adds * sum(exponential_counts(10, 5000, 100)) * 200 if usual else math.nan
    held_out = base.val if base.val is not None else reference_of(recipe.inference) == "val"
    network = (setting.backbone, setting.weights, recipe.head, recipe.backbone_wrapper, recipe.projection)
    same = (*network, setting.data, setting.augment, held_out)
    costs = stage_costs(recipe, setting)
    return {digest(*same, recipe.stages[: index + 1]): cost * work / unit for index, cost in enumerate(costs)}


def _cheapest_first(runs: list[tuple[PlannedRun, Stages]]) -> Iterator[PlannedRun]:
    """The runs, each time the one that costs least beside what was trained before, with that cost."""
    trained, waiting = set[tuple[str, int]](), list(runs)

    def left(stages: Stages) -> float:
        return sum((cost for stage, cost in stages.items() if stage not in trained), 0.0)

    while waiting:
        costs = [left(stages) for _, stages in waiting]
        index = min(range(len(waiting)), key=lambda each: (math.isnan(costs[each]), costs[each], waiting[each][0].request.seed))
        run, stages = waiting.pop(index)
        trained |= stages.keys()
        yield replace(run, cost=costs[index])


def _training_images(setting: Setting, base: Request) -> float:
    """Number of training images: known of published data, else counted; nan where they cannot be read."""
    said = parameters_of(setting.data)
    name, imbalance = str(said.get("name")), said.get("imbalance")
    if name in PUBLISHED:
        return PUBLISHED[name].images["train"]
    if name in CIFAR_CLASSES:
        return sum(exponential_counts(CIFAR_CLASSES[name], 50_000 // CIFAR_CLASSES[name], imbalance or 1))
    try:
        return len(setting.data(base.root or Path()).train)
    except (UserError, OSError):
        return math.nan


def _unreadable(requests: dict[str, Request]) -> dict[str, str]:
    """Why data cannot be read, by the name of their setting; those that will be downloaded are not looked for."""
    found = {}
    for name, request in requests.items():
        setting, path, _ = chosen_setting(request)
        if request.download and "download" in parameters_of(setting.data):
            continue
        try:
            setting.data(path)
        except (UserError, OSError) as error:
            found[name] = str(error)
    return found
