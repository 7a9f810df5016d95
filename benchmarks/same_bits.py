"""Whether another state of the source trains the same: every method on digits_lt, by two clones, equal to the bit or not.

    git clone . FORMER && git -C FORMER checkout COMMIT
    python benchmarks/same_bits.py --former FORMER --runs RUNS

Compared are the hash of the experiment, every tensor of the stored model, and the report but for times and the device's name.
One thread each, since sums depend on the number of threads. Finished runs are read back.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from longtail import recipes
from longtail.runs.layout import finished_runs
from longtail.runs.report import read_report

TODAY = Path(__file__).resolve().parents[1]
SETTING = "digits_lt"
OF_THE_CLOCK = ("seconds", "images_per_second", "device")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--former", type=Path, required=True, help="Clone of the other state.")
    parser.add_argument("--runs", type=Path, required=True, help="Folder for the runs of both.")
    asked = parser.parse_args()
    differing = [method.__name__ for method in recipes.ALL if not same(method.__name__, asked)]
    print(f"{len(recipes.ALL) - len(differing)} of {len(recipes.ALL)} methods equal to the bit")
    sys.exit(bool(differing))


def same(method: str, asked: Any) -> bool:
    """Trains the method by both and prints a line on what was compared."""
    former, today = (trained(method, source, asked.runs / name) for source, name in ((asked.former, "former"), (TODAY, "today")))
    hashes = [json.loads((run / "record.json").read_text())["experiment"] for run in (former, today)]
    weights = [load_file(run / "model" / "model.safetensors") for run in (former, today)]
    equal = {
        "experiment": hashes[0] == hashes[1],
        "weights": weights[0].keys() == weights[1].keys() and all(same_bits(weights[0][n], weights[1][n]) for n in weights[0]),
        "report": not list(differences(asdict(read_report(former)), asdict(read_report(today)))),
    }
    for path in differences(asdict(read_report(former)), asdict(read_report(today))):
        print(f"  {path}")
    numbers = sum(tensor.numel() for tensor in weights[0].values())
    said = ", ".join(f"{name} {'equal' if value else 'DIFFER'}" for name, value in equal.items())
    print(f"{method:24} {hashes[0][:12]}  {numbers:7,} numbers  {said}", flush=True)
    return all(equal.values())


def trained(method: str, source: Path, runs: Path) -> Path:
    """The run folder of the method, trained by the source of a clone."""
    environment = {**os.environ, "PYTHONPATH": str(source.resolve() / "src"), "OMP_NUM_THREADS": "1"}
    code = "from longtail.cli import main; main()"
    words = ["train", SETTING, "--method", method, "--device", "cpu", "--runs", str(runs)]
    subprocess.run([sys.executable, "-c", code, *words], check=True, env=environment, capture_output=True)
    return next(run for run in finished_runs(runs, SETTING) if run.parent.name == method)


def same_bits(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Equal in type, shape and every bit."""
    return (
        one.dtype == other.dtype
        and one.shape == other.shape
        and torch.equal(one.flatten().view(torch.uint8), other.flatten().view(torch.uint8))
    )


def differences(former: Any, today: Any, path: str = "report") -> Iterator[str]:
    """Paths at which two reports differ; what the former did not store is not compared."""
    if former is None or path.rpartition(".")[2] in OF_THE_CLOCK:
        return
    if isinstance(former, dict) and isinstance(today, dict) and former.keys() == today.keys():
        for name in former:
            yield from differences(former[name], today[name], f"{path}.{name}")
    elif isinstance(former, (list, tuple)) and isinstance(today, (list, tuple)) and len(former) == len(today):
        for index, pair in enumerate(zip(former, today, strict=True)):
            yield from differences(*pair, f"{path}.{index}")
    elif former != today and not (former != former and today != today):  # nan is equal to nan
        yield f"{path}: {former} {today}"


if __name__ == "__main__":
    main()
