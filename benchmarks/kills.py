"""Kills training at random and at every write, starts it again, and compares with a training that was not interrupted.

    python benchmarks/record.py kills python benchmarks/kills.py

Seven methods on digits_lt, 32-bit floats, one thread. Three kinds of test:
- KILL at a random moment, then the same command to the end: weights and report equal to the bit, nothing left over.
- KILL at each fsync, rename and unlink of a whole training, one after the other, the same way.
- Two processes start the same command on one folder at the same time, with an fsync that takes 20 ms: one of them finishes, the
  other is told who holds the folder or reads the result, and the result is equal to the bit.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path

from longtail.runs.report import read_report

METHODS = ("ce", "gcl", "crt", "lws", "bbn", "oltr", "gala_rebalanced")
OF_THE_CLOCK = ("seconds", "images_per_second")
WITH_FAULT = """
import os, signal, sys, time
from longtail.cli.app import main
at, slow = int(os.environ["KILL_AT"]), float(os.environ["SLOW"])
calls = [0]
def watched(name):
    function = getattr(os, name)
    def call(*arguments, **keywords):
        calls[0] += 1
        if calls[0] == at:
            os.kill(os.getpid(), signal.SIGKILL)
        if name == "fsync" and slow:
            time.sleep(slow)
        return function(*arguments, **keywords)
    setattr(os, name, call)
for name in ("fsync", "replace", "unlink"):
    watched(name)
try:
    main()
finally:
    print("writes:", calls[0], file=sys.stderr)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=40, help="Number of kills at random moments.")
    parser.add_argument("--pairs", type=int, default=20, help="Number of times that two processes start on one folder.")
    asked = parser.parse_args()
    outcomes = Counter[str]()
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for method in METHODS:
            began = time.perf_counter()
            started(method, Path("truth") / method).wait()
            seconds = time.perf_counter() - began
            for index in range(asked.kills // len(METHODS) + (METHODS.index(method) < asked.kills % len(METHODS))):
                outcomes[f"killed at random: {killed_at_random(method, seconds, index)}"] += 1
        writes = 1
        while (said := killed_at_write("gcl", writes)) != "not reached":
            outcomes[f"killed at a write: {said}"] += 1
            writes += 1
        for index in range(asked.pairs):
            outcomes[f"two processes: {two_at_once(METHODS[index % len(METHODS)])}"] += 1
    for outcome, count in sorted(outcomes.items()):
        print(f"{count:4}  {outcome}")
    sys.exit(any("WRONG" in outcome for outcome in outcomes))


def started(method: str, runs: Path, *, kill_at: int = 0, slow: float = 0.0) -> subprocess.Popen[str]:
    words = [
        "train",
        "digits_lt",
        "--method",
        method,
        "--epochs",
        "4",
        "--device",
        "cpu",
        "--precision",
        "32-true",
        "--runs",
        runs,
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "KILL_AT": str(kill_at), "SLOW": str(slow)}
    command = [sys.executable, "-c", WITH_FAULT, *map(str, words)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def killed_at_random(method: str, seconds: float, seed: int) -> str:
    runs = emptied(Path("runs"))
    process = started(method, runs)
    begins = time.monotonic()
    while process.poll() is None and not list(runs.rglob("record.json")):
        time.sleep(0.002)
    loading = time.monotonic() - begins
    time.sleep(random.Random(f"{method} {seed}").random() * max(seconds - loading, 0.1))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return continued(method, runs)


def killed_at_write(method: str, number: int) -> str:
    runs = emptied(Path("runs"))
    process = started(method, runs, kill_at=number)
    process.communicate()
    return continued(method, runs) if process.returncode == -signal.SIGKILL else "not reached"


def continued(method: str, runs: Path) -> str:
    process = started(method, runs)
    _, errors = process.communicate()
    return f"WRONG, exit code {process.returncode} {errors[-200:]}" if process.returncode else compared(method, runs)


def two_at_once(method: str) -> str:
    runs = emptied(Path("runs"))
    pair = [started(method, runs, slow=0.02) for _ in range(2)]
    ends = [(process.communicate()[1], process.returncode) for process in pair]
    told = sum(code == 2 and "is in use by process" in errors for errors, code in ends)
    done = sum(code == 0 for _, code in ends)
    if not done or told + done != 2:
        return f"WRONG, {ends}"
    return f"{done} finished, {told} told who holds the folder; {compared(method, runs)}"


def compared(method: str, runs: Path) -> str:
    truth, found = (run_of(folder, method) for folder in (Path("truth") / method, runs))
    left = [path.name for path in runs.rglob("*") if ".partial" in path.name or "state" in path.name or ".owner" in path.name]
    same = weights(truth) == weights(found) and without_clock(asdict(read_report(truth))) == without_clock(
        asdict(read_report(found))
    )
    files = [{path.relative_to(folder) for path in folder.rglob("*")} for folder in (Path("truth") / method, runs)]
    if not same or left or files[0] != files[1]:
        return f"WRONG, same bits: {same}, left over: {left}, files: {files[0] ^ files[1]}"
    return "same bits, same files, nothing left over"


def run_of(runs: Path, method: str) -> Path:
    (record,) = (runs / "digits_lt" / method).glob("*/record.json")
    return record.parent


def weights(run: Path) -> bytes:
    return (run / "model" / "model.safetensors").read_bytes()


def without_clock(thing: object) -> object:
    if isinstance(thing, dict):
        return {name: without_clock(value) for name, value in thing.items() if name not in OF_THE_CLOCK}
    return str([without_clock(each) for each in thing]) if isinstance(thing, (list, tuple)) else str(thing)


def emptied(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    return folder


if __name__ == "__main__":
    main()
