"""Samples the images of an epoch and their order, as a pure function of labels, weights, seed and epoch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import IntEnum

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor
from torch.utils.data import Sampler

from longtail.weighting import Progress, Rule, uniform


class Stream(IntEnum):
    """Purposes of random numbers; each stream has a seed of its own. To change these values changes the bits of every run."""

    NETWORK = 0  # the network's initial weights
    STAGE = 1  # what a stage resets or wraps: head and backbone wrapper
    DRAW = 2  # which images an epoch shows
    BATCHES = 3  # augmentation, mixup and the losses' noise
    COMPANION = 4  # the images of the companion batches, for methods that need them
    LOSS = 5  # the initial weights of losses that have parameters


class EpochSampler(Sampler[int]):
    """Samples the image indices of one epoch by image weights per class.

    Equal weights give a permutation without replacement; all others draw as many images as there are, with replacement. Every
    process draws the same global list from (seed, epoch) and takes every `world`-th index of it, so the list does not depend on
    the number of processes. Set `epoch` before iterating; there is no hidden state, so a resumed run continues exactly.

    Works as `DataLoader(dataset, sampler=EpochSampler(labels, rule=power))`.

    Args:
        labels: class index of every image (N,); images are never opened.
        rule: from `longtail.weighting`, (class_counts, progress) -> weights (C,).
        seed: seed of the sampling.
        epochs: number of epochs of the stage, for rules that change with progress.
        rank, world: index of this process, and number of processes.

    >>> sampler = EpochSampler([0, 0, 0, 1], seed=0)
    >>> sorted(sampler)
    [0, 1, 2, 3]
    """

    def __init__(
        self,
        labels: Sequence[int] | Int[Tensor, " images"] | np.ndarray,
        *,
        rule: Rule = uniform,
        seed: int = 0,
        epochs: int = 1,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.labels = torch.as_tensor(labels, dtype=torch.int64)
        self.class_counts = torch.bincount(self.labels)
        self.present = torch.nonzero(self.class_counts).flatten()
        self.rule, self.seed, self.epochs, self.rank, self.world = rule, seed, epochs, rank, world
        self.epoch = 0

    def indices(self) -> Int[Tensor, " images"]:
        """This process's indices of the current epoch, in order."""
        drawn = self.draw()
        return drawn[: len(drawn) // self.world * self.world][self.rank :: self.world]

    def draw(self) -> Int[Tensor, " images"]:
        """The global list of the current epoch, the same in every process."""
        generator = torch.Generator().manual_seed(epoch_seed(self.seed, self.epoch))
        weights = torch.zeros(len(self.class_counts), dtype=torch.float64)
        weights[self.present] = self.rule(self.class_counts[self.present], Progress(self.epoch, self.epochs))
        present = weights[self.present]
        if bool((present == present[0]).all()):
            return torch.randperm(len(self.labels), generator=generator)
        return torch.multinomial(weights[self.labels], len(self.labels), replacement=True, generator=generator)

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices().tolist())

    def __len__(self) -> int:
        return len(self.labels) // self.world


def epoch_seed(*parts: int) -> int:
    """One seed from several numbers (run seed, stage, epoch, ...), well mixed."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> np.uint64(1))
