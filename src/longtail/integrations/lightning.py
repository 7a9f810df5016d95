"""Callbacks for Lightning's Trainer: the place of a sampler in its epoch, and class weights that follow the epoch.

The Trainer takes an `EpochSampler` as it is, in any number of processes, and sets its epoch. Fabric does so as well, but counts
epochs from 0 in every start of a program: after a resume, iterate over the plain DataLoader and move its batches with
`fabric.to_device`. Both packages of Lightning are served, `lightning` and `pytorch_lightning`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import nn

from longtail.errors import UserError
from longtail.losses import Loss
from longtail.losses.contract import set_class_weights
from longtail.sampling import EpochSampler
from longtail.weighting import Progress, Rule

try:
    from lightning.pytorch import Callback
except ModuleNotFoundError:
    from pytorch_lightning import Callback


class SamplerPlace(Callback):  # type: ignore[misc]
    """Stores the place of a sampler in every checkpoint, and continues there, also in the middle of an epoch.

    Without it, the Trainer begins the epoch of a mid-epoch checkpoint at its first image again, and a DataLoader with workers
    shows the first epoch once more. Images are counted as batches trained on, times the batch of all processes, so indices that
    workers took ahead do not count, and a run may continue with another number of processes that share the same batch. An epoch
    that `max_steps` broke off is continued, with its number.

    Args:
        sampler: the sampler of the Trainer's one training DataLoader.

    Raises:
        UserError: there are several training DataLoaders, or it has no `batch_size`.
    """

    def __init__(self, sampler: EpochSampler) -> None:
        self.sampler = sampler
        self.place = sampler.state_dict()

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Begins a training that continues no other in epoch 0."""
        if trainer.global_step == 0:
            self.place = {"epoch": 0, "offset": self.sampler.offset if self.sampler.epoch == 0 else 0}
        self.sampler.load_state_dict(self.place)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Refuses training images whose batches cannot be counted, and has the Trainer go on with an epoch that it broke off."""
        if not isinstance(getattr(trainer.train_dataloader, "batch_size", None), int):
            raise UserError("SamplerPlace needs one training DataLoader, built with `batch_size` and `sampler`.")
        progress = trainer.fit_loop.epoch_progress.current
        if self.place["offset"] and progress.processed == self.place["epoch"] + 1:  # it counts as done after `max_steps`
            progress.processed = progress.completed = self.place["epoch"]

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Has the sampler continue at the place, also where the Trainer counts epochs in another way."""
        self.sampler.load_state_dict(self.place)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Counts the images of a batch."""
        loader, world = trainer.train_dataloader, self.sampler.world
        offset = self.place["offset"] + loader.batch_size * world
        left = math.ceil((len(self.sampler.labels) - offset) / world)  # images of this process
        surplus = batch_idx >= trainer.num_training_batches and self.place["offset"] == 0  # after a stop at the end of an epoch
        last = trainer.fit_loop.epoch_loop.batch_progress.is_last_batch and not surplus  # as `limit_train_batches` says
        if last or left < (loader.batch_size if loader.drop_last else 1):
            self.place = {"epoch": self.place["epoch"] + 1, "offset": 0}
        else:
            self.place = {"epoch": self.place["epoch"], "offset": offset}

    def state_dict(self) -> dict[str, int]:
        """The place, as `EpochSampler.load_state_dict` takes it."""
        return self.place

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Has the sampler continue at the place."""
        self.sampler.load_state_dict(state_dict)
        self.place = self.sampler.state_dict()


class EpochWeights(Callback):  # type: ignore[misc]
    """Sets the class weights of a loss at the beginning of each epoch, by a rule of `longtail.weighting`.

    With `partial(deferred, rule=effective_number, start=0.8)` this is deferred re-weighting (Cao et al., NeurIPS 2019).

    Args:
        loss: a loss of longtail; as an attribute of the LightningModule it follows the device.
        rule: (class_counts, progress) -> weights (C,).
        epochs: number of epochs of the training. None: the Trainer's `max_epochs`.

    Raises:
        UserError: neither the Trainer nor `epochs` says how many epochs there are.
    """

    def __init__(self, loss: Loss, rule: Rule, *, epochs: int | None = None) -> None:
        self.loss, self.rule, self.epochs = loss, rule, epochs

    def on_train_start(self, trainer: Any, pl_module: nn.Module) -> None:
        """Sets the weights of the epoch that a resumed training is in."""
        epochs = self.epochs or trainer.max_epochs
        if not epochs or epochs < 0:
            raise UserError("EpochWeights needs the number of epochs: give `epochs`, or the Trainer `max_epochs`.")
        weights = self.rule(self.loss.class_counts, Progress(trainer.current_epoch, epochs))
        set_class_weights(self.loss, weights)

    on_train_epoch_start = on_train_start
