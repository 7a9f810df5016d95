"""What 1, 2 and 4 processes are shown by an `EpochSampler` under each library, against the list of one process (CPU, gloo).

PYTHONPATH=tests python benchmarks/record.py samplers python -W ignore benchmarks/samplers.py
"""

from __future__ import annotations

import contextlib
import os
from argparse import ArgumentParser, Namespace
from importlib.metadata import version
from itertools import chain

import torch

from longtail.sampling import EpochSampler
from longtail.weighting import power
from sampling_jobs import IMPORTS, joined, run
from sampling_libraries import BATCH, STOP, Images, Shown

MANY = 2000  # epochs of the sampler alone
PACKAGES = ("pytorch-lightning", "accelerate", "transformers")


def main() -> None:
    options = ArgumentParser(description=__doc__)
    options.add_argument("--images", type=int, default=499)
    options.add_argument("--epochs", type=int, default=8)
    asked = options.parse_args()
    counts = torch.bincount(Images(asked.images).labels).tolist()
    print(", ".join(f"{package} {version(package)}" for package in PACKAGES))
    print(f"{asked.images} images of classes {counts}, drawn class-balanced; {asked.epochs} epochs, batch {BATCH} in all.")
    print(f"{'library':<12} {'world':>5} {'epochs':>7} {'largest class error':>24} {'shown again':>12}   {'resumed':<22}")
    for library in IMPORTS:
        for world in (1, 2, 4):
            print(line_of(library, world, asked), flush=True)
    for world in (1, 2, 4):
        error = class_error(many_epochs(world, asked), asked)
        print(f"the sampler alone, {MANY:,} epochs, world {world}: largest class error {error}")
    print("epochs: those whose images are, in order, the list of one process. Class error: of the share of a class in all images")
    print("shown, in points and in standard errors. Shown again: per epoch, where the list begins anew to fill a batch.")
    print(f"resumed: from epoch {STOP[0]}, after {STOP[1]} batches; whether the images after it are those of the unbroken run.")


def line_of(library: str, world: int, asked: Namespace) -> str:
    """One line of the table."""
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        processes = run(library, Namespace(world=world, **vars(asked)))
    whole = joined(library, processes, "whole")
    lists, shown = expected_lists(asked), by_epoch(whole)
    equal = sum(shown[epoch][: asked.images] == drawn for epoch, drawn in enumerate(lists))
    again = {len(images) - asked.images for images in shown.values()}
    runs = [name for name in ("resumed", "resumed with workers") if name in processes[0]]
    same = [resumes(joined(library, processes, name), lists) for name in runs]
    resumed = ", ".join(
        name.replace("resumed", "equal" if as_one else "DIFFERENT") for name, as_one in zip(runs, same, strict=True)
    )
    return f"{library:<12} {world:>5} {equal:>3} / {asked.epochs} {class_error(shown, asked):>24} {again.pop():>12}   {resumed}"


def expected_lists(asked: Namespace) -> list[list[int]]:
    """The list of each epoch, as one process draws it."""
    sampler = EpochSampler(Images(asked.images).labels, rule=power, seed=5, epochs=asked.epochs, world=1)
    return [list(sampler) for _ in range(asked.epochs)]


def many_epochs(world: int, asked: Namespace) -> dict[int, list[int]]:
    """All that the processes are shown in many epochs of another seed."""
    labels = Images(asked.images).labels
    samplers = [EpochSampler(labels, rule=power, seed=6, rank=rank, world=world) for rank in range(world)]
    return {epoch: list(chain(*samplers)) for epoch in range(MANY)}


def by_epoch(shown: Shown) -> dict[int, list[int]]:
    """The images of each epoch, in order."""
    return {epoch: list(chain(*(batch for of, batch in shown if of == epoch))) for epoch, _ in shown}


def resumes(shown: Shown, lists: list[list[int]]) -> bool:
    """Whether a run that was broken off shows the rest of its epoch, and the following epochs."""
    images, done = by_epoch(shown), STOP[1] * BATCH
    rest = {epoch: drawn[done:] if epoch == STOP[0] else drawn for epoch, drawn in enumerate(lists) if epoch >= STOP[0]}
    return {epoch: images.get(epoch, [])[: len(drawn)] for epoch, drawn in rest.items()} == rest


def class_error(shown: dict[int, list[int]], asked: Namespace) -> str:
    """The largest difference between the share of a class among all images shown and one fifth."""
    labels = Images(asked.images).labels[list(chain(*shown.values()))]
    shares = torch.bincount(labels, minlength=5) / len(labels)
    error = float((shares - 0.2).abs().max())
    return f"{100 * error:.2f} ({error / (0.2 * 0.8 / len(labels)) ** 0.5:.1f} s.e.)"


if __name__ == "__main__":
    main()
