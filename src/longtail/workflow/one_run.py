"""Turns a request into a finished run, for the command line and for `longtail.train` alike."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from longtail.data.splits import Data, fingerprint, hold_out
from longtail.engine.building import trained_until
from longtail.engine.devices import deterministic, device_name, make_fabric
from longtail.engine.evaluation import evaluate
from longtail.engine.replay import Replay, cuda_replay
from longtail.engine.report import run_report
from longtail.engine.training import train_stages
from longtail.errors import UserError, WrongTypeError
from longtail.inference import as_trained, reference_of
from longtail.networks.pretrained import content_hash
from longtail.runs.code import keep_code, kept_as
from longtail.runs.judging import regrouped_report
from longtail.runs.layout import run_folder, stages_folder
from longtail.runs.model_store import write_model
from longtail.runs.provenance import commit, versions
from longtail.runs.report import RunReport, write_report
from longtail.runs.run import Run
from longtail.spec.description import describe, parameters_of, unknown
from longtail.spec.experiment import Experiment
from longtail.spec.own_code import read_own
from longtail.spec.recipe import Setting
from longtail.weighting import Progress
from longtail.workflow.choices import largest_batch
from longtail.workflow.request import Request, documented, signature
from longtail.workflow.resolve import check, chosen_recipe, chosen_setting, own_files, own_paths


class Watcher(Protocol):
    """Functions that a run calls to report its progress."""

    def note(self, text: str) -> None:
        """Takes a line of text for the user."""

    def reading(self, done: int, total: int) -> None:
        """Takes the number of files decoded so far, and of all files."""

    def begin(self, experiment: Experiment) -> None:
        """Is called when training starts."""

    def step(self, stage: int, progress: Progress) -> None:
        """Is called when a training step is queued."""


class Silent:
    """A watcher that reports nothing."""

    def note(self, text: str) -> None: ...

    def reading(self, done: int, total: int) -> None: ...

    def begin(self, experiment: Experiment) -> None: ...

    def step(self, stage: int, progress: Progress) -> None: ...


@dataclass(frozen=True)
class Result:
    """A finished run: its folder and its report."""

    run: Run
    report: RunReport

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.run.folder


def prepared(request: Request, watcher: Watcher) -> tuple[Setting, Data]:
    """Checks the request, and returns the setting that it names, or one chosen for its folder, with the data.

    Raises:
        UserError: the request or its data cannot be used; the message says what to change.
    """
    for file in own_paths(request):
        read_own(file)
    check(request)
    setting, path, choice = chosen_setting(request)
    if choice:
        watcher.note(choice)
    chosen_recipe(request, setting)
    data: Data = setting.data(path, **_reading_arguments(request, setting, watcher))
    if request.val and data.val is not None:
        raise UserError(f"'{request.data}' comes with {len(data.val)} validation images of its own; leave out `val`.")
    if data.skipped:
        watcher.note(f"Left out {len(data.skipped)} corrupt files: {', '.join(data.skipped[:5])}")
    if setting.largest_batch is not None:
        setting = replace(setting, largest_batch=largest_batch(len(data.train)))
    return setting, data


def train_one(request: Request, setting: Setting, data: Data, *, watcher: Watcher) -> Result:
    """Trains, evaluates and stores one recipe at one seed; a finished run is read back, an unfinished one continues."""
    recipe = chosen_recipe(request, setting)
    needs_val = reference_of(recipe.inference) == "val"
    data = hold_out(data, request.val if request.val is not None else 0.1 * needs_val, seed=request.split_seed)
    if needs_val and data.val is None:
        raise UserError(f"{recipe.name} chooses a value on validation images, but none are held out; give `val` above 0.")
    fabric, precision = make_fabric(request.device, request.precision, deterministic=request.deterministic)
    if request.weights is not None:
        setting = replace(setting, weights=content_hash(request.weights))
    experiment = Experiment(recipe, setting, data, request.seed, request.protocol, precision, weights=request.weights)
    folder = run_folder(request.runs, setting.name, recipe.name, request.seed, experiment.key())
    run = Run(folder, shared=stages_folder(request.runs, setting.name), tensorboard=request.tensorboard)
    if request.fresh:
        forget(run, experiment)
    replay = cuda_replay(fabric.device, precision) if request.graphs else None
    own = own_files(request)
    run.open({**_record(experiment, fabric.device), "graphs": request.graphs, "code": kept_as(own)})
    if not run.finished:
        keep_code(run, own)
        watcher.begin(experiment)
        finish(experiment, run, fabric, watcher, groups=request.groups, replay=replay)
    return Result(run, regrouped_report(run.folder, groups=request.groups))


def finish(experiment: Experiment, run: Run, fabric: Any, watcher: Watcher, *, groups: str, replay: Replay | None = None) -> None:
    """Trains the stages that are not trained yet, evaluates every stage, and writes the files of a finished run."""
    recipe, data = experiment.recipe, experiment.data
    run.write_split(data)
    model, history = train_stages(experiment, run, fabric, watch=watcher.step, replay=replay)
    evaluation = evaluate(model, recipe.inference, data, fabric, groups=groups)
    earlier = [trained_until(experiment, stage_index, run, fabric) for stage_index in range(len(recipe.stages) - 1)]
    stages = [*(evaluate(before, as_trained, data, fabric, groups=groups).report for before in earlier), evaluation.report]
    write_model(run, experiment, model, evaluation.rule)
    run.write_predictions(evaluation.predictions, evaluation.scores)
    report = run_report(experiment, history, evaluation, stages, groups=groups, device=device_name(fabric.device))
    run.write_json("classes.json", report.classes)
    write_report(run.folder, report)


def forget(run: Run, experiment: Experiment) -> None:
    """Deletes the stored stages, the checkpoint and the report of this experiment, for `fresh`."""
    for stage_index in range(len(experiment.recipe.stages)):
        run.drop_stage(experiment.key(stage_index + 1))
    run.drop_state()
    run.drop_report()


def train(data: str | Path, *, method: str = "gcl", watcher: Watcher | None = None, **options: Any) -> Result:
    """Trains one method on a folder, a CSV or a named setting, and returns the finished run.

    `longtail.train("photos/", method="gcl", epochs=40)`; the options are those of `longtail train`, with underscores.

    Raises:
        WrongTypeError: an option does not exist.
        UserError: an option or the data cannot be used; the message says what to change.
    """
    known = list(Request.__dataclass_fields__)
    for name in options:
        if name not in known:
            raise WrongTypeError(unknown("option", name, known))
    request, watcher = Request(data, method, **options), watcher or Silent()
    setting, loaded = prepared(request, watcher)
    return train_one(request, setting, loaded, watcher=watcher)


train.__signature__ = signature(  # type: ignore[attr-defined]
    inspect.Parameter("watcher", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Watcher | None)
)
train.__doc__ = f"{inspect.getdoc(train)}\n\n{documented()}\n    watcher: receives the run's progress; None for no reports."


def _record(experiment: Experiment, device: Any) -> dict[str, Any]:
    recipe = experiment.recipe
    return {
        "experiment": experiment.key(),
        "recipe": describe(recipe),
        "source": recipe.source,
        "departures": list(recipe.all_departures),
        "setting": describe(experiment.setting),
        "seed": experiment.seed,
        "protocol": experiment.protocol,
        "precision": experiment.precision,
        "deterministic": deterministic(),
        "split": fingerprint(experiment.data),
        "device": device_name(device),
        "versions": versions(),
        "commit": commit(),
    }


def _reading_arguments(request: Request, setting: Setting, watcher: Watcher) -> dict[str, Any]:
    """Arguments for reading the data that are no part of the experiment's identity."""
    asked = {"split": request.split, "watch": watcher.reading, "download": request.download}
    return {name: value for name, value in asked.items() if name in parameters_of(setting.data)}
