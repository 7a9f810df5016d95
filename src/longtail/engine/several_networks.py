"""Several networks of one method trained in one process, a step of all of them at a time.

Each network has images, random numbers, a loss and an optimizer's state of its own, so it becomes what it would be alone: to the
bit where the steps are branches (`side_by_side`), up to rounding where the networks are computed as one (`Stacked`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call, stack_module_state, vmap

from longtail.data.loaders import Batch, Chunk
from longtail.engine.batches import batch_of, epoch_chunks, epoch_indices, steps_of
from longtail.engine.building import StageWork
from longtail.engine.loop import Loop
from longtail.engine.optimizers import new_optimizer
from longtail.engine.replay import Advance, Replay
from longtail.engine.training import begin_epoch, one_step
from longtail.errors import UserError
from longtail.steps import apply_loss, classify, mixed_images, mixed_losses, mixup
from longtail.weighting import Progress

Member = tuple[Loop, StageWork]  # a network and the stage that it is in


def train_epoch(members: Sequence[Member], advance: Advance, epoch: int, replay: Replay | None = None) -> None:
    """Trains all networks for one epoch; what `advance` takes is the chunks of all, one behind the other.

    Args:
        members: networks in the same stage of the same recipe, on the same number of images in memory.
        advance: takes one step of all networks, from `side_by_side` or `Stacked`.
        epoch: index of the epoch.
        replay: records the steps. None: they run directly.
    """
    for loop, work in members:
        begin_epoch(loop, work, epoch)
    loop, work = members[0]
    if replay is not None:
        parts = [part for _, each in members for part in (each.network, each.loss)]
        advance = replay.begin(work.index, advance, parts, tuple(each.generator for each, _ in members))
    steps = steps_of(work.stage, len(loop.experiment.data.train))
    for step, chunks in enumerate(zip(*(chunks_of(*member, epoch) for member in members), strict=True)):
        joint = Chunk(torch.cat([chunk.indices for chunk in chunks]), len(members) * chunks[0].size)
        advance(joint, Progress(epoch, work.stage.epochs, step, steps))


def chunks_of(loop: Loop, work: StageWork, epoch: int) -> Iterator[Chunk]:
    """The chunks of one network's epoch."""
    indices = epoch_indices(loop.experiment, work.index, epoch, work.stage.resample)
    return epoch_chunks(loop.experiment, loop.feed, work.index, epoch, loop.compute, indices)


def side_by_side(members: Sequence[Member]) -> Advance:
    """Steps that are branches of one: on a GPU each on a stream of its own, so that small kernels share the device."""
    device = members[0][0].compute.device
    advances = [one_step(loop, work) for loop, work in members]
    streams: list[Any] = [torch.cuda.Stream(device) for _ in members if device.type == "cuda"]  # type: ignore[no-untyped-call]

    def advance(joint: Chunk, progress: Progress) -> None:
        parts = parts_of(joint, len(members))
        steps = [partial(own, part, progress) for own, part in zip(advances, parts, strict=True)]
        if streams:
            in_branches(steps, streams)
        else:
            for step in steps:
                step()

    return advance


def in_branches(steps: Sequence[Callable[[], None]], streams: Sequence[Any]) -> None:
    """Calls each function on a stream of its own; the present stream goes on when all are done."""
    here: Any = torch.cuda.current_stream()
    for stream, step in zip(streams, steps, strict=True):
        stream.wait_stream(here)
        with torch.cuda.stream(stream):
            step()
    for stream in streams:
        here.wait_stream(stream)


def parts_of(joint: Chunk, count: int) -> list[Chunk]:
    """The chunks of the networks."""
    return [Chunk(indices, joint.size // count) for indices in joint.indices.chunk(count)]


class Stacked:
    """Steps of networks whose backbones are computed as one, with grouped convolutions; heads and losses remain each network's.

    Args:
        members: networks in a stage that trains all parameters at one rate, with the step `classify` or `mixup`.

    Raises:
        UserError: the stage is another one.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        (loop, work), self.members = members[0], members
        self.alpha = alpha_of(work)
        self.backbones = [each.network.backbone for _, each in members]
        self.parameters, self.buffers = stack_module_state(self.backbones)
        heads = [parameter for _, each in members for part in (each.network.head, each.loss) for parameter in part.parameters()]
        rate = work.optimizer.param_groups[0]["lr"]
        groups = [{"params": [*self.parameters.values(), *heads], "lr": rate}]
        self.optimizer = new_optimizer(work.stage, groups, loop.compute.device)
        self.features = vmap(partial(functional_call, self.backbones[0]))

    def __call__(self, joint: Chunk, progress: Progress) -> None:
        """Takes one step of all networks."""
        loop, work = self.members[0]
        self.optimizer.param_groups[0]["lr"] = work.optimizer.param_groups[0]["lr"]
        batches = [
            batch_of(each.experiment, each.feed, work.index, part, each.generator)
            for (each, _), part in zip(self.members, parts_of(joint, len(self.members)), strict=True)
        ]
        with loop.compute.autocast():
            values = self.losses(batches)
        loop.compute.backward(torch.stack(values).sum())
        loop.compute.step(self.optimizer)
        self.optimizer.zero_grad()
        for (each, _), value in zip(self.members, values, strict=True):
            each.tally.add(value.detach())

    def losses(self, batches: Sequence[Batch]) -> list[Tensor]:
        """The loss of each network on its batch."""
        mixes = [None if self.alpha is None else mixed_images(batch, self.alpha) for batch in batches]
        images = torch.stack([batch.images if mix is None else mix[2] for batch, mix in zip(batches, mixes, strict=True)])
        features = self.features((self.parameters, self.buffers), (images,))
        values = []
        for (_, work), own, batch, mix in zip(self.members, features, batches, mixes, strict=True):
            logits = work.network.head(own)
            if mix is None:
                values.append(apply_loss(work.loss, logits, batch.labels, batch.generator))
            else:
                values.append(mixed_losses(work.loss, logits, batch, *mix[:2]))
        return values

    @torch.no_grad()
    def give_back(self) -> None:
        """Copies the weights and the statistics back to the networks."""
        for name, stacked in (*self.parameters.items(), *self.buffers.items()):
            for backbone, own in zip(self.backbones, stacked, strict=True):
                owner, _, last = name.rpartition(".")
                getattr(backbone.get_submodule(owner), last).copy_(own)


def alpha_of(work: StageWork) -> float | None:
    """The alpha of a stage's mixup; None where its step is `classify`.

    Raises:
        UserError: the stage has another step, trains a part of the network or has several learning rates.
    """
    step: Callable[..., Any] = getattr(work.stage.step, "func", work.stage.step)
    if step not in (classify, mixup) or len(work.optimizer.param_groups) > 1 or work.stage.batch_norm != "train":
        raise UserError("Networks can be stacked in stages that train all parameters at one rate, by the step classify or mixup.")
    return None if step is classify else getattr(work.stage.step, "keywords", {}).get("alpha", 1.0)
