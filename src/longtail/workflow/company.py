"""Several runs in one process, which take their steps together (`together`)."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from longtail.data.loaders import Feed
from longtail.data.splits import Data, hold_out
from longtail.engine.lockstep import StepFailed, Way, in_lockstep
from longtail.engine.several_networks import value_or_error
from longtail.engine.training import Training, alone
from longtail.errors import UserError, reason
from longtail.results import counted
from longtail.runs.devices import chosen_device
from longtail.spec.experiment import Experiment
from longtail.spec.recipe import Setting
from longtail.weighting import Progress
from longtail.workflow.job import Company
from longtail.workflow.one_run import Result, held_out, training_of
from longtail.workflow.request import Request
from longtail.workflow.watcher import Watcher

AT_ONCE = 16  # networks of one step where `jobs` is not given: on a GPU, what all of them compute is in memory at the same time


def can_go_together(requests: Sequence[Request], data: Data, watcher: Watcher) -> bool:
    """Whether requests for the same data take their steps together; where only the images forbid it, that is said."""
    if requests[0].together == "none" or len(requests) == 1:
        return False
    if all(split.pixels is not None for split in data.splits.values()):
        return True
    watcher.note(
        f"Each run takes its own steps: `together` needs images that fit into memory, and those of '{requests[0].data}' are "
        f"read from their files in each epoch."
    )
    return False


def train_alike(requests: Sequence[Request], setting: Setting, data: Data, *, watcher: Watcher) -> list[Result | Exception]:
    """Trains requests for the same data, together where they can, and returns the run or the error of each.

    What fails is said at once and ends its own request alone.
    """
    if can_go_together(requests, data, watcher):
        return train_together(requests, setting, data, watcher=watcher)
    trainings = [_noted(each, training_of(each, setting, data, watcher=watcher), watcher) for each in requests]
    return [value_or_error(partial(alone, training)) for training in trainings]


def train_together(requests: Sequence[Request], setting: Setting, data: Data, *, watcher: Watcher) -> list[Result | Exception]:
    """Trains requests that differ in method and seed, `jobs` of them in one step, 16 if that is not given.

    The images are in memory once for each share of them that is held out for validation.

    Returns:
        The run or the error of each, in their order. What fails is said at once and ends its own request alone.
    """
    images, at_once = Images(setting, data), requests[0].jobs or AT_ONCE
    groups = [requests[first : first + at_once] for first in range(0, len(requests), at_once)]
    return [end for group in groups for end in _one_group(group, images, watcher)]


class Images:
    """The images of runs of one process, on the device that trains."""

    def __init__(self, setting: Setting, data: Data) -> None:
        self.setting, self.data = setting, data
        self.feeds = dict[float, tuple[Data, Feed]]()

    def training(self, request: Request, watcher: Watcher, *, stacked: bool) -> Training[Result]:
        """The training of a request on these images."""
        share = held_out(request, self.setting)
        if share not in self.feeds:
            data = hold_out(self.data, share, seed=request.split_seed)
            self.feeds[share] = data, Feed(data.train, data, torch.device(chosen_device(request.device)))
        data, feed = self.feeds[share]
        how: Any = {"watcher": watcher, "company": Company(feed, stacked)}
        try:
            return (yield from training_of(request, self.setting, data, **how))
        except StepFailed as error:
            traceback.clear_frames(error.__traceback__)  # gives back the memory of what failed, before it begins again
        return (yield from training_of(request, self.setting, data, **how))


def data_of(request: Request) -> str:
    """The data of a request in words, such as "cifar10_lt at 100"."""
    return str(request.data) + (f" at {request.imbalance:g}" if request.imbalance is not None else "")


def _one_group(requests: Sequence[Request], images: Images, watcher: Watcher) -> list[Result | Exception]:
    stacked = requests[0].together == "stacked" and len(requests) > 1
    how = "their networks computed as one" if stacked else "as branches"
    if len(requests) > 1:
        watcher.note(f"{_named(requests)} in each step, {how} (`together`)")
    shown, trainings, alike = list[_OneRun](), list[Training[Result]](), _alike(requests)
    for each in requests:
        own = _OneRun(watcher, f"seed {each.seed}" if alike else f"{each.method}, seed {each.seed}", shown)
        training = own.until_the_end(images.training(each, own, stacked=stacked))
        trainings.append(_noted(each, training, watcher))
    return in_lockstep(trainings, Way(stacked=stacked, note=watcher.note))


def _alike(requests: Sequence[Request]) -> bool:
    """Whether the requests differ in the seed alone."""
    return all(replace(each, seed=0) == replace(requests[0], seed=0) for each in requests)


def _named(requests: Sequence[Request]) -> str:
    """The runs of one step in words, such as "ce on digits_lt: 2 seeds (0, 1)" or "digits_lt: 3 runs (ce, gcl)"."""
    first, data = requests[0], data_of(requests[0])
    if _alike(requests):
        return f"{first.method} on {data}: {counted(len(requests), 'seed')} ({', '.join(str(each.seed) for each in requests)})"
    return f"{data}: {counted(len(requests), 'run')} ({', '.join(dict.fromkeys(each.method for each in requests))})"


def _noted(request: Request, training: Training[Result], watcher: Watcher) -> Training[Result]:
    """The training, whose end by an error is said at once."""
    try:
        return (yield from training)
    except Exception as error:
        why = error if isinstance(error, UserError) else reason(error)
        watcher.note(f"{request.method} on {data_of(request)}, seed {request.seed}: failed. {why}")
        raise


class _OneRun:
    """Passes on what one of several runs says: its notes with its name in front, and its progress where that is shown.

    Args:
        shown: the run whose progress is shown, the longest one; none at first, and after its end.
    """

    def __init__(self, watcher: Watcher, name: str, shown: list[_OneRun]) -> None:
        self.watcher, self.name, self.shown = watcher, name, shown
        self.reading = watcher.reading

    def until_the_end(self, training: Training[Result]) -> Training[Result]:
        """The training, after whose end another run is shown."""
        try:
            return (yield from training)
        finally:
            if self in self.shown:
                self.shown.clear()

    def note(self, text: str) -> None:
        self.watcher.note(f"{self.name}: {text}")

    def begin(self, experiment: Experiment) -> None:
        self.experiment, self.epochs = experiment, sum(stage.epochs for stage in experiment.recipe.stages)
        if all(self.epochs > other.epochs for other in self.shown):
            self._show()

    def step(self, stage: int, progress: Progress) -> None:
        if not self.shown:
            self._show()
        if self in self.shown:
            self.watcher.step(stage, progress)

    def _show(self) -> None:
        self.shown[:] = [self]
        self.watcher.begin(self.experiment)
