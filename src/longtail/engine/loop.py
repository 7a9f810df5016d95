"""The objects that every part of the training loop needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch

from longtail.data.loaders import Feed
from longtail.engine.compute import Compute
from longtail.engine.replay import Replay, Tally
from longtail.engine.writer import Writer
from longtail.networks.classifier import Classifier
from longtail.runs.run import Run
from longtail.spec.experiment import Experiment
from longtail.turns import first
from longtail.weighting import Progress

Watch = Callable[[int, Progress], None]
Entry = dict[str, Any]
History = list[Entry]


@dataclass(frozen=True)
class Loop:
    """Objects that every part of the loop needs: the experiment, its network and images, the run folder and the device."""

    experiment: Experiment
    model: Classifier
    feed: Feed
    run: Run
    compute: Compute
    watch: Watch | None = None
    replay: Replay | None = None
    fast: tuple[str, ...] = ()  # names of `engine.variants`
    writer: Writer = field(default_factory=Writer)

    @cached_property
    def generator(self) -> torch.Generator:
        """Source of the random numbers of batches and steps, seeded anew for each epoch: one, since recorded steps keep it."""
        return torch.Generator(self.compute.device)

    @cached_property
    def own_generator(self) -> torch.Generator:
        """Source of the random numbers for images of this process alone; in one process it is `generator`."""
        return torch.Generator(self.compute.device) if self.compute.world > 1 else self.generator

    @cached_property
    def tally(self) -> Tally:
        """The losses of the epoch, in memory that recorded steps keep."""
        return Tally(self.compute.device)

    def stage_in_use(self, key: str) -> bool:
        """Whether another training holds the lock of a stage; of several processes, the first one looks."""
        return self.compute.leads and self.run.stage_in_use(key)

    @contextmanager
    def stage_locked(self, key: str) -> Iterator[None]:
        """Holds the lock of a stage inside the `with` block, in the first process, for which the others wait."""
        with self.run.stage_locked(key) if self.compute.leads else nullcontext():
            first("lock", bool)
            yield
