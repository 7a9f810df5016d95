"""Several networks trained in one process, a step of all of them at a time.

Each network has images, random numbers, a loss and an optimizer's state of its own, so it becomes what it would be alone: to the
bit where the steps are branches (`side_by_side`), up to rounding where the networks are computed as one (`engine.stacked`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor

from longtail.data.loaders import Chunk
from longtail.engine.batches import epoch_chunks, epoch_indices, layers_seeded, steps_of
from longtail.engine.building import StageWork
from longtail.engine.epochs import begin_epoch, entry_of, one_step
from longtail.engine.loop import Entry, Loop
from longtail.engine.replay import Advance, Replay
from longtail.weighting import Progress

Member = tuple[Loop, StageWork]  # a network and the stage that it is in
Value = TypeVar("Value")


def train_epoch(members: Sequence[Member], advance: Advance, epoch: int, replay: Replay | None = None) -> list[Entry | Exception]:
    """Trains all networks for one epoch, and returns the entry of each, or its error.

    Layers that draw random numbers of their own (dropout) draw one after the other from one generator, so such networks are
    not equal to the bit to the same ones trained alone.

    Args:
        members: networks at the same epoch of stages whose batches are cut alike, of images in memory; with `Stacked` they have
            one recipe. The watch of each is called.
        advance: takes one step of all networks, from `side_by_side` or `Stacked`, on their chunks one behind the other.
        epoch: index of the epoch.
        replay: records the steps. None: they run directly.
    """
    began = time.perf_counter()
    for each in members:
        begin_epoch(*each, epoch)
    indices = [epoch_indices(loop.experiment, work.index, epoch, work.stage.resample) for loop, work in members]
    if replay is not None:
        parts = [part for _, each in members for part in (each.network, each.loss, each.optimizer)]
        advance = replay.begin(members[0][1].index, advance, parts, tuple(each.generator for each, _ in members))
    with layers_seeded(members[0][0].experiment, members[0][1].index, epoch):
        run_joint_steps(members, advance, epoch, indices)
    return [value_or_error(partial(entry_of, *each, epoch, own, began)) for each, own in zip(members, indices, strict=True)]


def run_joint_steps(members: Sequence[Member], advance: Advance, epoch: int, indices: Sequence[Tensor]) -> None:
    """Takes the steps of an epoch of all networks."""
    work = members[0][1]
    steps = steps_of(work.stage, len(indices[0]))
    for step, chunks in enumerate(zip(*map(chunks_of(epoch), members, indices), strict=True)):
        progress = Progress(epoch, work.stage.epochs, step, steps)
        for _, each in members:
            if each.device_rates is not None:
                each.set_rates(progress.of(each.stage.epochs))
        advance(Chunk(torch.cat([chunk.indices for chunk in chunks]), len(members) * chunks[0].size), progress)
        for loop, each in members:
            if loop.watch is not None:
                loop.watch(each.index, progress.of(each.stage.epochs))


def chunks_of(epoch: int) -> Callable[[Member, Tensor], Iterator[Chunk]]:
    """The function that gives the chunks of an epoch of one network."""

    def chunks(member: Member, indices: Tensor) -> Iterator[Chunk]:
        loop, work = member
        return epoch_chunks(loop.experiment, loop.feed, work.index, epoch, loop.compute, indices)

    return chunks


def value_or_error(make: Callable[[], Value]) -> Value | Exception:
    """What `make` returns, or the error that it raises, so that it ends one network and not those beside it."""
    try:
        return make()
    except Exception as error:
        return error


def side_by_side(members: Sequence[Member]) -> Advance:
    """Steps that are branches of one: on a GPU each on a stream of its own, so that small kernels share the device."""
    device = members[0][0].compute.device
    advances = [one_step(loop, work) for loop, work in members]
    streams: list[Any] = [torch.cuda.Stream(device) for _ in members if device.type == "cuda"]  # type: ignore[no-untyped-call]

    def advance(joint: Chunk, progress: Progress) -> None:
        places = [progress.of(work.stage.epochs) for _, work in members]
        steps = list(map(partial, advances, parts_of(joint, members), places))
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


def parts_of(joint: Chunk, members: Sequence[Member]) -> list[Chunk]:
    """The chunks of the networks, which have a batch of the same size each, and some a companion of that size."""
    size = joint.size // len(members)
    shares = [size if work.stage.companion is None else 2 * size for _, work in members]
    return [Chunk(indices, size) for indices in torch.split(joint.indices, shares)]
