"""Chooses a method for a collection of images: compares candidates on validation images, and trains the chosen one again."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from longtail.choosing import Comparison, compared, one_standard_error
from longtail.data.priors import read_prior
from longtail.data.splits import Data, with_validation_in_training
from longtail.errors import UserError
from longtail.reporting.gathering import read_choice
from longtail.runs.files import sweep_dead
from longtail.runs.held_out import keep
from longtail.runs.layout import ANSWERS, FRESH, VALIDATION, answers_folder
from longtail.runs.run import Run
from longtail.runs.seals import read_json
from longtail.spec.recipe import Setting
from longtail.workflow.candidates import Candidate, Reading, Tried, readings_of
from longtail.workflow.one_run import Result, prepared, train_one
from longtail.workflow.request import Request
from longtail.workflow.trials import VAL_SHARE, Trials, validation_parts
from longtail.workflow.verdict import on_test_images, verdict
from longtail.workflow.watcher import Watcher
from longtail.workflow.weighing import Readings, costs_of, saved_costs, unlikely, usual_candidates

# A choice that was made by another rule is made again, as those that counted a fold's images or read test images.
RULE = "one standard error and one image more, then what is expected of all labelled images"


@dataclass(frozen=True)
class Auto:
    """What was chosen: the candidates, the index of the chosen one, its finished run, sentences for the user, and the data."""

    run: Run
    candidates: Sequence[Candidate]
    chosen: int
    result: Result
    verdict: Sequence[str]
    data: Data


def choose_method(request: Request, watcher: Watcher) -> Auto:
    """Trains the candidates without the validation images, chooses one, and trains it again on all labelled images.

    Test images are read by the chosen method alone, once. What was chosen before is read back.

    Raises:
        UserError: the data or an option cannot be used, or no validation images can be held out.
    """
    _check(request)
    setting, data = prepared(request, watcher)
    readings = readings_of(request.candidates or usual_candidates(request, setting, len(data.train)))
    trials = _trials(request, setting, data, watcher)
    costs = costs_of(readings, trials)
    key = _key(trials, readings, request.protocol)
    run = Run(answers_folder(request.runs, setting.name, request.seed, key), note=watcher.note)
    with run.locked(wait=True):  # a second process reads back what the first one finds
        return _compared(run, key, trials, readings, costs, request.protocol)


def _compared(run: Run, key: str, trials: Trials, readings: Readings, costs: Sequence[float], protocol: str) -> Auto:
    """Compares, or reads back what was chosen, and trains the chosen method; the folder of the comparison is locked."""
    request, anew = trials.request, run.folder / FRESH
    trials = replace(trials, folder=(anew if request.fresh else run.folder) / "candidates")
    said_of = [request.groups, request.class_prior]
    stored = None if request.fresh else _stored(run, key, said_of, readings)
    candidates, chosen, every = stored or _chosen(trials, readings, costs)
    if not stored and request.refit:
        _keep_predictions(run, key, trials, readings, candidates[chosen].reading)
    result = _final(trials, candidates[chosen], protocol)
    saved = saved_costs([candidate.cost for candidate in candidates], trials)
    said = stored_verdict(run) if stored else verdict(every, candidates, chosen, trials, saved)
    _write(run, key, said_of, candidates, chosen, result, said)
    shutil.rmtree(anew, ignore_errors=True)
    return Auto(run, candidates, chosen, result, [*said, on_test_images(result.report, request.class_prior)], trials.data)


def _check(request: Request) -> None:
    if request.val == 0:
        raise UserError("Methods are compared on validation images: give `val` above 0, or train one with `method=NAME`.")
    if request.folds < 1:
        raise UserError(f"`folds` must be at least 1; got {request.folds}.")
    if request.folds > 1 and not request.refit:
        raise UserError("With `folds` there is one network per part and none for all images; leave out `refit=False`.")
    if request.folds > 1 and request.val is not None:
        raise UserError("`folds` takes each part of the training images in turn for validation; leave out `val`.")
    if request.variants:
        raise UserError("A variant (`variants`) belongs to one method; name it with `method=NAME`.")
    if any(path.partition(".")[0] == "inference" for path in request.changes):
        raise UserError("A rule (`changes` of inference) belongs to one method, and auto chooses it; name it with `method=NAME`.")


def _trials(request: Request, setting: Setting, data: Data, watcher: Watcher) -> Trials:
    parts = validation_parts(data, request)
    final = with_validation_in_training(data) if request.refit else parts[0]
    prior = read_prior(request.class_prior, data.classes, final.class_counts)
    shown = {"validation": [label for part in parts for label in part.splits["val"].labels], "test": data.test.labels}
    for name, labels in shown.items():
        if not bool(prior[torch.tensor(labels)].sum() > 0):
            raise UserError(f"The class prior '{request.class_prior}' gives no share to any class that has {name} images.")
    target = None if request.class_prior == "uniform" else tuple(prior.tolist())
    blind = replace(request, protocol="clean")  # the paper's protocol would read the test images after each epoch
    return Trials(blind, setting, parts, final, prior, target, request.runs, watcher, own_val=data.val is not None)


def _chosen(trials: Trials, readings: Readings, costs: Sequence[float]) -> tuple[list[Candidate], int, list[Tried]]:
    """All candidates, the index of the chosen one, and on which validation images each is right."""
    every = [each for name, group in readings.items() for each in trials.tried(name, group)]
    results = compared(torch.stack([each.hits for each in every]), trials.labels, trials.prior)
    rows = zip(every, costs, results, strict=True)
    candidates = [Candidate(each.reading, each.tau, cost, result) for each, cost, result in rows]
    return candidates, one_standard_error(results, saved_costs(costs, trials), unlikely(every, trials)), every


def _keep_predictions(run: Run, key: str, trials: Trials, readings: Readings, chosen: Reading) -> None:
    """Keeps what the network of the chosen candidate says of the validation images, which the one trained again has seen."""
    name, group = next((name, group) for name, group in readings.items() if chosen in group)
    sweep_dead(run.folder / VALIDATION)
    parts, scored = trials.predictions(name, group, chosen)
    keep(run.folder, key, chosen.name, parts, scored=scored)


def _final(trials: Trials, chosen: Candidate, protocol: str) -> Result:
    """Trains the chosen method on all labelled images, or takes the network that was compared, and evaluates it."""
    request, asked = trials.request, replace(trials.asked(chosen.reading, chosen.tau), protocol=protocol)
    held = 0.0 if request.refit else None if trials.own_val else request.val or VAL_SHARE
    return train_one(replace(asked, val=held), trials.setting, trials.data, watcher=trials.watcher)


def _key(trials: Trials, readings: Readings, protocol: str) -> str:
    """Hash of everything that the choice depends on."""
    request = trials.request
    keys = [experiment.key() for group in readings.values() for each in group for experiment in trials.experiments(each)]
    asked = (str(trials.target), str(request.refit), protocol, RULE)
    return hashlib.sha256(" ".join([*keys, *asked]).encode()).hexdigest()


def _write(
    run: Run,
    key: str,
    said_of: list[str],
    candidates: Sequence[Candidate],
    chosen: int,
    result: Result,
    said: Sequence[str],
) -> None:
    sweep_dead(run.folder / ANSWERS)
    content = {
        "key": key,
        "said_of": said_of,
        "chosen": candidates[chosen].reading.name,
        "chosen_run": os.path.relpath(result.folder, run.folder),
        "candidates": [
            {
                "name": each.reading.name,
                "variant": each.reading.keyword,
                "value": each.tau,
                "cost": each.cost,
                **vars(each.result),
            }
            for each in candidates
        ],
        "verdict": list(said),
    }
    run.write_json(ANSWERS, content)


def _stored(run: Run, key: str, said_of: list[str], readings: Readings) -> tuple[list[Candidate], int, list[Tried]] | None:
    """The candidates and the choice as they were written; None where there are none, or they cannot be read.

    Args:
        said_of: rule of the groups and name of the class prior, which the sentences speak of.
    """
    by_name = {each.name: each for group in readings.values() for each in group}
    try:
        content: Any = read_json(run.folder, ANSWERS)
        if content["key"] != key or content["said_of"] != said_of:
            return None
        candidates = [_candidate(dict(row), by_name) for row in content["candidates"]]
        return candidates, [each.reading.name for each in candidates].index(content["chosen"]), []
    except (UserError, KeyError, TypeError, ValueError):
        return None


def _candidate(row: dict[str, Any], by_name: Mapping[str, Reading]) -> Candidate:
    reading, tau, cost = by_name[row.pop("name")], row.pop("value"), row.pop("cost")
    row.pop("variant")
    return Candidate(reading, tau, cost, Comparison(**{**row, "interval": tuple(row["interval"])}))


def stored_verdict(run: Run) -> list[str]:
    """The sentences on the choice that were written with it; that on the test images is made of the run's report."""
    choice = read_choice(run.folder)
    return [] if choice is None else list(choice.verdict)
