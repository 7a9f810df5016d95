"""Turns a request into a finished run, for the command line and for `longtail.train` alike."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from longtail.data.opening import limit_pixels
from longtail.data.splits import Data, hold_out, with_validation_in_training
from longtail.engine.devices import make_compute
from longtail.engine.training import Training, alone
from longtail.errors import UserError
from longtail.inference import reference_of
from longtail.networks.pretrained import content_hash
from longtail.runs.judging import regrouped_report
from longtail.runs.layout import run_folder, seen_file, stages_folder
from longtail.runs.places import take
from longtail.runs.report import RunReport
from longtail.runs.run import Run
from longtail.runs.seen import SeenFiles
from longtail.runs.verify import check_copy
from longtail.spec.description import parameters_of
from longtail.spec.experiment import Experiment
from longtail.spec.own_code import read_own
from longtail.spec.recipe import Recipe, Setting
from longtail.turns import first
from longtail.workflow.checks import check
from longtail.workflow.choices import largest_batch
from longtail.workflow.fine_tuning import weights_of
from longtail.workflow.job import TRAINS, Company, Job, carried_out, finish
from longtail.workflow.precision import settled_precision
from longtail.workflow.remarks import remarks_on
from longtail.workflow.request import AUTO, Request
from longtail.workflow.resolve import chosen_recipe, chosen_setting, for_prior, has_own_data, own_paths
from longtail.workflow.several import check_agreement
from longtail.workflow.symmetry import with_symmetry
from longtail.workflow.watcher import Watcher


@dataclass(frozen=True)
class Result:
    """A finished run: its folder and its report."""

    run: Run
    report: RunReport

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.run.folder

    def __fspath__(self) -> str:
        """The run folder, so that every function that takes a folder takes the result as well."""
        return str(self.folder)


def prepared(request: Request, watcher: Watcher) -> tuple[Setting, Data]:
    """Checks the request, and returns the setting that it names, or one chosen for its folder, with the data.

    Raises:
        UserError: the request or its data cannot be used; the message says what to change.
    """
    for file in own_paths(request):
        read_own(file)
    check(request)
    limit_pixels(request.max_pixels)
    if request.split is not None:
        check_copy(request.split)
    setting, path, choice = chosen_setting(request)
    for line in filter(None, choice.split("\n")):
        watcher.note(line)
    if request.method != AUTO:
        chosen_recipe(request, setting)
    arguments = _reading_arguments(request, setting, watcher)
    data: Data = setting.data(path, **arguments)
    if not has_own_data(request):
        take(request.runs, setting.name, path, data.classes)
    if "seen" in arguments:
        arguments["seen"].save()
    if request.val and data.val is not None:
        raise UserError(f"'{request.data}' comes with {len(data.val)} validation images of its own; leave out `val`.")
    for line in remarks_on(data, request):
        watcher.note(line)
    if setting.largest_batch is not None:
        setting = replace(setting, largest_batch=largest_batch(len(data.train)))
    if (weights := weights_of(request)) is not None:
        check_copy(weights)
        setting = replace(setting, weights=content_hash(weights))
    if not has_own_data(request):
        setting = with_symmetry(request, setting, data, watcher)
    settled_precision(request, setting, data, watcher)
    return setting, data


class Prepared:
    """Settings and data of requests that come one after the other; what two have in common is read once.

    Args:
        watcher: receives the progress of reading.
    """

    def __init__(self, watcher: Watcher) -> None:
        self.watcher = watcher
        self.last: Request | None = None
        self.given: tuple[Setting, Data] | None = None

    def of(self, request: Request) -> tuple[Setting, Data]:
        """The setting and the data of the request, as `prepared` returns them."""
        common = replace(request, method="", variants={}, changes={}, seed=0)
        if self.given is None or common != self.last:
            self.last = self.given = None  # so that two data sets are never held at once
            self.given = prepared(request, self.watcher)
            self.last = common
        return self.given


def experiment_of(request: Request, setting: Setting, data: Data, watcher: Watcher) -> Experiment:
    """The experiment that a request is for, on data that have their validation images."""
    precision = settled_precision(request, setting, data, watcher)
    recipe = chosen_recipe(request, setting)
    return Experiment(recipe, setting, data, request.seed, request.protocol, precision, weights=weights_of(request))


def with_validation(request: Request, setting: Setting, data: Data) -> Data:
    """The data with the validation images that the request asks for, or that the method's rule needs.

    With a `val` of 0 there are none, and those that the data come with are trained on, too.

    Raises:
        UserError: the rule needs some, and none are held out.
    """
    data = with_validation_in_training(data) if request.val == 0 else data
    data = hold_out(data, held_out(request, setting), seed=request.split_seed)
    recipe = chosen_recipe(request, setting)
    if needs_validation(recipe) and data.val is None:
        raise UserError(f"{recipe.name} chooses a value on validation images, but none are held out; give `val` above 0.")
    return data


def held_out(request: Request, setting: Setting) -> float:
    """The share of the training images that is held out for validation, of data that come with no validation images."""
    return request.val if request.val is not None else 0.1 * needs_validation(chosen_recipe(request, setting))


def needs_validation(recipe: Recipe) -> bool:
    """Whether the recipe's rule chooses a value on validation images."""
    return reference_of(recipe.inference) == "val"


def job_of(request: Request, experiment: Experiment, watcher: Watcher, company: Company | None = None) -> Job:
    """The job of an experiment, on the device that the request names."""
    how = {"deterministic": request.deterministic, "synchronised": request.sync_batch_norm}
    compute = make_compute(request.device, experiment.precision, **how)
    return Job(request, experiment, compute, watcher, company)


def train_one(request: Request, setting: Setting, data: Data, *, watcher: Watcher) -> Result:
    """Trains, evaluates and stores one recipe at one seed; a finished run is read back, an unfinished one continues."""
    return alone(training_of(request, setting, data, watcher=watcher))


def training_of(
    request: Request, setting: Setting, data: Data, *, watcher: Watcher, company: Company | None = None
) -> Training[Result]:
    """The training that `train_one` runs.

    Args:
        company: what this run shares with others that take their steps together with it; None for a run alone.
    """
    limit_pixels(request.max_pixels)
    data = with_validation(request, setting, data)
    request = for_prior(request, data)
    experiment = experiment_of(request, setting, data, watcher)
    folder = run_folder(request.runs, setting.name, experiment.recipe.name, request.seed, experiment.key())
    shared = stages_folder(request.runs, setting.name)
    run = Run(folder, shared=shared, tensorboard=request.tensorboard, note=watcher.note)
    job = job_of(request, experiment, watcher, company)
    check_agreement(experiment)
    if job.compute.leads:
        yield from carried_out(job, run)
    elif first(TRAINS, bool):
        yield from finish(job, run)
    return Result(run, first("report", lambda: regrouped_report(run.folder, groups=request.groups)))


def _reading_arguments(request: Request, setting: Setting, watcher: Watcher) -> dict[str, Any]:
    """Arguments for reading the data that are no part of the experiment's identity."""
    asked = {
        "split": request.split,
        "outside": request.outside,
        "check": request.check or "full",
        "download": request.download,
        "seen": SeenFiles(seen_file(request.runs, setting.name)),
        "watch": watcher.reading,
    }
    return {name: value for name, value in asked.items() if name in parameters_of(setting.data)}
