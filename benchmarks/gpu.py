"""What a GPU can do: which variants are right, how fast runs are alone and at once, where a step's time goes, and what is best.

    python benchmarks/record.py gpu_NAME python benchmarks/gpu.py --root DATA
    python benchmarks/gpu.py --root DATA --device cpu --quick     (shows on a CPU that everything runs; its figures mean nothing)

Measurements begin as long as the time that is given is not up, the most wanted first; one that fails is said in a line.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from gpu_kernels import kernels
from gpu_stages import HALF, Bench, Way, differences, sampled
from speed import WORK, Work

from longtail.engine import variants
from longtail.engine.devices import device_name
from longtail.runs.devices import chosen_device

CE, GCL = WORK[0], WORK[1]
FLOAT, FLOAT16 = "32-true", "16-mixed"
CHEAP, ALL = ("cast", "counters"), tuple(variants.VARIANTS)
TOLERANCES = {"recorded": 1e-2, "branches": 1e-2, "cast": 1e-2, "counters": 1e-2, "compile": 2e-2, "as one": 2e-2, FLOAT16: 5e-2}


@dataclass
class Measurements:
    """Measurements until the time is up."""

    bench: Bench
    until: float
    began: float = field(default_factory=time.monotonic)
    rates: dict[tuple[str, Way], float] = field(default_factory=dict)
    wrong: set[str] = field(default_factory=set)

    def attempt(self, name: str, measure: Callable[[], str]) -> None:
        """Prints what a measurement says, or why it says nothing."""
        seconds = time.monotonic() - self.began
        if seconds > self.until:
            print(f"{name:62} not begun, the time is up")
            return
        try:
            said = measure()
        except Exception as error:
            said = f"FAILED: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        print(f"{name:62} {said}   [{time.monotonic() - self.began - seconds:.1f} s]", flush=True)

    def rate(self, work: Work, way: Way) -> None:
        """Measures images per second of a way."""

        def measure() -> str:
            self.rates[work.name, way] = self.bench.rate(work, way)
            return f"{self.rates[work.name, way]:10,.0f} images/s"

        self.attempt(f"{work.name}: {way.words}", measure)

    def right(self, name: str, work: Work, way: Way, plain: Way) -> None:
        """Compares the losses of two epochs with those of plain steps of one network."""

        def measure() -> str:
            losses = self.bench.losses(work, way, 2)[:: way.runs]  # of the first network
            found = differences(self.bench.losses(work, plain, 2), losses)
            verdict = "right" if found <= TOLERANCES[name] else "WRONG"
            if verdict == "WRONG":
                self.wrong.add(name)
            return f"{verdict}: losses differ by {found:.1e}, allowed {TOLERANCES[name]:.0e}"

        self.attempt(f"{work.name}, {name}", measure)

    def plain(self, work: Work, workers: int, steps: int) -> None:
        """Measures the plain loop."""
        self.attempt(
            f"{work.name}: plain loop, {workers} workers", lambda: f"{self.bench.plain(work, workers, steps):10,.0f} images/s"
        )

    def processes(self, work: Work, way: Way, count: int, epochs: int) -> None:
        """Measures whole runs in processes of their own."""
        named = f"{work.name}: {count} processes, {', '.join(way.fast) or 'plain'}"
        self.attempt(named, lambda: f"{self.bench.processes(work, way, count, epochs):10,.0f} images/s in sum")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--root", type=Path, required=True, help="folder of the CIFAR files")
    options.add_argument("--device", default="auto")
    options.add_argument("--quick", action="store_true", help="a small network and few steps")
    options.add_argument("--seconds", type=float, default=280, help="after which no measurement begins")
    asked = options.parse_args()
    device = torch.device(chosen_device(asked.device))
    if asked.quick and device.type == "cpu":
        variants.BACKEND = "aot_eager"  # the other one calls a C++ compiler for minutes
    torch.backends.cudnn.benchmark = True  # as in training
    bench = Bench(sampled(asked.root, 2 if asked.quick else 100), device, asked.root, asked.quick, 1 if asked.quick else 4)
    ours = Measurements(bench, asked.seconds)
    network = "ResNet-8" if asked.quick else "ResNet-32"
    print(f"{device_name(device)}, {network}, {len(bench.data.train)} images of CIFAR-10-LT, {HALF} where nothing else is said")
    recorded = device.type == "cuda"
    few = 2 if asked.quick else 8
    few_images = replace(bench, data=sampled(asked.root, 2 if asked.quick else 25))
    correctness(replace(ours, bench=few_images), recorded)
    one_run(ours, recorded)
    at_once(ours, recorded, (few,) if asked.quick else (8, 16))
    best = best_of(ours)
    print(f"Where the time of a step goes: {GCL.name}, {best.words}")
    ours.attempt("", lambda: "\n" + "\n".join(kernels(bench, GCL, best)))
    rest_of_one_run(ours, best, 2 if asked.quick else 40)
    ours.processes(GCL, Way(graphs=recorded), few, 1 if asked.quick else 20)
    print(said_of(best, device_name(device)))


def correctness(ours: Measurements, recorded: bool) -> None:
    """Every variant against plain steps, in float32 where it is about the network."""
    torch.backends.cudnn.allow_tf32 = False
    plain, half = Way(precision=FLOAT), Way()
    if recorded:
        ours.right("recorded", GCL, replace(plain, graphs=True), plain)
    ours.right("cast", GCL, replace(half, graphs=recorded, fast=("cast",)), half)
    ours.right("counters", GCL, replace(plain, graphs=recorded, fast=("counters",)), plain)
    ours.right("branches", GCL, replace(plain, graphs=recorded, runs=2), plain)
    ours.right("as one", GCL, replace(plain, graphs=recorded, runs=2, stacked=True), plain)
    ours.right(FLOAT16, GCL, replace(plain, graphs=recorded, precision=FLOAT16), plain)
    ours.right("compile", GCL, replace(plain, graphs=recorded, fast=("compile",)), plain)
    torch.backends.cudnn.allow_tf32 = True


def one_run(ours: Measurements, recorded: bool) -> None:
    """One run of cross-entropy and of GCL's first stage, with each variant."""
    way = Way(graphs=recorded)
    for work in (GCL, CE):
        for fast in ((), CHEAP, ALL) if work is GCL else ((), CHEAP):
            ours.rate(work, replace(way, fast=fast))
        if recorded:  # a CPU takes 30 times as long in float16
            ours.rate(work, replace(way, precision=FLOAT16))
        ours.rate(work, replace(way, batch=128))


def at_once(ours: Measurements, recorded: bool, counts: Sequence[int]) -> None:
    """Several runs of one method in one process."""
    for runs in counts:
        for stacked in (False, True):
            ours.rate(GCL, Way(graphs=recorded, runs=runs, stacked=stacked))
    for runs in counts[:1]:
        ours.rate(WORK[2], Way(graphs=recorded, runs=runs))
        ours.rate(CE, Way(graphs=recorded, runs=runs, batch=128))


def rest_of_one_run(ours: Measurements, best: Way, steps: int) -> None:
    """Each method with the best variants, beside the plain loop and steps that are not recorded."""
    for work in WORK:
        if (work.name, best) not in ours.rates:
            ours.rate(work, replace(best, fast=tuple(name for name in best.fast if name != "compile")))
        ours.plain(work, 0, steps)
    if steps > 2:
        for work in WORK:
            ours.plain(work, 8, 2 * steps)
    ours.rate(GCL, Way())


def best_of(ours: Measurements) -> Way:
    """The fastest way of one run of GCL's first stage whose variants are right, at the batch of the paper."""
    alone = {way: rate for (name, way), rate in ours.rates.items() if name == GCL.name and way.runs == 1 and way.batch == 64}
    able = {way: rate for way, rate in alone.items() if not ours.wrong & {*way.fast, way.precision}}
    return max(able, key=lambda way: able[way], default=Way())


def said_of(best: Way, device: str) -> str:
    """The choice as an option, and as a line for the package's table."""
    precision = f" --precision {best.precision}" * (best.precision != HALF)
    return f'Best for one run: --fast {",".join(best.fast) or "none"}{precision}\nFor the table `BEST`: "{device}": {best.fast!r}'


if __name__ == "__main__":
    main()
