"""Builds the network, the loss and the optimizer of a stage, with random numbers from the experiment's seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from longtail.engine.averaging import WeightAverage
from longtail.engine.batches import steps_of
from longtail.engine.compute import Compute
from longtail.engine.optimizers import new_optimizer, parameter_groups
from longtail.engine.rates import DeviceRates, takes_device_rates
from longtail.errors import MissingFileError, UserError
from longtail.losses.contract import check_contract
from longtail.networks.classifier import Classifier, assemble, prepare_for_stage
from longtail.networks.folding import folded, is_frozen
from longtail.networks.pretrained import load_backbone
from longtail.runs.run import Run
from longtail.spec.description import name_of
from longtail.spec.experiment import Experiment
from longtail.spec.recipe import Stage
from longtail.streams import Stream, epoch_seed, own_random_numbers
from longtail.weighting import Progress


def on_device(model: Classifier, compute: Compute) -> Classifier:
    """Moves the model to the device, with the weights of its convolutions channels last in memory."""
    return model.to(compute.device).to(memory_format=torch.channels_last)


def new_model(experiment: Experiment) -> Classifier:
    """Builds the network with the seed's initial weights, which are drawn on the CPU whatever the device."""
    recipe, data = experiment.recipe, experiment.data
    with seeded(experiment.seed, Stream.NETWORK):
        backbone = experiment.setting.backbone()
        if experiment.weights is not None:
            load_backbone(backbone, experiment.weights)
        return assemble(
            backbone,
            classes=len(data.classes),
            image_size=data.size,
            head=recipe.head,
            backbone_wrapper=recipe.backbone_wrapper,
            projection=recipe.projection,
        )


def enter_stage(model: Classifier, experiment: Experiment, stage_index: int) -> None:
    """Gives the model the head and the backbone wrapper of stage `stage_index`."""
    stage = experiment.recipe.stages[stage_index]
    with seeded(experiment.seed, stage_index, Stream.STAGE):
        prepare_for_stage(
            model,
            head=stage.head,
            backbone_wrapper=stage.backbone_wrapper,
            fresh_head=experiment.recipe.head,
            image_size=experiment.data.size,
        )


def trained_until(experiment: Experiment, stage_index: int, run: Run, compute: Compute) -> Classifier:
    """Loads the model as it was at the end of a stage, from the stored stages.

    Raises:
        MissingFileError: the stage is not stored.
    """
    model = new_model(experiment)
    for earlier in range(stage_index + 1):
        enter_stage(model, experiment, earlier)
    stored = compute.from_first(lambda: run.load_stage(experiment.key(stage_index + 1)))
    if stored is None:
        raise MissingFileError(f"Stage {stage_index + 1} is not stored in '{run.shared}'; train it with the same command again.")
    model.load_state_dict(stored["model"])
    return on_device(model, compute)


def new_loss(model: Classifier, experiment: Experiment, stage_index: int) -> nn.Module:
    """Builds the stage's loss, with the loss on features as a submodule where the stage has one.

    Raises:
        UserError: the loss cannot be built from class counts, or breaks the contract of `longtail.losses.Loss`.
    """
    stage, counts = experiment.recipe.stages[stage_index], experiment.data.class_counts
    with seeded(experiment.seed, stage_index, Stream.LOSS):
        try:
            loss: nn.Module = stage.loss(counts)
        except TypeError as error:
            raise UserError(
                f"The loss {name_of(getattr(stage.loss, 'func', stage.loss))} cannot be built as `loss(class_counts)`: {error}"
            ) from error
        if stage.feature_loss is not None:
            loss.add_module("feature_loss", stage.feature_loss(counts, feature_size=model.representation_size))
    check_contract(loss, len(counts))
    return loss


@dataclass
class StageWork:
    """A stage that is being trained.

    Args:
        index: index of the stage, from 0.
        key: hash under which the end of the stage is stored.
        base_rates: learning rate of each optimizer group before the schedule.
        network: network that the steps call; set when the stage begins, after a checkpoint is loaded.
        value: the step as a function of batch and progress; set with the network.
        faster: surroundings of the forward pass of a batch of so many images (`engine.variants`).
        average: moving average of the network's weights, where the stage takes one.
        device_rates: the learning rates on the device, where steps are recorded; None: they are numbers in Python.
        rates: learning rate of each optimizer group as `set_rates` has set it.
    """

    index: int
    stage: Stage
    key: str
    loss: nn.Module
    optimizer: Any
    base_rates: list[float]
    network: Any = None
    value: Any = None
    faster: Callable[[int], AbstractContextManager[Any]] = nullcontext
    average: WeightAverage | None = None
    device_rates: DeviceRates | None = None
    rates: list[float] = field(default_factory=list)

    @property
    def weights_of_the_end(self) -> AbstractContextManager[None]:
        """Inside the `with` block the network has the weights that the stage would end with: the averaged ones, if any."""
        return nullcontext() if self.average is None else self.average.in_use()

    def set_rates(self, progress: Progress) -> None:
        """Sets the learning rate of each optimizer group as the schedule says."""
        factor = self.stage.schedule(progress)
        self.rates = [base * factor for base in self.base_rates]
        if self.device_rates is not None:
            return self.device_rates.write(factor)
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate
        return None

    def hold_rates(self, device: torch.device) -> None:
        """Puts the learning rates on the device, if the optimizer reads them there, so that a recording outlives a change."""
        if takes_device_rates(self.optimizer):
            self.device_rates = DeviceRates(self.optimizer, self.base_rates, device)


def begin_stage(model: Classifier, experiment: Experiment, stage_index: int, device: torch.device) -> StageWork:
    """Builds a new loss and a new optimizer for the stage."""
    stage = experiment.recipe.stages[stage_index]
    loss = new_loss(model, experiment, stage_index).to(device)
    optimizer = new_optimizer(stage, parameter_groups(model, loss, stage), device)
    rates = [group["lr"] for group in optimizer.param_groups]
    average = None
    if stage.average:
        steps = stage.epochs * steps_of(stage, len(experiment.data.train))
        average = WeightAverage(model, steps=stage.average * steps)
    return StageWork(stage_index, stage, experiment.key(stage_index + 1), loss, optimizer, rates, average=average)


def fast_network(model: Classifier, stage: Stage, precision: str) -> Classifier:
    """Network that the steps of a stage call: the model, or its head on a folded copy of a backbone that is frozen."""
    if stage.batch_norm != "eval" or not is_frozen(model.backbone):
        return model
    dtype = torch.bfloat16 if precision == "bf16-mixed" else next(model.parameters()).dtype
    return Classifier(folded(model.backbone, dtype=dtype), model.head, model.projection)


@contextmanager
def seeded(*parts: int) -> Iterator[None]:
    """Seeds torch's global generators inside the context, and restores them afterwards."""
    with own_random_numbers(epoch_seed(*parts)):
        yield
