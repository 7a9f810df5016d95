"""The loop: stages, epochs, checkpoints. It knows no method; a recipe tells it everything."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
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
    """

    recipe: Recipe
    setting: Setting
    data: Data
    seed: int = 0
    protocol: str = "clean"
    precision: str = "32-true"

    def key(self, stages: int | None = None) -> str:
        """Hash of the experiment, or of its first stages and nothing that comes after them."""
        recipe: Any = self.recipe if stages is None else (self.recipe.head, self.recipe.stages[:stages])
        return digest(recipe, self.setting, self.seed, self.protocol, self.precision, fingerprint(self.data))


def train(experiment: Experiment, run: Run, fabric: Fabric, *, watch: Watch | None = None) -> tuple[Classifier, History]:
    """Trains all stages, continuing where an earlier call was cut off, and returns the model and one entry per epoch."""
    model = new_model(experiment).to(fabric.device, memory_format=torch.channels_last)
    feed = Feed(experiment.data.train, experiment.data, fabric.device)
    history: History = []
    for place in range(len(experiment.recipe.stages)):
        history = run_stage(experiment, place, model, feed, run, fabric, history, watch)
    return model, history


def run_stage(
    experiment: Experiment,
    place: int,
    model: Classifier,
    feed: Feed,
    run: Run,
    fabric: Fabric,
    history: History,
    watch: Watch | None,
) -> History:
    """One stage from its start, its last checkpoint or its stored end, whatever there is."""
    stage, key = experiment.recipe.stages[place], experiment.key(place + 1)
    enter(model, stage, seed=epoch_seed(experiment.seed, place, 1))
    stored = run.load_stage(key)
    if stored is not None:
        model.load_state_dict(stored["model"])
        return list(stored["history"])
    loss = stage.loss(experiment.data.class_counts).to(fabric.device)
    optimizer = stage.optimizer(parameter_groups(model, stage))
    base = [group["lr"] for group in optimizer.param_groups]
    state = run.load_state()
    first = 0
    if state is not None and state["key"] == key:
        model.load_state_dict(state["model"])
        loss.load_state_dict(state["loss"])
        optimizer.load_state_dict(state["optimizer"])
        first, history = state["epoch"] + 1, list(state["history"])
    elif stage.start is not None:
        stage.start(model, loss, experiment.data)
    wrapped, optimizer = fabric.setup(model, optimizer)
    judged_from = first_drop(stage.schedule, stage.epochs) if experiment.protocol == "paper" else stage.epochs
    for epoch in range(first, stage.epochs):
        rate = stage.schedule(Progress(epoch, stage.epochs))
        for group, lr in zip(optimizer.param_groups, base, strict=True):
            group["lr"] = lr * rate
        entry = run_epoch(experiment, place, epoch, wrapped, loss, optimizer, feed, fabric, watch)
        if epoch >= judged_from:
            entry["test_recalls"] = per_epoch_recalls(wrapped, experiment.data, fabric)
        history = [*history, entry]
        run.write_log(history)
        if epoch < stage.epochs - 1:
            parts = {"model": model.state_dict(), "loss": loss.state_dict(), "optimizer": optimizer.state_dict()}
            run.save_state({"key": key, "epoch": epoch, "history": history, **parts})
    with torch.no_grad():
        model.head.get_buffer("scale").fill_(getattr(loss, "scale", 1.0))
    run.save_stage(key, {"model": model.state_dict(), "history": history})
    run.drop_state()
    return history


def run_epoch(
    experiment: Experiment,
    place: int,
    epoch: int,
    model: Any,
    loss: nn.Module,
    optimizer: Any,
    feed: Feed,
    fabric: Fabric,
    watch: Watch | None,
) -> dict[str, Any]:
    """One pass; nothing is read back from the device before its end."""
    stage, began = experiment.recipe.stages[place], time.perf_counter()
    sampler = epoch_sampler(experiment, place, epoch, fabric)
    model.train()
    if stage.batch_norm == "eval":
        model.module.backbone.eval()
    counts = experiment.data.class_counts
    loss.get_buffer("weight").copy_(stage.reweight(counts, Progress(epoch, stage.epochs)))
    total, bad = torch.zeros((), device=fabric.device), torch.full((), -1, device=fabric.device)
    indices, steps = sampler.indices(), 0
    planned = -(-len(indices) // stage.batch_size)
    for step, batch in enumerate(epoch_batches(experiment, place, epoch, feed, indices, fabric.device)):
        progress = Progress(epoch, stage.epochs, step, planned)
        value = stage.step(model, loss, batch, progress)
        fabric.backward(value)
        optimizer.step()
        optimizer.zero_grad()
        total += value.detach()
        bad = torch.where((bad < 0) & ~torch.isfinite(value.detach()), step, bad)
        steps += 1
        if watch is not None:
            watch(place, progress)
    if bad.item() >= 0:
        raise TrainingFailed(_not_finite(experiment, place, epoch, int(bad.item()), indices))
    seconds = time.perf_counter() - began
    rate = optimizer.param_groups[0]["lr"]
    entry = {"stage": place, "epoch": epoch, "loss": total.item() / steps, "learning_rate": rate}
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


def epoch_batches(
    experiment: Experiment, place: int, epoch: int, feed: Feed, indices: Tensor, device: torch.device
) -> Iterator[Any]:
    """Augmented batches; their random numbers depend on seed, stage and epoch alone, so a resumed run continues exactly."""
    stage = experiment.recipe.stages[place]
    generator = torch.Generator(device).manual_seed(epoch_seed(experiment.seed, place, 3, epoch))
    augment = (*experiment.setting.augment, *stage.augment)
    return feed.batches(indices, stage.batch_size, augment=augment, generator=generator, drop_last=stage.drop_last)


def new_model(experiment: Experiment) -> Classifier:
    """Backbone and head at the seed's initial weights, drawn on the CPU whatever the device."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(epoch_seed(experiment.seed, 0))
        backbone = experiment.setting.backbone()
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
    model.head.get_buffer("scale").fill_(1.0)


def parameter_groups(model: nn.Module, stage: Stage) -> list[dict[str, Any]]:
    """One optimizer group per learning-rate factor; what no pattern names is frozen.

    Raises:
        ValueError: the loss needs another head, or a pattern names no parameter.
    """
    needed = getattr(stage.loss.func if hasattr(stage.loss, "func") else stage.loss, "requires_head", None)
    if needed is not None and not isinstance(model.head, needed):
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
    shown = data.train.labels[indices.split(stage.batch_size)[step].numpy()]
    names = ", ".join(data.classes[label] for label in sorted(set(shown.tolist())))
    return (
        f"The loss is not finite in stage {place + 1}, epoch {epoch + 1}, batch {step + 1} (classes in it: {names}). "
        f"The last good epoch is kept. Try a lower learning rate (--set stages.{place}.optimizer.lr=0.01), --precision 32-true, or a "
        f"smaller loss scale; `longtail inspect` finds broken images."
    )


def _name(function: Any) -> str:
    return str((function.func if hasattr(function, "func") else function).__name__)
