"""The training loop: stages, epochs, checkpoints. It has no code for a particular method; the recipe describes it.

A training asks for its epochs one after the other, as a generator, so that whoever runs it can train several networks at a time.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, TypeVar, cast

from longtail.data.loaders import Feed
from longtail.engine.batches import check_parts
from longtail.engine.building import StageWork, begin_stage, enter_stage, fast_network, new_model, on_device
from longtail.engine.checkpoints import continued, end_stage, load_stage, save_epoch
from longtail.engine.checks import check_stages
from longtail.engine.compute import Compute
from longtail.engine.epochs import run_epoch
from longtail.engine.evaluation import judged_epoch
from longtail.engine.loop import History, Loop, Watch
from longtail.engine.replay import Replay
from longtail.engine.variants import FastStep
from longtail.engine.whole_step import WholeStep, averaged
from longtail.memory import keep_freed_memory
from longtail.networks.classifier import Classifier
from longtail.runs.run import Run
from longtail.spec.experiment import Experiment

Outcome = TypeVar("Outcome")
Due = tuple[Loop, StageWork, int]  # an epoch that is to be trained next
Training = Generator[Due | None, Any, Outcome]  # is sent the entry of each epoch, for None whether nothing else is to be done


def train_stages(experiment: Experiment, run: Run, compute: Compute, **how: Any) -> tuple[Classifier, History]:
    """Trains all stages, continuing where an earlier call was cut off, and returns the model and one entry per epoch.

    Args:
        how: further arguments of `new_loop`.
    """
    return alone(stages_of(new_loop(experiment, run, compute, **how)))


def alone(training: Training[Outcome]) -> Outcome:
    """Trains the epochs that a training asks for, and returns what it ends with; an error in an epoch is raised inside of it."""
    try:
        due = next(training)
        while True:
            try:
                answer = True if due is None else run_epoch(*due)
            except BaseException as error:
                due = training.throw(error)
            else:
                due = training.send(answer)
    except StopIteration as end:
        return cast(Outcome, end.value)


def new_loop(
    experiment: Experiment,
    run: Run,
    compute: Compute,
    *,
    watch: Watch | None = None,
    replay: Replay | None = None,
    fast: tuple[str, ...] = (),
    feed: Feed | None = None,
) -> Loop:
    """The loop of an experiment that begins, with a new network.

    Args:
        watch: called after each step is queued.
        replay: records the steps; None: they run directly.
        fast: names of `engine.variants`.
        feed: the training images on the device; None: they are put there.

    Raises:
        UserError: a part of the recipe cannot be built, or there are more processes than images of a batch.
    """
    keep_freed_memory()
    model = on_device(new_model(experiment), compute)
    check_stages(model, experiment, compute)
    check_parts(experiment, compute.world)
    feed = feed or Feed(experiment.data.train, experiment.data, compute.device)
    return Loop(experiment, model, feed, run, compute, watch, replay, fast)


def stages_of(loop: Loop) -> Training[tuple[Classifier, History]]:
    """The training of all stages, which continues where an earlier one was cut off; ends with the model and the history."""
    history: History = []
    with loop.writer:
        for stage_index in range(len(loop.experiment.recipe.stages)):
            history = yield from run_stage(loop, stage_index, history)
    return loop.model, history


def run_stage(loop: Loop, stage_index: int, history: History) -> Training[History]:
    """Loads the stored end of a stage, or trains the stage; ends with the history and the epochs of the stage.

    While another training has the same stage, this one asks for nothing; it waits for the lock where nothing else is to be done.
    """
    enter_stage(loop.model, loop.experiment, stage_index)
    key = loop.experiment.key(stage_index + 1)
    stored = load_stage(loop, key)
    if stored is not None:
        return stored
    while loop.stage_in_use(key):
        if (yield None):
            break
    with loop.stage_locked(key):
        stored = load_stage(loop, key)
        return (yield from train_stage(loop, stage_index, history)) if stored is None else stored


def train_stage(loop: Loop, stage_index: int, history: History) -> Training[History]:
    """Trains one stage from its start or its last checkpoint, with a checkpoint after every epoch but the last."""
    work = begin_stage(loop.model, loop.experiment, stage_index, loop.compute.device)
    first, history = continued(loop, work, history)
    make_ready(loop, work)
    for epoch in range(first, work.stage.epochs):
        entry = yield loop, work, epoch
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
