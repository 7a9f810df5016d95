"""One epoch of a stage: its steps, and what the log says of it."""

from __future__ import annotations

import time

from torch import Tensor

from longtail.data.loaders import Chunk
from longtail.engine.batches import batch_of, epoch_chunks, epoch_indices, layers_seeded, not_finite, seed_epoch, steps_of
from longtail.engine.building import StageWork
from longtail.engine.loop import Entry, Loop
from longtail.engine.replay import Advance
from longtail.errors import TrainingFailed
from longtail.losses.contract import set_class_weights
from longtail.weighting import Progress


def run_epoch(loop: Loop, work: StageWork, epoch: int) -> Entry:
    """Trains one epoch and returns its entry of the history; nothing is read back from the device before the epoch ends."""
    began = time.perf_counter()
    begin_epoch(loop, work, epoch)
    indices = epoch_indices(loop.experiment, work.index, epoch, work.stage.resample)
    process = (loop.compute.rank + 1,) if loop.compute.world > 1 else ()
    with layers_seeded(loop.experiment, work.index, epoch, *process):
        run_steps(loop, work, epoch, indices)
    return entry_of(loop, work, epoch, indices, began)


def entry_of(loop: Loop, work: StageWork, epoch: int, indices: Tensor, began: float) -> Entry:
    """The entry of an epoch whose steps are queued, once they and the files of the epoch before are done.

    Args:
        indices: indices of the images of the epoch.
        began: when it began, as `time.perf_counter` tells.

    Raises:
        TrainingFailed: a loss is not finite.
    """
    loop.writer.wait()
    if (bad := int(loop.tally.bad.item())) >= 0:
        raise TrainingFailed(not_finite(loop.experiment, work.index, epoch, bad, indices))
    seconds = time.perf_counter() - began
    loss = loop.tally.total.item() / steps_of(work.stage, len(indices))
    entry = {"stage": work.index, "epoch": epoch, "loss": loss, "learning_rate": work.rates[0]}
    return {**entry, "seconds": round(seconds, 3), "images_per_second": round(len(indices) / seconds, 1)}


def run_steps(loop: Loop, work: StageWork, epoch: int, indices: Tensor) -> None:
    """Takes one optimizer step per batch, recorded and replayed where the loop has a replay."""
    steps = steps_of(work.stage, len(indices))
    advance = one_step(loop, work)
    if loop.replay is not None:
        advance = loop.replay.begin(work.index, advance, (work.network, work.loss, work.optimizer), loop.generator)
    for step, chunk in enumerate(epoch_chunks(loop.experiment, loop.feed, work.index, epoch, loop.compute, indices)):
        progress = Progress(epoch, work.stage.epochs, step, steps)
        if work.device_rates is not None:
            work.set_rates(progress)
        advance(chunk, progress)
        if loop.watch is not None:
            loop.watch(work.index, progress)


def begin_epoch(loop: Loop, work: StageWork, epoch: int) -> None:
    """Sets the random numbers, learning rates, class weights of the loss, and modes of the modules for an epoch that begins."""
    stage, progress = work.stage, Progress(epoch, work.stage.epochs)
    seed_epoch(loop.experiment, work.index, epoch, loop.generator)
    if loop.compute.world > 1:
        seed_epoch(loop.experiment, work.index, epoch, loop.own_generator, loop.compute.rank + 1)
    loop.tally.restart()
    work.set_rates(progress)
    set_class_weights(work.loss, stage.reweight(loop.experiment.data.class_counts, progress))
    work.network.train()
    if stage.batch_norm == "eval":
        work.network.backbone.eval()


def one_step(loop: Loop, work: StageWork) -> Advance:
    """Returns the function that trains on one batch: augmentation, forward, backward, optimizer step, and the loss tallied."""

    def advance(chunk: Chunk, progress: Progress) -> None:
        if work.device_rates is None:
            work.set_rates(progress)
        batch = batch_of(loop.experiment, loop.feed, work.index, chunk, loop.generator, loop.own_generator)
        with loop.compute.autocast(), work.faster(len(batch.labels)):
            value = work.value(batch, progress)
        loop.compute.backward(value)
        loop.compute.step(work.optimizer)
        work.optimizer.zero_grad()
        if work.average is not None:
            work.average.update()
        loop.tally.add(value.detach())

    return advance
