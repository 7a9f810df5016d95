"""Several seeds of one method in one process, which take their steps together (`together`)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch

from longtail.data.loaders import Feed
from longtail.data.splits import Data
from longtail.engine.lockstep import Way, in_lockstep
from longtail.engine.several_networks import value_or_error
from longtail.engine.training import Training, alone
from longtail.results import counted
from longtail.runs.devices import chosen_device
from longtail.spec.recipe import Setting
from longtail.workflow.job import Company
from longtail.workflow.one_run import Result, training_of, with_validation
from longtail.workflow.request import Request
from longtail.workflow.resolve import for_prior
from longtail.workflow.watcher import Watcher


def can_go_together(requests: Sequence[Request], data: Data, watcher: Watcher) -> bool:
    """Whether requests that differ in the seed alone take their steps together; where only the images forbid it, that is said."""
    if requests[0].together == "none" or len(requests) == 1:
        return False
    if all(split.pixels is not None for split in data.splits.values()):
        return True
    watcher.note(
        f"Each seed takes its own steps: `together` needs images that fit into memory, and those of '{requests[0].data}' are "
        f"read from their files in each epoch."
    )
    return False


def train_alike(requests: Sequence[Request], setting: Setting, data: Data, *, watcher: Watcher) -> list[Result | Exception]:
    """Trains requests that differ in the seed alone, together where they can, and returns the run or the error of each.

    What fails is said at once and ends its own request alone.
    """
    if can_go_together(requests, data, watcher):
        return train_together(requests, setting, data, watcher=watcher)
    trainings = [_noted(each, training_of(each, setting, data, watcher=watcher), watcher) for each in requests]
    return [value_or_error(partial(alone, training)) for training in trainings]


def train_together(requests: Sequence[Request], setting: Setting, data: Data, *, watcher: Watcher) -> list[Result | Exception]:
    """Trains requests that differ in the seed alone, `jobs` of them in one step, all if that is not given.

    The images are in memory once.

    Returns:
        The run or the error of each, in their order. What fails is said at once and ends its own request alone.

    Raises:
        UserError: the class frequencies in use or the validation images are not as the method needs them.
    """
    requests = [for_prior(each, data) for each in requests]
    data = with_validation(requests[0], setting, data)
    feed = Feed(data.train, data, torch.device(chosen_device(requests[0].device)))
    at_once = requests[0].jobs or len(requests)
    groups = [requests[first : first + at_once] for first in range(0, len(requests), at_once)]
    return [end for group in groups for end in _one_group(group, setting, data, feed, watcher)]


def data_of(request: Request) -> str:
    """The data of a request in words, such as "cifar10_lt at 100"."""
    return str(request.data) + (f" at {request.imbalance:g}" if request.imbalance is not None else "")


def _one_group(
    requests: Sequence[Request], setting: Setting, data: Data, feed: Feed, watcher: Watcher
) -> list[Result | Exception]:
    stacked = requests[0].together == "stacked" and len(requests) > 1
    how = "their networks computed as one" if stacked else "as branches"
    seeds = ", ".join(str(each.seed) for each in requests)
    watcher.note(f"{counted(len(requests), 'seed')} ({seeds}) in each step, {how} (`together`)")
    company = Company(feed, stacked)
    trainings = [
        _noted(each, training_of(each, setting, data, watcher=_OneSeed(watcher, each.seed), company=company), watcher)
        for each in requests
    ]
    return in_lockstep(trainings, Way(stacked=stacked, note=watcher.note))


def _noted(request: Request, training: Training[Result], watcher: Watcher) -> Training[Result]:
    """The training, whose end by an error is said at once."""
    try:
        return (yield from training)
    except Exception as error:
        watcher.note(f"{request.method} on {data_of(request)}, seed {request.seed}: failed. {error}")
        raise


class _OneSeed:
    """Passes on what one of several seeds says, its notes with the seed in front."""

    def __init__(self, watcher: Watcher, seed: int) -> None:
        self.watcher, self.seed = watcher, seed
        self.reading, self.begin, self.step = watcher.reading, watcher.begin, watcher.step

    def note(self, text: str) -> None:
        self.watcher.note(f"seed {self.seed}: {text}")
