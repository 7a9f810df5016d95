"""What checking costs: seconds until training begins on many files, and seconds per epoch, of two states of the source.

    git clone . FORMER && git -C FORMER checkout COMMIT
    python benchmarks/record.py trust_cost python benchmarks/trust_cost.py --former FORMER --files 50000

Images of 32x32 pixels as PNG files, one folder for each of ten classes. `inspect`, and `train` until its first step: in memory,
and as if they did not fit into memory, for the first and for the second time. Then seconds per epoch of ResNet-32 on a fifth of
them, with log and checkpoint. The states take turns.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image

TODAY = Path(__file__).resolve().parents[1]
FIRST_STEP = """
import sys, time
began = time.perf_counter()
import longtail
from longtail.data import folder
from longtail.workflow.watcher import Silent
if sys.argv[3] == "files":
    folder.MEMORY_LIMIT = 0
class Stop(Silent):
    def step(self, stage, progress):
        raise KeyboardInterrupt
try:
    options = {"method": "ce", "size": 32, "device": "cpu", "precision": "32-true"}
    longtail.train(sys.argv[1], epochs=1, runs=sys.argv[2], watcher=Stop(), **options)
except KeyboardInterrupt:
    print(time.perf_counter() - began)
"""
INSPECT = """
import sys, time
from pathlib import Path
from longtail.data.inspection import inspect
began = time.perf_counter()
inspect(Path(sys.argv[1]))
print(time.perf_counter() - began)
"""
EPOCHS = """
import sys, time
import longtail
from longtail.workflow.watcher import Silent
class Clock(Silent):
    times = {}
    def step(self, stage, progress):
        self.times.setdefault(progress.epoch, time.perf_counter())
clock = Clock()
options = {"method": "ce", "size": 32, "device": "cpu", "precision": "32-true"}
longtail.train(sys.argv[1], epochs=4, runs=sys.argv[2], watcher=clock, **options)
print((clock.times[3] - clock.times[1]) / 2)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--former", type=Path, required=True, help="Clone of the other state.")
    parser.add_argument("--files", type=int, default=50_000, help="Number of image files.")
    parser.add_argument("--rounds", type=int, default=3, help="Number of measurements of each.")
    asked = parser.parse_args()
    found = defaultdict[tuple[str, str], list[float]](list)
    with tempfile.TemporaryDirectory() as folder:
        many, few = paint(Path(folder) / "many", asked.files), paint(Path(folder) / "few", asked.files // 5)
        for number in range(asked.rounds):
            for name, source in (("before", asked.former), ("after", TODAY)):
                runs = [str(Path(folder) / f"{name}{number}{kind}") for kind in "abc"]
                found["inspect", name].append(seconds(source, INSPECT, many))
                found["first step, in memory", name].append(seconds(source, FIRST_STEP, many, runs[0], "memory"))
                found["first step, from files", name].append(seconds(source, FIRST_STEP, many, runs[1], "files"))
                found["the same for the second time", name].append(seconds(source, FIRST_STEP, many, runs[1], "files"))
                found["an epoch of ResNet-32", name].append(seconds(source, EPOCHS, few, runs[2]))
    show(found, asked.files)


def paint(root: Path, count: int) -> Path:
    generator = np.random.default_rng(0)
    for index in range(count):
        folder = root / f"class{index % 10}"
        folder.mkdir(parents=True, exist_ok=True)
        coarse = Image.fromarray(generator.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        coarse.resize((32, 32), Image.Resampling.BILINEAR).save(folder / f"{index}.png")
        os.utime(folder / f"{index}.png", (0, 0))
    return root


def seconds(source: Path, code: str, *words: object) -> float:
    environment = {**os.environ, "PYTHONPATH": str(source / "src")}
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)], env=environment, capture_output=True, text=True, check=True
    )
    return float(done.stdout.split()[-1])


def show(found: dict[tuple[str, str], list[float]], files: int) -> None:
    print(f"{files:,} files, {files // 5:,} for the epochs; seconds, median (smallest to largest); {os.cpu_count()} cores")
    for what in dict.fromkeys(name for name, _ in found):
        before, after = found[what, "before"], found[what, "after"]
        ratio = median(after) / median(before)
        print(f"{what:30} before {spread(before)}   after {spread(after)}   ratio {ratio:.2f}   n={len(after)}")


def spread(values: list[float]) -> str:
    return f"{median(values):6.2f} ({min(values):.2f} to {max(values):.2f})"


if __name__ == "__main__":
    main()
