"""Samples the images of an epoch and their order, as a pure function of labels, weights, seed and epoch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from threading import RLock
from typing import SupportsIndex

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor
from torch.utils.data import Sampler

from longtail.arguments import Numbers, as_labels, as_vector
from longtail.errors import UserError, WrongTypeError
from longtail.weighting import Progress, Rule, uniform

_GLOBAL = RLock()


class Stream(IntEnum):
    """Purposes of random numbers; each stream has a seed of its own. To change these values changes the bits of every run."""

    NETWORK = 0  # the network's initial weights
    STAGE = 1  # what a stage resets or wraps: head and backbone wrapper
    DRAW = 2  # which images an epoch shows
    BATCHES = 3  # augmentation, mixup and the losses' noise
    COMPANION = 4  # the images of the companion batches, for methods that need them
    LOSS = 5  # the initial weights of losses that have parameters


class EpochSampler(Sampler[int]):
    """Samples the image indices of an epoch by image weights per class, in a new order each epoch.

    Equal weights give a permutation without replacement; all others draw as many images as there are, with replacement. Every
    process draws the same global list from (seed, epoch) and takes every `world`-th index of it, so the list does not depend on
    the number of processes. `epoch` is that of the next iteration; an iteration advances it by one when it begins, so that a
    DataLoader shows a new order in each epoch by itself, and `set_epoch` sets it, as for torch's samplers. There is no other
    state, so a resumed run continues exactly.

    Works as `DataLoader(dataset, sampler=EpochSampler(labels, rule=power))`.

    Args:
        labels: class index of every image (N,), as a tensor, an array or a list of integers; images are never opened.
        rule: from `longtail.weighting`, (class_counts, progress) -> weights (C,).
        seed: seed of the sampling.
        epochs: number of epochs of the stage, for rules that change with progress.
        rank, world: index of this process, and number of processes.

    Raises:
        WrongTypeError: labels, seed or a number of processes are no integers.
        UserError: there is no image, a label is below 0, or there is no such process.

    >>> sampler = EpochSampler([0, 0, 0, 1], seed=0)
    >>> first, second = list(sampler), list(sampler)
    >>> sorted(first), first == second, sampler.epoch
    ([0, 1, 2, 3], False, 2)
    >>> sampler.set_epoch(0)
    >>> list(sampler) == first
    True
    """

    def __init__(
        self,
        labels: Numbers,
        *,
        rule: Rule = uniform,
        seed: SupportsIndex = 0,
        epochs: SupportsIndex = 1,
        rank: SupportsIndex = 0,
        world: SupportsIndex = 1,
    ) -> None:
        given = {"seed": seed, "epochs": epochs, "rank": rank, "world": world}
        self.seed, self.epochs, self.rank, self.world = (whole("EpochSampler", *pair) for pair in given.items())
        if not 0 <= self.rank < self.world or self.seed < 0:
            raise UserError(f"EpochSampler needs 0 <= rank < world and seed >= 0; got rank={rank}, world={world}, seed={seed}.")
        self.labels = as_labels("EpochSampler", labels).cpu()
        if not len(self.labels):
            raise UserError("EpochSampler needs the label of at least one image; got none.")
        self.class_counts = torch.bincount(self.labels)
        self.present = torch.nonzero(self.class_counts).flatten()
        self.rule = rule
        self.epoch = 0

    def set_epoch(self, epoch: SupportsIndex) -> None:
        """Sets the epoch of the next iteration, counted from 0."""
        number = whole("set_epoch", "epoch", epoch)
        if number < 0:
            raise UserError(f"set_epoch needs an `epoch` of at least 0; got {number}.")
        self.epoch = number

    def indices(self) -> Int[Tensor, " images"]:
        """This process's indices of the current epoch, in order."""
        drawn = self.draw()
        return drawn[: len(drawn) // self.world * self.world][self.rank :: self.world]

    def draw(self) -> Int[Tensor, " images"]:
        """The global list of the current epoch, the same in every process."""
        generator = torch.Generator().manual_seed(epoch_seed(self.seed, self.epoch))
        weights = torch.zeros(len(self.class_counts), dtype=torch.float64)
        present = self._class_weights()
        weights[self.present] = present
        if bool((present == present[0]).all()):
            return torch.randperm(len(self.labels), generator=generator)
        return torch.multinomial(weights[self.labels], len(self.labels), replacement=True, generator=generator)

    def _class_weights(self) -> Tensor:
        """What the rule says of the classes that have images, in float64."""
        given = self.rule(self.class_counts[self.present], Progress(self.epoch, self.epochs))
        weights = as_vector("EpochSampler", given, length=len(self.present), name="weights of the rule").double().cpu()
        if not bool(weights.isfinite().all() and (weights >= 0).all() and weights.sum() > 0):
            raise UserError(
                f"The rule of EpochSampler gave weights that are negative, not finite or all 0: {weights.tolist()[:8]}."
            )
        return weights

    def __iter__(self) -> Iterator[int]:
        indices = self.indices().tolist()
        self.epoch += 1
        return iter(indices)

    def __len__(self) -> int:
        return len(self.labels) // self.world


def whole(owner: str, name: str, value: object) -> int:
    """The value as an int; raises an error if it is no whole number, of Python or of numpy."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise WrongTypeError(f"{owner} needs a whole number as `{name}`; got {value!r}.")
    return int(value)


@contextmanager
def own_random_numbers(seed: int = 0) -> Iterator[None]:
    """Seeds torch's global generator of the CPU inside the context, and restores it afterwards; one thread at a time."""
    with _GLOBAL, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def epoch_seed(*parts: int) -> int:
    """One seed from several numbers (run seed, stage, epoch, ...), well mixed."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> np.uint64(1))
