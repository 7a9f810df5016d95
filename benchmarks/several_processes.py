"""Whether 2 and 4 processes train and evaluate as one: losses of each epoch, and predictions, of several methods on digits.

    python benchmarks/record.py several_processes_cpu python benchmarks/several_processes.py

No image is augmented or mixed, since each process draws such numbers for its own images; noise of losses is drawn as in one
process. The batch is that of the recipe, batch norm is synchronised, and processes talk by gloo on one CPU.
"""

from __future__ import annotations

import multiprocessing
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from longtail import recipes, settings, steps
from longtail.engine.building import new_model
from longtail.engine.devices import make_compute
from longtail.engine.evaluation import predict
from longtail.engine.training import train_stages
from longtail.runs.run import Run
from longtail.spec.experiment import Experiment

METHODS = ("ce", "gcl", "gala", "tde", "bbn", "oltr", "mislas", "balpoe")
WORLDS = (1, 2, 4)
EPOCHS = 2


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        found = {world: of_processes(world, Path(folder)) for world in WORLDS}
    print(f"{EPOCHS} epochs of each stage on digits_lt; largest relative difference of an epoch's loss to that of one process.")
    print(f"{'':12}" + "".join(f"{f'{world} processes':>28}" for world in WORLDS[1:]))
    print(f"{'':12}" + "".join(f"{'float32':>14}{'float64':>14}" for _ in WORLDS[1:]))
    for method in METHODS:
        cells = (difference(found[1], found[world], (method, kind)) for world in WORLDS[1:] for kind in ("float32", "float64"))
        print(f"{method:12}" + "".join(f"{cell:14.1e}" for cell in cells))
    print("Largest difference of a logit of one network on the test images (and images evaluated twice or left out):")
    for world in WORLDS[1:]:
        logits = found[world]["logits"]
        print(f"{world} processes: {(logits - found[1]['logits']).abs().max():.1e} ({len(logits) - len(found[1]['logits'])})")


def difference(one: Any, several: Any, key: tuple[str, str]) -> float:
    """Largest relative difference of the losses of an epoch."""
    pairs = zip(one[key], several[key], strict=True)
    return max(abs(mine - theirs) / abs(mine) for mine, theirs in pairs)


def of_processes(world: int, folder: Path) -> Any:
    """What the first of so many processes finds."""
    context = multiprocessing.get_context("spawn")
    work = (world, str(folder / f"store{world}"), folder / str(world))
    processes = [context.Process(target=measure, args=(rank, *work)) for rank in range(world)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return torch.load(folder / f"{world}.pt")


def measure(rank: int, world: int, store: str, folder: Path) -> None:
    """Trains every method, and evaluates one network, as one of the processes."""
    torch.set_num_threads(1)
    if world > 1:
        dist.init_process_group("gloo", f"file://{store}", rank=rank, world_size=world)
    compute, found = make_compute("cpu", "32-true"), {}
    for method in METHODS:
        for kind in (torch.float32, torch.float64):
            torch.set_default_dtype(kind)
            _, history = train_stages(experiment_of(method), Run(folder / f"{method}{kind}"), compute)
            found[method, str(kind).removeprefix("torch.")] = [entry["loss"] for entry in history]
    torch.set_default_dtype(torch.float32)
    experiment = experiment_of("ce")
    found["logits"] = predict(new_model(experiment), experiment.data.test, experiment.data, compute, batch_size=32).logits
    if not rank:
        torch.save(found, folder.with_suffix(".pt"))
    if world > 1:
        dist.destroy_process_group()


def experiment_of(method: str) -> Experiment:
    """The method with few epochs, and without random numbers that belong to single images."""
    setting = replace(settings.digits_lt(), augment=())
    setting = replace(setting, backbone=partial(in_default_precision, setting.backbone))
    recipe = getattr(recipes, method)(setting)
    stages = [replace(each, epochs=EPOCHS, augment=(), step=unmixed(each.step)) for each in recipe.stages]
    return Experiment(replace(recipe, stages=tuple(stages)), setting, setting.data(Path()))


def unmixed(step: Any) -> Any:
    """The step without mixing."""
    named = getattr(step, "func", step)
    if named is steps.mixup:
        return steps.classify
    return partial(named, alpha=0) if named is steps.mixup_experts else step


def in_default_precision(backbone: Any) -> Any:
    """The backbone, which takes images in float32 and computes in torch's default precision."""
    network = backbone()
    next(network.children()).register_forward_pre_hook(converted)
    return network


def converted(module: Any, images: Any) -> Any:
    return tuple(each.to(torch.get_default_dtype()) for each in images)


if __name__ == "__main__":
    main()
