"""Images per second of a whole training by this source and by a former one, in turns, as the logs of their runs have them.

    git clone . FORMER && git -C FORMER checkout COMMIT
    python benchmarks/record.py speed_former_cpu python benchmarks/speed_former.py --former FORMER --root DATA --runs RUNS

Each training is a process of its own, with as many threads as the machine has cores.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median

TODAY = Path(__file__).resolve().parents[1]
STAGES = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--former", type=Path, required=True, help="Clone of the former state.")
    parser.add_argument("--root", type=Path, required=True, help="Folder of the CIFAR files.")
    parser.add_argument("--runs", type=Path, required=True, help="New folder for the runs of both.")
    parser.add_argument("--method", default="gcl", help="A method of two stages.")
    parser.add_argument("--epochs", type=int, default=2, help="Epochs of the first stage.")
    parser.add_argument("--rounds", type=int, default=4)
    asked = parser.parse_args()
    commit = subprocess.run(
        ["git", "rev-parse", "--short=10", "HEAD"], cwd=asked.former, capture_output=True, text=True, check=True
    )
    print(f"{asked.method} on CIFAR-10-LT at imbalance 100, batch 64, {asked.epochs} epochs of the first stage;")
    print(f"{asked.rounds} rounds, in each both sources, in turns; former: {commit.stdout.strip()}.")
    print(f"{'':9} {'former':>14} {'today':>14}   today / former")
    sources = {"former": asked.former, "today": TODAY}
    rounds = [
        {name: rates(source, asked.runs / f"{name} {turn}", asked) for name, source in sources.items()}
        for turn in range(asked.rounds)
    ]
    for stage in range(STAGES):
        former, today = ([each[name][stage] for each in rounds] for name in sources)
        ratios = [new / old for new, old in zip(today, former, strict=True)]
        spread = f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"stage {stage + 1}   {median(former):14.0f} {median(today):14.0f}   {spread}")


def rates(source: Path, runs: Path, asked: argparse.Namespace) -> list[float]:
    """Images per second in each stage of a training by the source of a clone."""
    environment = {**os.environ, "PYTHONPATH": str(source.resolve() / "src")}
    code = "from longtail.cli import main; main()"
    words = ["train", "cifar10_lt", "--method", asked.method, "--budget", "common", "--epochs", str(asked.epochs)]
    places = ["--device", "cpu", "--root", str(asked.root), "--runs", str(runs)]
    subprocess.run([sys.executable, "-c", code, *words, *places], check=True, env=environment, capture_output=True)
    lines = next(runs.rglob("log.jsonl")).read_text().splitlines()
    entries = [entry for entry in map(json.loads, lines) if "images_per_second" in entry]
    return [rate_of([entry for entry in entries if entry["stage"] == stage]) for stage in range(STAGES)]


def rate_of(epochs: list[dict[str, float]]) -> float:
    """Images of the epochs over their seconds."""
    images = sum(epoch["images_per_second"] * epoch["seconds"] for epoch in epochs)
    return images / sum(epoch["seconds"] for epoch in epochs)


if __name__ == "__main__":
    main()
