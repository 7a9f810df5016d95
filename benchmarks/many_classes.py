"""Memory and seconds of a step of every loss and head, and of every rule, at the 8,142 classes of iNaturalist 2018. Linux, CPU.

python benchmarks/record.py many_classes_cpu python benchmarks/many_classes.py
"""

from __future__ import annotations

import argparse
import ctypes
import inspect
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from longtail import heads, inference, losses
from longtail.inference import Predictions, fitted, reference_of
from longtail.inference import retrained as retrained_rule

FEATURES, IMAGES, EXPERTS, STEPS = 2048, 1024, 3, 3
Case = tuple[str, Callable[[], Any], int]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--classes", type=int, default=8142)
    options.add_argument("--batches", type=int, nargs="+", default=[64, 128])
    options.add_argument("--features", type=int, default=FEATURES)
    options.add_argument("--repeats", type=int, default=5)
    asked = options.parse_args()
    torch.manual_seed(0)
    warnings.filterwarnings("ignore", message=".* but it takes (cosines|unit vectors)")
    counts = torch.linspace(1000, 2, asked.classes).long().tolist()
    print(f"{asked.classes:,} classes, {asked.features:,} features, {torch.get_num_threads()} threads, float32.")
    print(
        "state: parameters and buffers of the part. peak: memory beyond what is held before. seconds: median; forward, backward."
    )
    for batch in asked.batches:
        print(f"\nbatch {batch}{'':28} {'state':>10} {'peak':>10} {'seconds':>9}")
        for part in (losses_of(counts, batch, asked.features), heads_of(counts, batch, asked.features)):
            for case in part:
                show(case, asked.repeats)
    print(f"\nrules, {IMAGES:,} images{'':20} {'state':>10} {'peak':>10} {'seconds':>9}   of fitting and of the scores")
    for case in rules_of(counts, asked.features):
        show(case, 1)


def losses_of(counts: list[int], batch: int, size: int) -> Iterator[Case]:
    """A step of each loss on random cosines, or on random features."""
    labels = torch.randint(len(counts), (batch,))
    for name in losses.__all__:
        kind = getattr(losses, name)
        if kind in (losses.Loss, losses.FeatureLoss):
            continue
        on_features = issubclass(kind, losses.FeatureLoss)
        loss = kind(counts, feature_size=size) if on_features else kind(counts)
        shape = (
            (batch, size)
            if on_features
            else (batch, EXPERTS, len(counts))
            if kind is losses.ExpertsLoss
            else (batch, len(counts))
        )
        given = nn.functional.normalize(torch.randn(shape), dim=1) if on_features else torch.randn(shape).tanh()
        yield name, partial(step, loss, given.requires_grad_(), labels), bytes_of(loss)


def heads_of(counts: list[int], batch: int, size: int) -> Iterator[Case]:
    """A step of each head on random features; of BBN's the features of both branches, of the experts' those of all experts."""
    for name in heads.__all__:
        kind = getattr(heads, name)
        if kind is heads.Head:
            continue
        wide = size * EXPERTS if kind is heads.ExpertsHead else size
        wraps = next(iter(inspect.signature(kind).parameters)) == "head"
        head = kind(heads.LinearHead(size, len(counts))) if wraps else kind(wide, len(counts))
        yield name, partial(step, head, torch.randn(batch, wide, requires_grad=True)), bytes_of(head)
    two = heads.LinearHead(2 * size, len(counts))
    yield "LinearHead of two branches (BBN)", partial(step, two, torch.randn(batch, 2 * size, requires_grad=True)), bytes_of(two)


def rules_of(counts: list[int], size: int) -> Iterator[Case]:
    """Fitting and scores of each rule, on predictions of a head that has what each of them needs."""
    head = heads.CausalHead(size, len(counts))
    with torch.no_grad():
        features, labels = torch.randn(IMAGES, size), torch.randint(len(counts), (IMAGES,))
        given = Predictions(features, head(features), labels, torch.tensor(counts, dtype=torch.float64), head.state_dict())
    inspect.getmodule(retrained_rule).STEPS = STEPS  # type: ignore[union-attr]
    for name, rule in inspect.getmembers(inference, inspect.isfunction):
        if inspect.signature(rule).return_annotation != "Scores":
            continue
        said = f"{name} ({STEPS} of 200 steps)" if rule is retrained_rule else name
        yield said + (f", fitted on {reference_of(rule)}" if reference_of(rule) else ""), partial(fit_and_score, rule, given), 0


def fit_and_score(rule: Any, given: Predictions) -> Tensor:
    with torch.no_grad():
        scores: Tensor = fitted(rule, given)(given)
    return scores


def step(part: nn.Module, given: Tensor, *labels: Tensor) -> None:
    part.zero_grad(set_to_none=True)
    given.grad = None
    part(given, *labels).sum().backward()


def bytes_of(part: nn.Module) -> int:
    return sum(each.numel() * each.element_size() for each in (*part.parameters(), *part.buffers()))


def show(case: Case, repeats: int) -> None:
    """Prints one line: the state, the highest memory during one call beyond that before it, and the median of the seconds."""
    name, action, state = case
    action() if repeats > 1 else None
    ctypes.CDLL(None).malloc_trim(0)  # what was freed goes back to the system
    before = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the highest memory so far is forgotten
    seconds = [timed(action) for _ in range(repeats)]
    peak = status("VmHWM") - before
    print(f"{name:36} {state / 2**20:6.0f} MiB {peak / 2**10:6.0f} MiB {statistics.median(seconds):9.3f}", flush=True)


def timed(action: Callable[[], Any]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def status(name: str) -> int:
    """A line of this process's status, in KiB."""
    return next(int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))


if __name__ == "__main__":
    main()
