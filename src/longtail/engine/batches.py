"""The images of an epoch and its batches, as a pure function of experiment, stage and epoch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from longtail.data.loaders import Batch, Feed
from longtail.sampling import EpochSampler, Stream, epoch_seed
from longtail.spec.experiment import Experiment
from longtail.spec.recipe import Stage
from longtail.weighting import Rule

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def epoch_indices(
    experiment: Experiment, stage_index: int, epoch: int, fabric: Fabric, rule: Rule, *, stream: Stream = Stream.DRAW
) -> Tensor:
    """Indices (M,) of this process's training images in one epoch, drawn by `rule`. Random streams are independent."""
    sampler = EpochSampler(
        experiment.data.train.labels,
        rule=rule,
        seed=epoch_seed(experiment.seed, stage_index, stream),
        epochs=experiment.recipe.stages[stage_index].epochs,
        rank=fabric.global_rank,
        world=fabric.world_size,
    )
    sampler.epoch = epoch
    return sampler.indices()


def epoch_batches(
    experiment: Experiment, feed: Feed, stage_index: int, epoch: int, fabric: Fabric, indices: Tensor
) -> Iterator[Batch]:
    """Yields augmented batches; random numbers depend on seed, stage and epoch alone, so a resumed run continues exactly."""
    stage = experiment.recipe.stages[stage_index]
    generator = torch.Generator(fabric.device).manual_seed(epoch_seed(experiment.seed, stage_index, Stream.BATCHES, epoch))
    companion = None
    if stage.companion is not None:
        companion = epoch_indices(experiment, stage_index, epoch, fabric, stage.companion, stream=Stream.COMPANION)
    return feed.batches(
        indices,
        stage.batch_size,
        augment=(*experiment.setting.augment, *stage.augment),
        generator=generator,
        drop_last=stage.drop_last,
        views=stage.views,
        companion=companion,
    )


def steps_of(stage: Stage, images: int) -> int:
    """Number of batches in an epoch of `images` images, at least one."""
    whole = images // stage.batch_size if stage.drop_last else math.ceil(images / stage.batch_size)
    return max(whole, 1)


def not_finite(experiment: Experiment, stage_index: int, epoch: int, step: int, indices: Tensor) -> str:
    """Error message for a loss that is infinite or nan: which batch, which classes are in it, and what to try."""
    stage, data = experiment.recipe.stages[stage_index], experiment.data
    shown = data.train.labels[torch.split(indices, stage.batch_size)[step].numpy()]
    names = ", ".join(data.classes[label] for label in sorted(set(shown.tolist())))
    return (
        f"The loss is not finite in stage {stage_index + 1}, epoch {epoch + 1}, batch {step + 1} (classes in it: {names}). "
        f"The last good epoch is kept. Try a lower learning rate (`changes={{'stages.{stage_index}.optimizer.lr': 0.01}}`), "
        f"`precision=32-true`, or a smaller loss scale; `longtail inspect` finds broken images."
    )
