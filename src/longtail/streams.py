"""Random numbers: a seed for each purpose, stage and epoch of a run, and torch's global generators seeded and restored."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from threading import RLock

import numpy as np
import torch

_GLOBAL = RLock()


class Stream(IntEnum):
    """Purposes of random numbers; each stream has a seed of its own. To change these values changes the bits of every run."""

    NETWORK = 0  # the network's initial weights
    STAGE = 1  # what a stage resets or wraps: head and backbone wrapper
    DRAW = 2  # which images an epoch shows
    BATCHES = 3  # augmentation, mixup and the losses' noise
    COMPANION = 4  # the images of the companion batches, for methods that need them
    LOSS = 5  # the initial weights of losses that have parameters
    CROPS = 6  # the random crops that are taken from image files
    LAYERS = 7  # what layers of the network draw from torch's global generators (dropout, stochastic depth)


@contextmanager
def own_random_numbers(seed: int = 0) -> Iterator[None]:
    """Seeds torch's global generators inside the context, and restores them afterwards; one thread at a time."""
    with _GLOBAL, seeded_generators(seed):
        yield


@contextmanager
def seeded_generators(seed: int) -> Iterator[None]:
    """Seeds torch's global generators inside the context, and restores them afterwards: the CPU's, and those of GPUs in use."""
    gpus = range(torch.cuda.device_count() if torch.cuda.is_initialized() else 0)  # type: ignore[no-untyped-call]
    with torch.random.fork_rng(devices=gpus):
        for generator in (torch.default_generator, *(torch.cuda.default_generators[gpu] for gpu in gpus)):
            generator.manual_seed(seed)
        yield


def epoch_seed(*parts: int) -> int:
    """One seed from several numbers (run seed, stage, epoch, ...), well mixed."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> np.uint64(1))
