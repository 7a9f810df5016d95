"""Tries the network, the losses and the optimizers of all stages before the first is trained."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from longtail.engine.building import new_loss
from longtail.engine.compute import Compute
from longtail.engine.optimizers import new_optimizer
from longtail.errors import UserError, reason
from longtail.networks.classifier import Classifier
from longtail.spec.experiment import Experiment

OF_THE_DEVICE = ("CUDA error", "cuDNN error")  # messages of errors that have no type of their own


def check_stages(model: Classifier, experiment: Experiment, compute: Compute) -> None:
    """Builds every stage's loss and optimizer once, so that a bad value of a later stage is refused before the first is trained.

    Raises:
        UserError: the network cannot take images of this size, a loss or an optimizer cannot be built with its values, or the
            optimizer cannot make a step as the loop does.
    """
    _check_images(model, experiment.data.size, compute)
    for stage_index, stage in enumerate(experiment.recipe.stages):
        new_loss(model, experiment, stage_index)
        parameter = nn.Parameter(torch.zeros(1, device=compute.device))
        parameter.grad = torch.zeros_like(parameter)
        with _refused_as(f"The optimizer of stages.{stage_index} cannot be used: {{error}}"):
            new_optimizer(stage, [{"params": [parameter]}], compute.device).step()


def _check_images(model: Classifier, size: int, compute: Compute) -> None:
    """Passes one blank image through the network, as timm's networks refuse images of some sizes in errors of several types."""
    training, blank = model.training, torch.zeros(1, 3, size, size, device=compute.device)
    sentence = f"The network cannot take images of {size} x {size} pixels ({{why}}); choose another network, or for a folder "
    try:
        with _refused_as(f"{sentence}another `size`."), torch.no_grad(), compute.autocast():
            model.eval().backbone(blank)
    finally:
        model.train(training)


@contextmanager
def _refused_as(sentence: str) -> Iterator[None]:
    """Inside the `with` block an error of a value becomes a sentence; an error of the device stays what it is.

    Args:
        sentence: has {error} where the error's message is to stand, or {why} for its first line alone.
    """
    try:
        yield
    except (TypeError, ValueError, RuntimeError, AssertionError) as error:
        if isinstance(error, UserError) or is_of_the_device(error):
            raise
        raise UserError(sentence.format(error=error, why=reason(error))) from error


def is_of_the_device(error: Exception) -> bool:
    """Whether an error tells of the device, such as one without free memory, and not of what it was given to compute."""
    own = isinstance(error, (torch.OutOfMemoryError, torch.AcceleratorError))
    return own or any(words in str(error) for words in OF_THE_DEVICE)
