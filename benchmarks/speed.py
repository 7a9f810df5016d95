"""Images per second of longtail's loop and of a plain loop, alternating, the plain one in a process of its own.

python benchmarks/record.py speed_cpu python benchmarks/speed.py --root DATA
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import plain
import torch
from torch import Tensor, nn

from longtail import recipes, schedules, settings
from longtail.data.loaders import Feed
from longtail.data.splits import Data
from longtail.engine.batches import batch_of, epoch_chunks, epoch_indices, seed_epoch
from longtail.engine.building import (
    StageWork,
    enter_stage,
    fast_network,
    new_loss,
    new_model,
    on_device,
)
from longtail.engine.cuda_graphs import replay_for
from longtail.engine.devices import make_compute
from longtail.engine.epochs import run_epoch
from longtail.engine.loop import Loop
from longtail.engine.optimizers import new_optimizer, parameter_groups
from longtail.engine.whole_step import WholeStep
from longtail.heads import CosineHead, LinearHead, ScaledHead
from longtail.memory import keep_freed_memory
from longtail.networks.classifier import Classifier
from longtail.networks.wrappers import TwoBranchBackbone
from longtail.runs.run import Run
from longtail.spec.experiment import Experiment
from longtail.spec.recipe import Setting, Stage
from longtail.weighting import Progress

BACKBONE = settings.cifar10_lt().backbone
GFLOP, MEGABYTES = 0.42, 12.0  # of one training image of ResNet-32 at 32x32: forward and backward, activations in bfloat16


@dataclass(frozen=True)
class Work:
    """One stage of one method: its recipe, and the share of a full training pass that it costs."""

    name: str
    method: str
    stage_index: int
    passes: float
    budget: str = "common"


WORK = (
    Work("ce", "ce", 0, 1),
    Work("gcl stage 1", "gcl", 0, 1),
    Work("gcl stage 2", "gcl", 1, 1 / 3),
    Work("gala", "gala", 0, 1, budget="paper"),
    Work("mislas stage 2", "mislas", 1, 1 / 3),
    Work("bbn", "bbn", 0, 2),
)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--root", type=Path, required=True, help="folder of the CIFAR files")
    options.add_argument("--device", default="auto")
    options.add_argument("--workers", type=int, default=0, help="of the plain loop's DataLoader")
    options.add_argument("--graphs", action=argparse.BooleanOptionalAction, default=False, help="record steps as CUDA graphs")
    options.add_argument("--rounds", type=int, default=25)
    options.add_argument("--steps", type=int, default=24, help="per round; 64 images each")
    options.add_argument("--only", nargs="*", default=[work.name for work in WORK])
    asked = options.parse_args()
    asked.threads = torch.get_num_threads()
    keep_freed_memory()  # as training does
    compute = make_compute(asked.device)
    arithmetic, bandwidth = limits(compute.device)
    print(
        f"ResNet-32, CIFAR-10-LT at imbalance 100, batch 64; {compute.device}, {torch.get_num_threads()} threads, "
        f"{compute.precision}{', CUDA graphs' * asked.graphs}; plain loop: float32, {asked.workers} workers. "
        f"{asked.rounds} rounds of {asked.steps} steps, alternating."
    )
    print(f"Measured here: {arithmetic:.0f} GFLOP/s in bfloat16 matrix products, {bandwidth:.1f} GB/s copied.")
    print(f"{'':15} {'plain':>8} {'longtail':>9}  {'ratio':>5} {'(range)':>12}  {'of limit':>8}   where the step's time goes")
    for work in (work for work in WORK if work.name in asked.only):
        measure(work, asked, compute, min(arithmetic / GFLOP, 1000 * bandwidth / MEGABYTES) / work.passes)
    peak = (
        torch.cuda.max_memory_allocated()
        if compute.device.type == "cuda"
        else 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    )
    print(f"Peak memory of all of it: {peak / 2**20:.0f} MiB.")


def measure(work: Work, asked: Any, compute: Any, limit: float) -> None:
    """One line: medians, the ratio of each round's two times, the share of the limit, the parts of a step."""
    setting = replace(settings.cifar10_lt(), budget=work.budget)
    images = 64 * asked.steps
    read = partial(data_of, setting, asked.root, images)
    experiment = Experiment(getattr(recipes, work.method)(setting), setting, read(), precision=compute.precision)
    with tempfile.TemporaryDirectory() as folder:
        replay = replay_for(compute.device, asked.graphs)
        epoch, parts = ours(experiment, work.stage_index, Run(Path(folder)), compute, replay)
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe()
        child = context.Process(target=answer, args=(there, work, read, str(compute.device), asked))
        child.start()
        times: dict[str, list[float]] = {"plain": [], "longtail": []}
        for turn in range(asked.rounds + 1):
            here.send(turn)
            seconds = {"plain": here.recv(), "longtail": timed(partial(epoch, turn), compute.device)}
            if turn:
                for name, column in times.items():
                    column.append(seconds[name])
        child.terminate()
        shares = parts()
    ratios = [a / b for a, b in zip(times["plain"], times["longtail"], strict=True)]
    rates = {name: images / statistics.median(column) for name, column in times.items()}
    where = ", ".join(f"{name} {100 * share:.0f} %" for name, share in shares.items())
    print(
        f"{work.name:15} {rates['plain']:8.0f} {rates['longtail']:9.0f}  {statistics.median(ratios):5.2f} "
        f"({min(ratios):.2f} to {max(ratios):.2f})  {100 * rates['longtail'] / limit:6.1f} %   {where}",
        flush=True,
    )


def data_of(setting: Setting, root: Path, images: int) -> Data:
    """The setting's data with so many training images."""
    data = setting.data(root)
    return replace(data, train=data.train.take(drawn(data.train.labels, images)))


def drawn(labels: np.ndarray, images: int) -> np.ndarray:
    """Indices of so many images, drawn at random with at least one of every class."""
    order = np.random.default_rng(0).permutation(len(labels))
    first_of_class = np.unique(labels[order], return_index=True)[1]
    return np.concatenate([order[first_of_class], np.delete(order, first_of_class)])[:images]


def answer(pipe: Any, work: Work, read: Callable[[], Data], device: str, asked: Any) -> None:
    """The plain loop, in a process as Python starts it: each message asks for the seconds of some steps.

    It reads its images itself, as a script does. Were they handed over, the process would never have freed a large block, and
    glibc would return the memory of tensors to the system in every step: 15,000 page faults, and three quarters of the speed.
    """
    torch.set_num_threads(asked.threads)
    steps = theirs(work, read(), torch.device(device), asked.workers)
    while True:
        pipe.recv()
        pipe.send(timed(lambda: [next(steps) for _ in range(asked.steps)], torch.device(device)))


def ours(
    experiment: Experiment, stage_index: int, run: Run, compute: Any, replay: Any
) -> tuple[Callable[[int], Any], Callable[[], dict[str, float]]]:
    """An epoch of the loop itself, and the shares of a step's time."""
    stage = experiment.recipe.stages[stage_index]
    model = on_device(new_model(experiment), compute)
    for earlier in range(stage_index + 1):
        enter_stage(model, experiment, earlier)
    loss = new_loss(model, experiment, stage_index).to(compute.device)
    optimizer = new_optimizer(stage, parameter_groups(model, loss, stage), compute.device)
    network = fast_network(model, stage, experiment.precision)
    work = StageWork(
        stage_index,
        replace(stage, schedule=schedules.constant),
        "",
        loss,
        optimizer,
        [plain.RATE] * len(optimizer.param_groups),
        network,
        WholeStep(network, loss, stage.step),
    )
    loop = Loop(experiment, model, Feed(experiment.data.train, experiment.data, compute.device), run, compute, replay=replay)

    def epoch(number: int) -> Any:
        return run_epoch(loop, work, number % stage.epochs)

    return epoch, lambda: parts_of(loop, stage_index, stage, network, loss, optimizer)


def parts_of(loop: Loop, stage_index: int, stage: Stage, network: Any, loss: nn.Module, optimizer: Any) -> dict[str, float]:
    """Shares of data, forward, backward and optimizer in the time of an epoch's steps."""
    seconds = dict.fromkeys(("data", "forward", "backward", "optimizer"), 0.0)
    device, began = loop.compute.device, time.perf_counter()
    experiment, compute = loop.experiment, loop.compute
    indices = epoch_indices(experiment, stage_index, 0, stage.resample)
    seed_epoch(experiment, stage_index, 0, loop.generator)
    chunks = epoch_chunks(experiment, loop.feed, stage_index, 0, compute, indices)
    batches = (batch_of(experiment, loop.feed, stage_index, chunk, loop.generator) for chunk in chunks)
    steps = len(loop.experiment.data.train) // stage.batch_size
    for step in range(steps):
        kept: dict[str, Any] = {}

        def forward(step: int = step, kept: dict[str, Any] = kept) -> None:
            with loop.compute.autocast():
                kept["value"] = stage.step(network, loss, kept["batch"], Progress(0, stage.epochs, step, steps))

        seconds["data"] += timed(lambda kept=kept: kept.update(batch=next(batches)), device)
        seconds["forward"] += timed(forward, device)
        seconds["backward"] += timed(lambda kept=kept: loop.compute.backward(kept["value"]), device)
        seconds["optimizer"] += timed(lambda: (optimizer.step(), optimizer.zero_grad()), device)
    total = time.perf_counter() - began
    return {**{name: part / total for name, part in seconds.items()}, "rest": 1 - sum(seconds.values()) / total}


def theirs(work: Work, data: Data, device: torch.device, workers: int, build: Any = BACKBONE) -> Iterator[None]:
    """The plain loop of the same stage, on the same images and the same network, its blocks computed as in the scripts."""
    counts = torch.bincount(torch.from_numpy(data.train.labels), minlength=10).clamp(min=1).numpy()
    bare = plain.as_released(build())
    backbone: Any = TwoBranchBackbone(bare) if work.name == "bbn" else bare
    head: nn.Module = CosineHead(64, 10) if work.method == "gcl" else LinearHead(backbone.num_features, 10)
    model = Classifier(backbone, ScaledHead(head) if work.method == "mislas" else head).to(device)
    if work.stage_index == 1:
        model.backbone.requires_grad_(False)
    cloud = partial(plain.clouded_loss, counts, device=device)
    step: Any = {
        "ce": lambda m, x, y: nn.functional.cross_entropy(m(x), y),
        "gcl stage 1": plain.mixed(cloud(scale=30, margin=0, gamma=0)),
        "gcl stage 2": plain.frozen_features(model, cloud(scale=20, margin=0.1, gamma=1)),
        "gala": plain.gradient_aware(10, device),
        "mislas stage 2": plain.smoothed(model, counts, device),
        "bbn": plain.bilateral,
    }[work.name]
    dataset = plain.PairedImages(data) if work.name == "bbn" else plain.Images(data, auto_augment=work.name == "gala")
    loader = plain.batches(dataset, class_weights=1 / counts if work.stage_index == 1 else None, workers=workers)
    return plain.epochs(model, loader, step, plain.sgd(model))


def limits(device: torch.device) -> tuple[float, float]:
    """Measured GFLOP/s of bfloat16 matrix products and GB/s of a copy (read and write)."""
    a = torch.randn(2048, 2048, device=device, dtype=torch.bfloat16)
    flop = 2 * 2048**3 / min(timed(lambda: a @ a, device) for _ in range(10)) / 1e9
    block: Tensor = torch.empty(2**28, dtype=torch.uint8, device=device)
    other = torch.empty_like(block)
    return flop, 2 * 2**28 / min(timed(lambda: other.copy_(block), device) for _ in range(10)) / 1e9


def timed(action: Callable[[], Any], device: torch.device) -> float:
    """Seconds until the device has done it."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    began = time.perf_counter()
    action()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
