"""The loop: stages, epochs, checkpoints. It knows no method; a recipe tells it everything."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from longtail.data.loaders import Batch, Feed
from longtail.engine.building import enter_stage, fast_network, new_loss, new_model, new_optimizer, on_device, parameter_groups
from longtail.engine.evaluation import per_epoch_recalls
from longtail.engine.replay import Replay, Tally
from longtail.errors import MissingFileError, TrainingFailed
from longtail.inference import as_trained, reference_of
from longtail.networks.classifier import Classifier
from longtail.runs.run import Run
from longtail.sampling import EpochSampler, epoch_seed
from longtail.schedules import first_drop
from longtail.spec.experiment import Experiment
from longtail.spec.recipe import Stage
from longtail.weighting import Progress, Rule

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Watch = Callable[[int, Progress], None]
History = list[dict[str, Any]]


@dataclass(frozen=True)
class Loop:
    """What every part of the loop needs: the experiment, its network and images, and where it runs."""

    experiment: Experiment
    model: Classifier
    feed: Feed
    run: Run
    fabric: Fabric
    watch: Watch | None = None
    replay: Replay | None = None


def train(
    experiment: Experiment, run: Run, fabric: Fabric, *, watch: Watch | None = None, replay: Replay | None = None
) -> tuple[Classifier, History]:
    """Trains all stages, continuing where an earlier call was cut off, and returns the model and one entry per epoch."""
    model = on_device(new_model(experiment), fabric)
    feed = Feed(experiment.data.train, experiment.data, fabric.device)
    loop = Loop(experiment, model, feed, run, fabric, watch, replay)
    history: History = []
    for stage_index in range(len(experiment.recipe.stages)):
        history = run_stage(loop, stage_index, history)
    return model, history


def run_stage(loop: Loop, stage_index: int, history: History) -> History:
    """One stage from its start, its last checkpoint or its stored end, whatever there is."""
    experiment, model, run = loop.experiment, loop.model, loop.run
    stage, key = experiment.recipe.stages[stage_index], experiment.key(stage_index + 1)
    enter_stage(model, experiment, stage_index)
    stored = run.load_stage(key)
    if stored is not None:
        model.load_state_dict(stored["model"])
        run.write_log(stored["history"], new=len(stored["history"]))
        return list(stored["history"])
    loss = new_loss(model, experiment, stage_index).to(loop.fabric.device)
    optimizer = new_optimizer(stage, parameter_groups(model, loss, stage), loop.fabric.device)
    base = [group["lr"] for group in optimizer.param_groups]
    parts: dict[str, Any] = {"model": model, "loss": loss, "optimizer": optimizer}
    first, history = continued(loop, stage, key, parts, history)
    wrapped, optimizer = loop.fabric.setup(fast_network(model, stage, experiment.precision), optimizer)
    rule = experiment.recipe.inference if stage_index == len(experiment.recipe.stages) - 1 else as_trained
    judged = experiment.protocol == "paper" and reference_of(rule) != "val"
    judged_from = first_drop(stage.schedule, stage.epochs) if judged else stage.epochs
    for epoch in range(first, stage.epochs):
        rate = stage.schedule(Progress(epoch, stage.epochs))
        for group, lr in zip(optimizer.param_groups, base, strict=True):
            group["lr"] = lr * rate
        entry = run_epoch(loop, stage_index, epoch, wrapped, loss, optimizer)
        if epoch >= judged_from:
            entry["test_recalls"] = per_epoch_recalls(wrapped, rule, experiment.data, loop.fabric)
        history = [*history, entry]
        run.write_log(history)
        if epoch < stage.epochs - 1:
            states = {name: part.state_dict() for name, part in parts.items()}
            run.save_state({"key": key, "epoch": epoch, "history": history, **states})
    model.head.get_buffer("scale").fill_(getattr(loss, "scale", 1.0))
    run.save_stage(key, {"model": model.state_dict(), "history": history})
    run.drop_state()
    return history


def continued(loop: Loop, stage: Stage, key: str, parts: dict[str, Any], history: History) -> tuple[int, History]:
    """The epoch to begin with and the history before it; from a checkpoint of this stage everything is restored."""
    state = loop.run.load_state()
    if state is None or state["key"] != key:
        if stage.start is not None:
            stage.start(loop.model, parts["loss"], loop.experiment.data)
        return 0, history
    for name, part in parts.items():
        part.load_state_dict(state[name])
    return state["epoch"] + 1, list(state["history"])


def run_epoch(loop: Loop, stage_index: int, epoch: int, model: Any, loss: nn.Module, optimizer: Any) -> dict[str, Any]:
    """One pass; nothing is read back from the device before its end."""
    experiment, fabric, began = loop.experiment, loop.fabric, time.perf_counter()
    stage = experiment.recipe.stages[stage_index]
    loss.get_buffer("weight").copy_(stage.reweight(experiment.data.class_counts, Progress(epoch, stage.epochs)))
    model.train()
    if stage.batch_norm == "eval":
        model.backbone.eval()
    indices = epoch_indices(experiment, stage_index, epoch, fabric, stage.resample)
    steps = len(indices) // stage.batch_size if stage.drop_last else math.ceil(len(indices) / stage.batch_size)
    tally = Tally(fabric.device)

    def advance(batch: Batch, progress: Progress) -> None:
        with fabric.autocast():
            value = stage.step(model, loss, batch, progress)
        fabric.backward(value)
        optimizer.step()
        optimizer.zero_grad()
        tally.add(value.detach())

    advanced = advance if loop.replay is None else loop.replay.begin(stage_index, advance)
    for step, batch in enumerate(epoch_batches(loop, stage_index, epoch, indices)):
        progress = Progress(epoch, stage.epochs, step, max(steps, 1))
        advanced(batch, progress)
        if loop.watch is not None:
            loop.watch(stage_index, progress)
    bad = int(tally.bad.item())
    if bad >= 0:
        raise TrainingFailed(_not_finite(experiment, stage_index, epoch, bad, indices))
    seconds = time.perf_counter() - began
    rate = optimizer.param_groups[0]["lr"]
    entry = {"stage": stage_index, "epoch": epoch, "loss": tally.total.item() / max(steps, 1), "learning_rate": rate}
    return {**entry, "seconds": round(seconds, 3), "images_per_second": round(len(indices) / seconds, 1)}


def epoch_indices(experiment: Experiment, stage_index: int, epoch: int, fabric: Fabric, rule: Rule, *, draw: int = 2) -> Tensor:
    """This process's images of one epoch by `rule`; another `draw` is independent of the first."""
    sampler = EpochSampler(
        experiment.data.train.labels,
        rule=rule,
        seed=epoch_seed(experiment.seed, stage_index, draw),
        epochs=experiment.recipe.stages[stage_index].epochs,
        rank=fabric.global_rank,
        world=fabric.world_size,
    )
    sampler.epoch = epoch
    return sampler.indices()


def epoch_batches(loop: Loop, stage_index: int, epoch: int, indices: Tensor) -> Iterator[Any]:
    """Augmented batches; their random numbers depend on seed, stage and epoch alone, so a resumed run continues exactly."""
    experiment, stage = loop.experiment, loop.experiment.recipe.stages[stage_index]
    generator = torch.Generator(loop.fabric.device).manual_seed(epoch_seed(experiment.seed, stage_index, 3, epoch))
    companion = None
    if stage.companion is not None:
        companion = epoch_indices(experiment, stage_index, epoch, loop.fabric, stage.companion, draw=4)
    return loop.feed.batches(
        indices,
        stage.batch_size,
        augment=(*experiment.setting.augment, *stage.augment),
        generator=generator,
        drop_last=stage.drop_last,
        views=stage.views,
        companion=companion,
    )


def trained_until(experiment: Experiment, stage_index: int, run: Run, fabric: Fabric) -> Classifier:
    """The model as it was at the end of stage `stage_index`, from the stored stages.

    Raises:
        MissingFileError: the stage is not stored.
    """
    model = new_model(experiment)
    for earlier in range(stage_index + 1):
        enter_stage(model, experiment, earlier)
    stored = run.load_stage(experiment.key(stage_index + 1))
    if stored is None:
        raise MissingFileError(f"Stage {stage_index + 1} is not stored in '{run.shared}'; train it with the same command again.")
    model.load_state_dict(stored["model"])
    return on_device(model, fabric)


def _not_finite(experiment: Experiment, stage_index: int, epoch: int, step: int, indices: Tensor) -> str:
    stage, data = experiment.recipe.stages[stage_index], experiment.data
    shown = data.train.labels[torch.split(indices, stage.batch_size)[step].numpy()]
    names = ", ".join(data.classes[label] for label in sorted(set(shown.tolist())))
    return (
        f"The loss is not finite in stage {stage_index + 1}, epoch {epoch + 1}, batch {step + 1} (classes in it: {names}). "
        f"The last good epoch is kept. Try a lower learning rate (--set stages.{stage_index}.optimizer.lr=0.01), "
        f"--precision 32-true, or a smaller loss scale; `longtail inspect` finds broken images."
    )
