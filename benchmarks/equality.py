"""GCL on CIFAR-10-LT by longtail's fast path and by the plain float32 loop: do the means over seeds agree?

python benchmarks/record.py equality_cpu python benchmarks/equality.py --root DATA --runs RUNS

Every finished run is stored, so parts of it can be had beforehand, one run a call: --arms plain --seeds 2
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import plain
import torch

import longtail
from longtail import recipes, settings
from longtail.data.splits import Data
from longtail.engine.building import new_model
from longtail.engine.devices import make_compute
from longtail.engine.evaluation import evaluate
from longtail.inference import as_trained
from longtail.runs.files import write_text
from longtail.spec.experiment import Experiment
from longtail.spec.recipe import Stage
from longtail.weighting import Progress


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--root", type=Path, required=True, help="folder of the CIFAR files")
    options.add_argument("--runs", type=Path, required=True, help="where runs are kept")
    options.add_argument("--device", default="auto")
    options.add_argument("--epochs", type=int, default=20)
    options.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    asked = options.parse_args()
    recalls = {arm: [ARMS[arm](asked, seed) for seed in asked.seeds] for arm in asked.arms}
    print(f"GCL, CIFAR-10-LT at imbalance 100, {asked.epochs} epochs, common budget; mean test recall of the last epoch in %.")
    for place, stage in enumerate(("first stage", "second stage")):
        columns = {arm: [100 * run[place] for run in runs] for arm, runs in recalls.items()}
        for arm, values in columns.items():
            print(f"{stage:13} {arm:9} {shown(values)}   seeds {asked.seeds}: {', '.join(f'{value:.2f}' for value in values)}")
        if len(columns) == 2 and len(asked.seeds) > 1:
            fast, slow = columns["longtail"], columns["plain"]
            error = math.sqrt(statistics.variance(fast) / len(fast) + statistics.variance(slow) / len(slow))
            print(f"{stage:13} difference {statistics.mean(fast) - statistics.mean(slow):+.2f}, its standard error {error:.2f}")


def shown(values: list[float]) -> str:
    spread = statistics.stdev(values) if len(values) > 1 else math.nan
    return f"{statistics.mean(values):.2f} +- {spread:.2f}"


def fast(asked: Any, seed: int) -> list[float]:
    """`longtail train`, as it is: bfloat16 where the device has it, channels last, augmentation in batches, a folded backbone."""
    places = {"root": asked.root, "runs": asked.runs, "device": asked.device}
    result = longtail.train("cifar10_lt", method="gcl", epochs=asked.epochs, seed=seed, budget="common", **places)
    return [stage.last_epoch.mean_recall for stage in result.report.stages]


def slow(asked: Any, seed: int) -> list[float]:
    """The plain loop with the recipe's numbers, from the same initial weights."""
    file = asked.runs / "plain" / f"gcl-{asked.epochs}-{seed}.json"
    if not file.exists():
        write_text(file, json.dumps(trained_plainly(asked, seed)))
    recalls: list[float] = json.loads(file.read_text())
    return recalls


def trained_plainly(asked: Any, seed: int) -> list[float]:
    setting = replace(settings.cifar10_lt(), budget="common", epochs=asked.epochs)
    experiment = Experiment(recipes.gcl(setting), setting, setting.data(asked.root), seed)
    compute = make_compute(asked.device, "32-true")
    torch.manual_seed(seed)
    np.random.seed(seed)
    model = new_model(experiment).to(compute.device)
    recalls = []
    for stage in experiment.recipe.stages:
        train_stage(model, stage, experiment.data)
        recalls.append(evaluate(model, as_trained, experiment.data, compute).report.mean_recall)
        model.backbone.requires_grad_(False)
    return recalls


def train_stage(model: Any, stage: Stage, data: Data) -> None:
    counts = np.asarray(data.class_counts)
    given = stage.loss(counts)
    device = next(model.parameters()).device
    loss = plain.clouded_loss(counts, scale=given.scale, margin=given.margin, gamma=given.gamma, device=device)
    frozen = stage.batch_norm == "eval"
    step = plain.frozen_features(model, loss) if frozen else plain.mixed(loss)
    loader = plain.batches(plain.Images(data), class_weights=stage.resample(data.class_counts) if frozen else None)
    optimizer = plain.sgd(model)
    steps = plain.epochs(model, loader, step, optimizer)
    base = stage.optimizer([torch.zeros(1)]).param_groups[0]["lr"]
    for epoch in range(stage.epochs):
        for group in optimizer.param_groups:
            group["lr"] = base * stage.schedule(Progress(epoch, stage.epochs))
        for _ in range(len(loader)):
            next(steps)


ARMS = {"longtail": fast, "plain": slow}


if __name__ == "__main__":
    main()
