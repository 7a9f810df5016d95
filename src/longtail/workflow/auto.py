"""Chooses a method for a collection of images: compares candidates on validation images, and trains the chosen one again."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from longtail.choosing import Comparison, compared, folds_of, one_standard_error
from longtail.data.loaders import naming_dead_workers
from longtail.data.priors import read_prior
from longtail.data.splits import Data, hold_out, with_validation_in_training
from longtail.engine.evaluation import ForwardPasses
from longtail.engine.training import train_stages
from longtail.errors import UserError
from longtail.inference import InferenceRule
from longtail.runs.files import sweep_dead
from longtail.runs.layout import ANSWERS, answers_folder, stages_folder
from longtail.runs.run import Run
from longtail.runs.starts import add_start
from longtail.spec.cost import training_cost
from longtail.spec.recipe import Setting
from longtail.workflow.candidates import Reading, Tried, readings_of, tried
from longtail.workflow.job import Job
from longtail.workflow.one_run import Result, experiment_of, job_of, prepared, train_one
from longtail.workflow.request import Request
from longtail.workflow.resolve import chosen_recipe
from longtail.workflow.verdict import verdict
from longtail.workflow.watcher import Watcher

VAL_SHARE = 0.1


@dataclass(frozen=True)
class Candidate:
    """A reading with its result on the validation images, and its cost in passes over the training images."""

    reading: Reading
    tau: float | None
    cost: float
    result: Comparison


@dataclass(frozen=True)
class Auto:
    """What was chosen: all candidates, the index of the one that was chosen, its finished run, and sentences for the user."""

    run: Run
    candidates: Sequence[Candidate]
    chosen: int
    result: Result
    verdict: Sequence[str]


def choose_method(request: Request, watcher: Watcher) -> Auto:
    """Trains the candidates without the validation images, chooses one, and trains it again on all labelled images.

    Test images are read by the chosen method alone, once.

    Raises:
        UserError: the data or an option cannot be used, or no validation images can be held out.
    """
    _check(request)
    setting, data = prepared(request, watcher)
    parts = validation_parts(data, request)
    prior = read_prior(request.prior, data.classes, data.class_counts)
    target = None if request.prior == "uniform" else tuple(prior.tolist())
    asked = {
        name: [reading.asked(request, target=target) for reading in readings]
        for name, readings in readings_of(request.candidates).items()
    }
    run = Run(answers_folder(request.runs, setting.name, request.seed, _key(asked, setting, parts, watcher)), note=watcher.note)
    results = [
        (each, training_cost(chosen_recipe(reading_request, setting), setting))
        for name, requests in asked.items()
        for reading_request, each in zip(
            requests, _tried(name, requests, readings_of(name)[name], setting, parts, prior, run, watcher), strict=True
        )
    ]
    labels = torch.cat([torch.from_numpy(part.splits["val"].labels) for part in parts])
    comparisons = compared(torch.stack([each.hits for each, _ in results]), labels, prior)
    candidates = [
        Candidate(each.reading, each.tau, cost, comparison) for (each, cost), comparison in zip(results, comparisons, strict=True)
    ]
    chosen = one_standard_error(comparisons, [candidate.cost for candidate in candidates])
    result = _final(candidates[chosen], request, setting, data, target, watcher)
    said = verdict([each for each, _ in results], candidates, chosen, labels, parts[0], request, result.report)
    _write(run, candidates, chosen, result, said)
    return Auto(run, candidates, chosen, result, said)


def validation_parts(data: Data, request: Request) -> list[Data]:
    """The data with validation images: those of the folder or a share of each class, or each of `folds` parts in turn.

    Raises:
        UserError: the data come with validation images of their own, or no class has enough images.
    """
    if request.folds == 1:
        held = hold_out(data, request.val or VAL_SHARE, seed=request.split_seed)
        if not len(held.splits["val"]):
            raise UserError(
                "No class has enough training images (3) to hold one out for validation; train one method with `method=NAME`."
            )
        return [held]
    if data.val is not None:
        raise UserError(f"'{request.data}' comes with validation images of its own; leave out `folds`.")
    counts = torch.tensor(data.class_counts)
    labels = torch.from_numpy(data.train.labels)
    fold = folds_of(labels, request.folds, seed=request.split_seed)
    fold[(counts < 2)[labels]] = -1  # the only image of a class is always trained on
    return [
        replace(
            data,
            train=data.train.take((fold != part).nonzero()[:, 0].numpy()),
            val=data.train.take((fold == part).nonzero()[:, 0].numpy()),
        )
        for part in range(request.folds)
    ]


def _check(request: Request) -> None:
    if request.val == 0:
        raise UserError("Methods are compared on validation images: give `val` above 0, or train one with `method=NAME`.")
    if request.folds < 1:
        raise UserError(f"`folds` must be at least 1; got {request.folds}.")
    if request.folds > 1 and not request.refit:
        raise UserError("With `folds` there is one network per part and none for all images; leave out `refit=False`.")
    if request.folds > 1 and request.val is not None:
        raise UserError("`folds` takes each part of the training images in turn for validation; leave out `val`.")
    if request.variants or request.changes:
        raise UserError("`variants` and `changes` belong to one method; name it with `method=NAME`.")


def _tried(
    name: str,
    requests: Sequence[Request],
    readings: Sequence[Reading],
    setting: Setting,
    parts: Sequence[Data],
    prior: Tensor,
    run: Run,
    watcher: Watcher,
) -> list[Tried]:
    """Trains the network of a candidate on each part, and reads it in all ways; readings of one network share its passes."""
    known: dict[str, ForwardPasses] = {}

    def passes(request: Request, number: int) -> ForwardPasses:
        experiment = experiment_of(request, setting, parts[number], watcher)
        key = experiment.key(len(experiment.recipe.stages))
        if key not in known:
            folder = run.folder / "candidates" / (name if len(parts) == 1 else f"{name}-{number}")
            known[key] = _trained(job_of(request, experiment, watcher), folder)
        return known[key]

    def rule(reading: Reading, target: Any) -> Callable[[float | None], InferenceRule]:
        return lambda tau: chosen_recipe(reading.asked(requests[0], tau, target), setting).inference

    return [
        tried(reading, rule(reading, asked.variants.get("target")), [passes(asked, n) for n in range(len(parts))], prior)
        for reading, asked in zip(readings, requests, strict=True)
    ]


def _trained(job: Job, folder: Path) -> ForwardPasses:
    """Trains a candidate, or loads its stored stages, and makes its passes over the validation images ready."""
    request, experiment = job.request, job.experiment
    shared = folder / "stages" if request.fresh else stages_folder(request.runs, experiment.setting.name)
    run = Run(folder, shared=shared, tensorboard=request.tensorboard, note=job.watcher.note)
    with run.locked():
        run.open(job.record)
        add_start(run, job.start)
        job.watcher.begin(experiment)
        with naming_dead_workers():
            model, _ = train_stages(experiment, run, job.fabric, watch=job.watcher.step)
        return ForwardPasses(model, experiment.data, job.fabric, views=experiment.setting.views)


def _final(
    chosen: Candidate, request: Request, setting: Setting, data: Data, target: tuple[float, ...] | None, watcher: Watcher
) -> Result:
    """Trains the chosen method on all labelled images, or takes the network that was compared, and evaluates it."""
    asked = chosen.reading.asked(request, chosen.tau, target)
    if request.refit:
        return train_one(replace(asked, val=0.0), setting, with_validation_in_training(data), watcher=watcher)
    return train_one(replace(asked, val=request.val or VAL_SHARE), setting, data, watcher=watcher)


def _key(asked: Mapping[str, Sequence[Request]], setting: Setting, parts: Sequence[Data], watcher: Watcher) -> str:
    """Hash of everything that the choice depends on."""
    requests = [request for group in asked.values() for request in group]
    keys = [experiment_of(request, setting, part, watcher).key() for request in requests for part in parts]
    return hashlib.sha256(" ".join([*keys, requests[0].prior, str(requests[0].refit)]).encode()).hexdigest()


def _write(run: Run, candidates: Sequence[Candidate], chosen: int, result: Result, said: Sequence[str]) -> None:
    sweep_dead(run.folder / ANSWERS)
    content: dict[str, Any] = {
        "chosen": candidates[chosen].reading.name,
        "chosen_run": os.path.relpath(result.folder, run.folder),
        "candidates": [
            {
                "name": candidate.reading.name,
                "method": candidate.reading.method,
                "tau": candidate.tau,
                "cost": candidate.cost,
                "validation_recall": candidate.result.recall,
                "interval": candidate.result.interval,
                "behind": candidate.result.behind,
                "standard_error": candidate.result.standard_error,
            }
            for candidate in candidates
        ],
        "verdict": " ".join(said),
    }
    run.write_json(ANSWERS, content)
