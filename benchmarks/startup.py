"""How long a command takes to show something: help, the list of methods, the demonstration's first epoch.

python benchmarks/record.py startup_cpu python benchmarks/startup.py
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

COMMANDS = (["--help"], ["train", "--help"], ["list"])
ROUNDS, DEMOS, POLL = 9, 3, 0.005


def main() -> None:
    print(f"Seconds, median (range); the first call of each, which compiles Python files, is left out. {os.cpu_count()} cores.")
    for command in COMMANDS:
        show(f"longtail {' '.join(command)}", [seconds_of(command) for _ in range(ROUNDS + 1)][1:])
    show("import torch", [timed([sys.executable, "-c", "import torch"]) for _ in range(ROUNDS + 1)][1:])
    show("longtail demo, to the end of its first epoch", [until_first_epoch() for _ in range(DEMOS + 1)][1:])


def show(what: str, seconds: list[float]) -> None:
    spread = f"({min(seconds):.2f} to {max(seconds):.2f})"
    print(f"{what:46} {statistics.median(seconds):6.2f} {spread}   n={len(seconds)}", flush=True)


def longtail(command: list[str]) -> list[str]:
    return [sys.executable, "-c", "from longtail.cli import main; main()", *command]


def seconds_of(command: list[str]) -> float:
    return timed(longtail(command))


def timed(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def until_first_epoch() -> float:
    """From the command to the first line of a run's log, written when its first epoch ends."""
    with tempfile.TemporaryDirectory() as runs:
        began = time.perf_counter()
        process = subprocess.Popen(longtail(["demo", "--runs", runs]), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and not any(Path(runs).rglob("log.jsonl")):
            time.sleep(POLL)
        seconds = time.perf_counter() - began
        if process.poll():
            raise SystemExit(f"longtail demo ended with exit status {process.returncode}.")
        process.kill()
        process.wait()
    return seconds


if __name__ == "__main__":
    main()
