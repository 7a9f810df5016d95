"""Stages of methods as `gpu.py` times them: built alone or several in one process, and trained for some epochs."""

from __future__ import annotations

import itertools
import json
import pickle
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from speed import Work, drawn, theirs, timed

from longtail import recipes, settings
from longtail.data.loaders import Feed
from longtail.data.splits import Data
from longtail.engine.building import begin_stage, enter_stage, new_model, on_device
from longtail.engine.compute import Compute
from longtail.engine.cuda_graphs import CudaGraphs
from longtail.engine.epochs import run_epoch
from longtail.engine.loop import Loop
from longtail.engine.replay import Replay
from longtail.engine.several_networks import Member, side_by_side, train_epoch
from longtail.engine.stacked import Stacked
from longtail.engine.training import make_ready
from longtail.networks.backbones import CifarResNet
from longtail.runs.run import Run
from longtail.spec.experiment import Experiment
from longtail.spec.recipe import Setting
from longtail.workflow.parallel import in_processes
from longtail.workflow.request import Request
from longtail.workflow.watcher import Silent
from longtail.workflow.workers import Finished
from longtail.workflow.workers import Work as Share

HALF = "bf16-mixed"


@dataclass(frozen=True)
class Way:
    """How a stage is trained.

    Args:
        graphs: whether steps are recorded as CUDA graphs.
        fast: names of `longtail.engine.variants`.
        precision: precision of computation.
        batch: images per step.
        runs: number of networks at once.
        stacked: whether several networks are computed as one, else as branches.
    """

    graphs: bool = False
    fast: tuple[str, ...] = ()
    precision: str = HALF
    batch: int = 64
    runs: int = 1
    stacked: bool = False

    @property
    def words(self) -> str:
        """The way in words, such as "recorded, cast, batch 128"."""
        several = f"{self.runs} networks {'as one' if self.stacked else 'in branches'}" if self.runs > 1 else ""
        parts = ("recorded" if self.graphs else "direct", *self.fast, self.precision * (self.precision != HALF), several)
        return ", ".join([*filter(None, parts), *([f"batch {self.batch}"] if self.batch != 64 else [])])


@dataclass(frozen=True)
class Bench:
    """What is the same for all measurements.

    Args:
        data: the data, of whose training images a sample is trained on.
        device: device that trains.
        root: folder of the data.
        quick: whether the network has 8 layers, not 32, so that a CPU can show that everything runs.
        epochs: number of epochs that are timed, after one that is not.
    """

    data: Data
    device: torch.device
    root: Path
    quick: bool
    epochs: int

    def setting(self, work: Work) -> Setting:
        """The setting of a method at its budget."""
        own = replace(settings.cifar10_lt(), budget=work.budget)
        return replace(own, backbone=partial(CifarResNet, depth=8)) if self.quick else own

    def rate(self, work: Work, way: Way) -> float:
        """Images per second, of all networks in sum, in the median epoch; the first is not timed."""
        with self.training(work, way) as epoch:
            seconds = [timed(partial(epoch, number), self.device) for number in range(self.epochs + 1)]
        return way.runs * len(self.data.train) / statistics.median(seconds[1:])

    def losses(self, work: Work, way: Way, epochs: int) -> list[float]:
        """Mean loss of each epoch, of all networks in turn."""
        with self.training(work, way) as epoch:
            return [loss for number in range(epochs) for loss in epoch(number)]

    @contextmanager
    def training(self, work: Work, way: Way) -> Iterator[Any]:
        """Builds the networks, and gives the function that trains them for an epoch and returns the mean loss of each."""
        with tempfile.TemporaryDirectory() as folder:
            feed, compute = Feed(self.data.train, self.data, self.device), Compute(self.device, way.precision)
            if compute.scaler.is_enabled():  # a scale that leaves out no step, so that losses can be compared
                compute.scaler = torch.amp.GradScaler(self.device.type, init_scale=1024)
            replay = Replay(CudaGraphs(self.device)) if way.graphs else None
            members = [self.member(work, way, seed, (feed, compute, Path(folder), replay)) for seed in range(way.runs)]
            advance: Any = (Stacked if way.stacked else side_by_side)(members) if way.runs > 1 else None

            def epoch(number: int) -> list[float]:
                if advance is None:
                    return [run_epoch(*members[0], number)["loss"]]
                train_epoch(members, advance, number, replay)
                return [float(loop.tally.total / loop.tally.step) for loop, _ in members]

            yield epoch

    def member(self, work: Work, way: Way, seed: int, given: tuple[Feed, Compute, Path, Replay | None]) -> Member:
        """One network in the stage."""
        feed, compute, folder, replay = given
        setting = self.setting(work)
        recipe = getattr(recipes, work.method)(setting)
        recipe = replace(recipe, stages=tuple(replace(stage, batch_size=way.batch) for stage in recipe.stages))
        experiment = Experiment(recipe, setting, self.data, seed, precision=way.precision)
        model = on_device(new_model(experiment), compute)
        for earlier in range(work.stage_index + 1):
            enter_stage(model, experiment, earlier)
        loop = Loop(experiment, model, feed, Run(folder / str(seed)), compute, replay=replay, fast=way.fast)
        stage = begin_stage(model, experiment, work.stage_index, self.device)
        make_ready(loop, stage)
        return loop, stage

    def plain(self, work: Work, workers: int, steps: int) -> float:
        """Images per second of the plain loop with so many workers, after two steps that are not timed."""
        loop = theirs(work, self.data, self.device, workers, self.setting(work).backbone)
        timed(lambda: [next(loop) for _ in range(2)], self.device)
        return 64 * steps / timed(lambda: [next(loop) for _ in range(steps)], self.device)

    def processes(self, work: Work, way: Way, count: int, epochs: int) -> float:
        """Images per second in sum of whole runs in processes of their own, in their median epochs."""
        with tempfile.TemporaryDirectory() as folder:
            asked = Request(
                "cifar10_lt", work.method, root=self.root, runs=Path(folder), jobs=count, fast=",".join(way.fast) or "none"
            )
            options: dict[str, Any] = {
                "epochs": epochs,
                "budget": work.budget,
                "device": self.device.type,
                "precision": way.precision,
            }
            requests = [replace(asked, seed=seed, **options) for seed in range(count)]
            share = Share(1, (), pickle.dumps(replace(self.setting(work), epochs=epochs)), self.data)
            ends = in_processes(requests, share, Silent(), count)
            return sum(median_rate(end.folder) for end in ends if isinstance(end, Finished))


def median_rate(folder: Path) -> float:
    """Images per second of a run in the median epoch of its first stage."""
    entries = map(json.loads, (folder / "log.jsonl").read_text().splitlines())
    return statistics.median(entry["images_per_second"] for entry in entries if entry["stage"] == 0)


def sampled(root: Path, steps: int) -> Data:
    """CIFAR-10-LT with as many training images as so many steps of 64 take, and 256 test images."""
    data: Data = settings.cifar10_lt().data(root)
    few = drawn(data.test.labels, 256)
    return replace(data, train=data.train.take(drawn(data.train.labels, 64 * steps)), test=data.test.take(few))


def differences(one: Sequence[float], other: Sequence[float]) -> float:
    """The largest relative difference of losses."""
    return max(abs(a - b) / abs(a) for a, b in zip(one, other, strict=True))


def pairs(names: Sequence[str]) -> list[tuple[str, ...]]:
    """All combinations of names, the smallest first."""
    return [chosen for count in range(len(names) + 1) for chosen in itertools.combinations(names, count)]
