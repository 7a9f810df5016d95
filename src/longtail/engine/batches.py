"""The images of an epoch and its batches, as a pure function of experiment, stage and epoch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from longtail.data.crops import crops_from_files
from longtail.data.loaders import Batch, Chunk, Feed, cut
from longtail.data.transforms import Transform
from longtail.engine.compute import Compute
from longtail.errors import TrainingFailed, UserError
from longtail.results import counted
from longtail.sampling import EpochSampler
from longtail.spec.experiment import Experiment
from longtail.spec.recipe import Stage
from longtail.streams import Stream, epoch_seed, seeded_generators
from longtail.weighting import Rule

NO_SEEDS = torch.empty(2, 0)  # where crops are not read, but the augmentations that follow them are asked for


def epoch_indices(experiment: Experiment, stage_index: int, epoch: int, rule: Rule, *, stream: Stream = Stream.DRAW) -> Tensor:
    """Indices (M,) of all training images of one epoch, drawn by `rule`. Random streams are independent."""
    sampler = EpochSampler(
        experiment.data.train.labels,
        rule=rule,
        seed=epoch_seed(experiment.seed, stage_index, stream),
        epochs=experiment.recipe.stages[stage_index].epochs,
        rank=0,
        world=1,
    )
    sampler.epoch = epoch
    return sampler.indices()


def epoch_chunks(
    experiment: Experiment, feed: Feed, stage_index: int, epoch: int, compute: Compute, indices: Tensor
) -> Iterator[Chunk]:
    """Yields what `batch_of` makes the batches of an epoch from; of each batch, several processes have a part."""
    stage = experiment.recipe.stages[stage_index]
    seeds = crop_seeds(experiment, stage_index, epoch)
    crops, _ = crops_from_files(experiment.data, augmentations(experiment, stage), seeds, views=stage.views)
    companion = None
    if stage.companion is not None:
        companion = epoch_indices(experiment, stage_index, epoch, stage.companion, stream=Stream.COMPANION)
    which: Any = {"drop_last": stage.drop_last, "training": True, "companion": companion, "crops": crops}
    return feed.chunks(indices, stage.batch_size, share=(compute.rank, compute.world), **which)


def batch_of(
    experiment: Experiment,
    feed: Feed,
    stage_index: int,
    chunk: Chunk,
    generator: torch.Generator,
    own: torch.Generator | None = None,
) -> Batch:
    """The augmented batch of a chunk, with random numbers of generators that `seed_epoch` has seeded.

    Args:
        generator: source of random numbers that hold for the batch of all processes.
        own: source of random numbers for images of this process alone. None: `generator`.
    """
    stage = experiment.recipe.stages[stage_index]
    _, augment = crops_from_files(experiment.data, augmentations(experiment, stage), NO_SEEDS)
    batch = feed.batch(chunk, augment=augment, generator=own or generator, views=stage.views)
    if own is None or own is generator:
        return batch
    second = None if batch.companion is None else replace(batch.companion, generator=generator)
    return replace(batch, generator=generator, own_generator=own, images_of_all=chunk.images_of_all, companion=second)


def augmentations(experiment: Experiment, stage: Stage) -> tuple[Transform, ...]:
    """The augmentations of a stage: the setting's, then its own."""
    return (*experiment.setting.augment, *stage.augment)


def seed_epoch(experiment: Experiment, stage_index: int, epoch: int, generator: torch.Generator, *process: int) -> None:
    """Seeds a generator of batches and steps by seed, stage and epoch alone, so that a resumed run continues exactly.

    Args:
        process: number of the process, for a generator of its own.
    """
    generator.manual_seed(epoch_seed(experiment.seed, stage_index, Stream.BATCHES, epoch, *process))


def layers_seeded(experiment: Experiment, stage_index: int, epoch: int, *process: int) -> AbstractContextManager[None]:
    """Inside the context, what layers draw from torch's global generators depends on seed, stage and epoch alone, as above."""
    return seeded_generators(epoch_seed(experiment.seed, stage_index, Stream.LAYERS, epoch, *process))


def check_parts(experiment: Experiment, world: int) -> None:
    """Refuses more processes than images of a batch.

    Raises:
        UserError: a process would have no image of a batch, which the message names.
    """
    for index, stage in enumerate(experiment.recipe.stages):
        smallest = min(batch_sizes(stage, len(experiment.data.train)))
        if smallest < world:
            raise UserError(
                f"A batch of stage {index + 1} has {counted(smallest, 'image')} for {world} processes: start fewer, or take "
                f"another batch size (`changes={{'stages.{index}.batch_size': {stage.batch_size + world}}}`)."
            )


def crop_seeds(experiment: Experiment, stage_index: int, epoch: int) -> Tensor:
    """A number for each position in the epoch, and for each in its companion draw (2, M), from which a crop is drawn."""
    generator = torch.Generator().manual_seed(epoch_seed(experiment.seed, stage_index, Stream.CROPS, epoch))
    return torch.randint(2**63 - 1, (2, len(experiment.data.train)), generator=generator)


def steps_of(stage: Stage, images: int) -> int:
    """Number of batches in an epoch of `images` images, at least one."""
    return max(len(batch_sizes(stage, images)), 1)


def batch_sizes(stage: Stage, images: int) -> list[int]:
    """Sizes of the batches of an epoch of `images` images."""
    return cut(images, stage.batch_size, drop_last=stage.drop_last, training=True)


@contextmanager
def naming_lone_images() -> Iterator[None]:
    """Turns torch's error on a batch norm that is given a single number per channel into one sentence.

    Raises:
        TrainingFailed: a batch has one image, and the network's last map is 1 x 1.
    """
    try:
        yield
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise TrainingFailed(
            "A batch of one image cannot be trained on: the network normalises each channel over the images of a batch, and its "
            "last map has a single pixel. Give more images, a larger batch (`changes={'stages.0.batch_size': 8}`) or larger "
            "images (`size=64`)."
        ) from error


def not_finite(experiment: Experiment, stage_index: int, epoch: int, step: int, indices: Tensor) -> str:
    """Error message for a loss that is infinite or nan: which batch, which classes are in it, and what to try."""
    stage, data = experiment.recipe.stages[stage_index], experiment.data
    sizes = batch_sizes(stage, len(indices))
    shown = data.train.labels[torch.split(indices[: sum(sizes)], sizes)[step].numpy()]
    names = ", ".join(data.classes[label] for label in sorted(set(shown.tolist())))
    return (
        f"The loss is not finite in stage {stage_index + 1}, epoch {epoch + 1}, batch {step + 1} (classes in it: {names}). "
        f"The last good epoch is kept. Try a lower learning rate (`changes={{'stages.{stage_index}.optimizer.lr': 0.01}}`), "
        f"`precision=32-true`, or a smaller loss scale; `longtail inspect` finds broken images."
    )
