"""A Trainer of Hugging Face's transformers with longtail's sampler, and longtail's losses as its `compute_loss_func`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback

from longtail.arguments import IGNORED
from longtail.errors import UserError
from longtail.losses import GALALoss
from longtail.sampling import EpochSampler


class SampledTrainer(Trainer):  # type: ignore[misc]
    """A Trainer whose training images an `EpochSampler` draws, in any number of processes, the same after a resume.

    The Trainer divides the batches of the whole list among the processes, so the sampler has `world=1`.

    Args:
        sampler: sampler of the training images, for the labels of `train_dataset`.
        arguments, options: those of the Trainer; `compute_loss_func=loss_function(...)` gives it a loss.

    Raises:
        UserError: the sampler divides the images as well.
    """

    def __init__(self, *arguments: Any, sampler: EpochSampler, **options: Any) -> None:
        super().__init__(*arguments, **options)
        if sampler.world != 1:
            raise UserError(
                f"The Trainer divides the batches among the processes itself, and the sampler is for {sampler.world} processes: "
                f"build it with `world=1`."
            )
        self.sampler = sampler
        self.add_callback(_SetEpoch(sampler))

    def _get_train_sampler(self, train_dataset: Any = None) -> EpochSampler:
        return self.sampler


class _SetEpoch(TrainerCallback):  # type: ignore[misc]
    """Sets the sampler's epoch, which no library does where a run of several processes continues in the middle of an epoch."""

    def __init__(self, sampler: EpochSampler) -> None:
        self.sampler = sampler

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        self.sampler.set_epoch(int(state.epoch or 0))


def loss_function(loss: nn.Module) -> Callable[..., Tensor]:
    """A loss of longtail as the Trainer's `compute_loss_func`.

    The Trainer gives the number of labels of all batches whose gradients are added up (gradient accumulation, several processes).
    The mean over a batch then counts by its share of these labels, so that accumulated batches weigh as one large batch would;
    one whose labels are all -100 is 0. Where no gradient is recorded, the loss is computed in evaluation mode.

    Args:
        loss: called as `loss(logits, labels)`, returns the mean over the batch; it follows the logits to their device.

    Returns:
        A function of (outputs, labels, num_items_in_batch=None); `outputs` has "logits" (B, C), or they come first.

    Raises:
        UserError: the loss has parameters, which the Trainer would not train.
    """
    if any(parameter.requires_grad for parameter in loss.parameters()):
        raise UserError(
            f"{type(loss).__name__} has parameters, which the Trainer would not train: compute it in the model's `forward`."
        )

    def compute(outputs: Any, labels: Tensor, num_items_in_batch: Tensor | int | None = None) -> Tensor:
        logits = outputs["logits"] if isinstance(outputs, Mapping) else outputs[0]
        valid = (labels != IGNORED).sum()
        if num_items_in_batch is None:
            return _mean(loss.to(logits.device), logits, labels)
        if isinstance(loss, GALALoss) and not bool(valid):  # it would learn from the images
            nothing: Tensor = logits.sum() * 0
            return nothing
        of_some = torch.where(valid == 0, labels.clamp(min=0), labels)  # the mean over no image would be nan
        return _mean(loss.to(logits.device), logits, of_some) * valid / num_items_in_batch

    return compute


def _mean(loss: nn.Module, logits: Tensor, labels: Tensor) -> Tensor:
    """The loss of a batch, in evaluation mode where no gradient is recorded: the Trainer does not set the mode of a loss."""
    mode = loss.training
    try:
        mean: Tensor = loss.train(mode and torch.is_grad_enabled())(logits, labels)
    finally:
        loss.train(mode)
    return mean
