"""The loop: stages, epochs, checkpoints. It knows no method; a recipe tells it everything."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from longtail.data.loaders import Feed
from longtail.data.splits import Data, fingerprint
from longtail.evaluation import per_epoch_recalls
from longtail.heads import ScaledHead
from longtail.models import Classifier
from longtail.recipe import Recipe, Setting, Stage, digest, parameters_of
from longtail.runs import Run
from longtail.sampling import EpochSampler, epoch_seed
from longtail.schedules import first_drop
from longtail.weighting import Progress
from longtail.weights import load_backbone

Watch = Callable[[int, Progress], None]
History = list[dict[str, Any]]


class TrainingFailed(RuntimeError):  # noqa: N818
    """Training cannot go on; the message says where and what to try."""


@dataclass(frozen=True)
class Experiment:
    """Everything that a trained network depends on.

    Args:
        protocol: "clean", or "paper" to read the test set after each epoch from the first drop of the learning rate on.
        precision: Fabric's word, "32-true" or "bf16-mixed".
        weights: file or run folder that the backbone starts from; its hash is part of the setting.
    """

    recipe: Recipe
    setting: Setting
    data: Data
    seed: int = 0
    protocol: str = "clean"
    precision: str = "32-true"
    weights: Path | None = None

    def key(self, stages: int | None = None) -> str:
        """Hash of the experiment, or of its first stages and nothing that comes after them."""
        recipe: Any = self.recipe if stages is None else (self.recipe.head, self.recipe.stages[:stages])
        return digest(recipe, self.setting, self.seed, self.protocol, self.precision, fingerprint(self.data))


@dataclass(frozen=True)
class Loop:
    """What every part of the loop needs: the experiment, its network and images, and where it runs."""

    experiment: Experiment
    model: Classifier
    feed: Feed
    run: Run
    fabric: Fabric
    watch: Watch | None = None


def train(experiment: Experiment, run: Run, fabric: Fabric, *, watch: Watch | None = None) -> tuple[Classifier, History]:
    """Trains all stages, continuing where an earlier call was cut off, and returns the model and one entry per epoch."""
    model = on_device(new_model(experiment), fabric)
    loop = Loop(experiment, model, Feed(experiment.data.train, experiment.data, fabric.device), run, fabric, watch)
    history: History = []
    for place in range(len(experiment.recipe.stages)):
        history = run_stage(loop, place, history)
    return model, history


def run_stage(loop: Loop, place: int, history: History) -> History:
    """One stage from its start, its last checkpoint or its stored end, whatever there is."""
    experiment, model, run = loop.experiment, loop.model, loop.run
    stage, key = experiment.recipe.stages[place], experiment.key(place + 1)
    enter(model, stage, seed=epoch_seed(experiment.seed, place, 1))
    stored = run.load_stage(key)
    if stored is not None:
        model.load_state_dict(stored["model"])
        run.write_log(stored["history"], new=len(stored["history"]))
        return list(stored["history"])
    loss = stage.loss(experiment.data.class_counts).to(loop.fabric.device)
    optimizer = stage.optimizer(parameter_groups(model, stage))
    base = [group["lr"] for group in optimizer.param_groups]
    parts = {"model": model, "loss": loss, "optimizer": optimizer}
    first, history = continued(loop, stage, key, parts, history)
    wrapped, optimizer = loop.fabric.setup(model, optimizer)
    judged_from = first_drop(stage.schedule, stage.epochs) if experiment.protocol == "paper" else stage.epochs
    for epoch in range(first, stage.epochs):
        rate = stage.schedule(Progress(epoch, stage.epochs))
        for group, lr in zip(optimizer.param_groups, base, strict=True):
            group["lr"] = lr * rate
        entry = run_epoch(loop, place, epoch, wrapped, loss, optimizer)
        if epoch >= judged_from:
            entry["test_recalls"] = per_epoch_recalls(wrapped, experiment.data, loop.fabric)
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


def run_epoch(loop: Loop, place: int, epoch: int, model: Any, loss: nn.Module, optimizer: Any) -> dict[str, Any]:
    """One pass; nothing is read back from the device before its end."""
    experiment, fabric, began = loop.experiment, loop.fabric, time.perf_counter()
    stage = experiment.recipe.stages[place]
    loss.get_buffer("weight").copy_(stage.reweight(experiment.data.class_counts, Progress(epoch, stage.epochs)))
    model.train()
    if stage.batch_norm == "eval":
        loop.model.backbone.eval()
    indices = epoch_sampler(experiment, place, epoch, fabric).indices()
    steps = len(indices) // stage.batch_size if stage.drop_last else math.ceil(len(indices) / stage.batch_size)
    total, bad = torch.zeros((), device=fabric.device), torch.full((), -1, device=fabric.device)
    for step, batch in enumerate(epoch_batches(loop, place, epoch, indices)):
        progress = Progress(epoch, stage.epochs, step, max(steps, 1))
        value = stage.step(model, loss, batch, progress)
        fabric.backward(value)
        optimizer.step()
        optimizer.zero_grad()
        total += value.detach()
        bad = torch.where((bad < 0) & ~torch.isfinite(value.detach()), step, bad)
        if loop.watch is not None:
            loop.watch(place, progress)
    if bad.item() >= 0:
        raise TrainingFailed(_not_finite(experiment, place, epoch, int(bad.item()), indices))
    seconds = time.perf_counter() - began
    rate = optimizer.param_groups[0]["lr"]
    entry = {"stage": place, "epoch": epoch, "loss": total.item() / max(steps, 1), "learning_rate": rate}
    return {**entry, "seconds": round(seconds, 3), "images_per_second": round(len(indices) / seconds, 1)}


def epoch_sampler(experiment: Experiment, place: int, epoch: int, fabric: Fabric) -> EpochSampler:
    """The stage's draw, set to `epoch`."""
    stage = experiment.recipe.stages[place]
    sampler = EpochSampler(
        experiment.data.train.labels,
        rule=stage.resample,
        seed=epoch_seed(experiment.seed, place, 2),
        epochs=stage.epochs,
        rank=fabric.global_rank,
        world=fabric.world_size,
    )
    sampler.epoch = epoch
    return sampler


def epoch_batches(loop: Loop, place: int, epoch: int, indices: Tensor) -> Iterator[Any]:
    """Augmented batches; their random numbers depend on seed, stage and epoch alone, so a resumed run continues exactly."""
    stage = loop.experiment.recipe.stages[place]
    generator = torch.Generator(loop.fabric.device).manual_seed(epoch_seed(loop.experiment.seed, place, 3, epoch))
    augment = (*loop.experiment.setting.augment, *stage.augment)
    return loop.feed.batches(indices, stage.batch_size, augment=augment, generator=generator, drop_last=stage.drop_last)


def trained_until(experiment: Experiment, place: int, run: Run, fabric: Fabric) -> Classifier:
    """The model as it was at the end of stage `place`, from the stored stages.

    Raises:
        FileNotFoundError: the stage is not stored.
    """
    model = new_model(experiment)
    for earlier in range(place + 1):
        enter(model, experiment.recipe.stages[earlier], seed=0)
    stored = run.load_stage(experiment.key(place + 1))
    if stored is None:
        raise FileNotFoundError(f"Stage {place + 1} is not stored in '{run.shared}'; train it with the same command again.")
    model.load_state_dict(stored["model"])
    return on_device(model, fabric)


def on_device(model: Classifier, fabric: Fabric) -> Classifier:
    """Moved there, its convolutions' weights channels last in memory."""
    return model.to(fabric.device).to(memory_format=torch.channels_last)


def new_model(experiment: Experiment) -> Classifier:
    """Backbone and head at the seed's initial weights, drawn on the CPU whatever the device."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(epoch_seed(experiment.seed, 0))
        backbone = experiment.setting.backbone()
        if experiment.weights is not None:
            load_backbone(backbone, experiment.weights)
        return Classifier(backbone, experiment.recipe.head(backbone.num_features, len(experiment.data.classes)))


def enter(model: Classifier, stage: Stage, *, seed: int) -> None:
    """Gives the model the head that the stage trains; its scale is the loss's business until the stage ends."""
    if stage.head == "reset":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            classes, features = model.head.get_parameter("weight").shape
            fresh = type(model.head)(features, classes)
        model.head.load_state_dict(fresh.state_dict())
    elif stage.head == "wrap":
        model.head = ScaledHead(model.head)
    for name, buffer in model.head.named_buffers():
        if name.endswith("scale"):
            buffer.fill_(1.0)


def parameter_groups(model: nn.Module, stage: Stage) -> list[dict[str, Any]]:
    """One optimizer group per learning-rate factor; what no pattern names is frozen.

    Raises:
        ValueError: the loss needs another head, or a pattern names no parameter.
    """
    needed = getattr(stage.loss.func if hasattr(stage.loss, "func") else stage.loss, "requires_head", None)
    if needed is not None and not isinstance(getattr(model.head, "inner", model.head), needed):
        raise ValueError(
            f"{_name(stage.loss)} needs a {needed.__name__}, but the recipe's head is {type(model.head).__name__}. "
            f"Set the recipe's head to {needed.__name__}."
        )
    patterns = stage.learning_rates or {"*": 1.0}
    members: dict[str, list[nn.Parameter]] = {pattern: [] for pattern in patterns}
    for name, parameter in model.named_parameters():
        pattern = next((p for p in patterns if fnmatchcase(name, p)), None)
        parameter.requires_grad_(pattern is not None)
        if pattern is not None:
            members[pattern].append(parameter)
    for pattern, parameters in members.items():
        if not parameters:
            names = ", ".join(sorted({name.split(".")[0] + ".*" for name, _ in model.named_parameters()}))
            raise ValueError(f"learning_rates names '{pattern}', but no parameter is called so; there are {names}.")
    lr = parameters_of(stage.optimizer)["lr"]
    return [{"params": members[pattern], "lr": lr * factor} for pattern, factor in patterns.items()]


def _not_finite(experiment: Experiment, place: int, epoch: int, step: int, indices: Tensor) -> str:
    stage, data = experiment.recipe.stages[place], experiment.data
    shown = data.train.labels[torch.split(indices, stage.batch_size)[step].numpy()]
    names = ", ".join(data.classes[label] for label in sorted(set(shown.tolist())))
    return (
        f"The loss is not finite in stage {place + 1}, epoch {epoch + 1}, batch {step + 1} (classes in it: {names}). "
        f"The last good epoch is kept. Try a lower learning rate (--set stages.{place}.optimizer.lr=0.01), "
        f"--precision 32-true, or a smaller loss scale; `longtail inspect` finds broken images."
    )


def _name(function: Any) -> str:
    return str((function.func if hasattr(function, "func") else function).__name__)
