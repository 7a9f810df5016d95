"""The training loop: stages, epochs, steps, checkpoints. It has no code for a particular method; the recipe describes it."""

from __future__ import annotations

import time
from typing import Any

from torch import Tensor

from longtail.data.loaders import Chunk, Feed
from longtail.engine.batches import batch_of, check_parts, epoch_chunks, epoch_indices, not_finite, seed_epoch, steps_of
from longtail.engine.building import StageWork, begin_stage, check_stages, enter_stage, fast_network, new_model, on_device
from longtail.engine.checkpoints import continued, end_stage, load_stage, save_epoch
from longtail.engine.compute import Compute
from longtail.engine.evaluation import judged_epoch
from longtail.engine.loop import History, Loop, Watch
from longtail.engine.replay import Advance, Replay
from longtail.engine.variants import FastStep
from longtail.engine.whole_step import WholeStep, averaged
from longtail.errors import TrainingFailed
from longtail.losses.contract import set_class_weights
from longtail.memory import keep_freed_memory
from longtail.networks.classifier import Classifier
from longtail.runs.run import Run
from longtail.spec.experiment import Experiment
from longtail.weighting import Progress


def train_stages(
    experiment: Experiment,
    run: Run,
    compute: Compute,
    *,
    watch: Watch | None = None,
    replay: Replay | None = None,
    fast: tuple[str, ...] = (),
) -> tuple[Classifier, History]:
    """Trains all stages, continuing where an earlier call was cut off, and returns the model and one entry per epoch."""
    keep_freed_memory()
    model = on_device(new_model(experiment), compute)
    check_stages(model, experiment)
    check_parts(experiment, compute.world)
    feed = Feed(experiment.data.train, experiment.data, compute.device)
    loop = Loop(experiment, model, feed, run, compute, watch, replay, fast)
    history: History = []
    with loop.writer:
        for stage_index in range(len(experiment.recipe.stages)):
            history = run_stage(loop, stage_index, history)
    return model, history


def run_stage(loop: Loop, stage_index: int, history: History) -> History:
    """Loads the stored end of a stage, or trains the stage, and returns the history with its epochs.

    While another process trains the same stage, this one waits for it.
    """
    enter_stage(loop.model, loop.experiment, stage_index)
    key = loop.experiment.key(stage_index + 1)
    stored = load_stage(loop, key)
    if stored is not None:
        return stored
    with loop.stage_locked(key):
        stored = load_stage(loop, key)
        return train_stage(loop, stage_index, history) if stored is None else stored


def train_stage(loop: Loop, stage_index: int, history: History) -> History:
    """Trains one stage from its start or its last checkpoint, with a checkpoint after every epoch but the last."""
    work = begin_stage(loop.model, loop.experiment, stage_index, loop.compute.device)
    first, history = continued(loop, work, history)
    make_ready(loop, work)
    for epoch in range(first, work.stage.epochs):
        entry = run_epoch(loop, work, epoch)
        loop.compute.equalise(work.network)
        with work.weights_of_the_end:
            entry |= judged_epoch(work.network, loop.experiment, stage_index, epoch, loop.compute)
        history = [*history, entry]
        save_epoch(loop, work, epoch, history)
    end_stage(loop, work, history)
    return history


def make_ready(loop: Loop, work: StageWork) -> None:
    """Gives a stage what its steps call, after a checkpoint is loaded: the network, and the function from a batch to the loss."""
    if loop.replay is not None or loop.compute.device.type == "cuda":
        work.hold_rates(loop.compute.device)
    work.network = fast_network(loop.model, work.stage, loop.experiment.precision)
    work.faster = FastStep(work.network, loop.fast, batch_size=work.stage.batch_size)
    step = WholeStep(work.network, work.loss, work.stage.step, synchronised=loop.compute.synchronised)
    work.value = averaged(step)


def run_epoch(loop: Loop, work: StageWork, epoch: int) -> dict[str, Any]:
    """Trains one epoch and returns its entry of the history; nothing is read back from the device before the epoch ends."""
    began = time.perf_counter()
    begin_epoch(loop, work, epoch)
    indices = epoch_indices(loop.experiment, work.index, epoch, work.stage.resample)
    run_steps(loop, work, epoch, indices)
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
        advance = loop.replay.begin(work.index, advance, (work.network, work.loss), loop.generator)
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
