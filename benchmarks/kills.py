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
import importlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from faults import without_clock

from longtail.cli.app import main as longtail_main
from longtail.runs.report import read_report

COMMAND = ["train", "digits_lt", "--epochs", "4", "--device", "cpu", "--precision", "32-true"]
METHODS = ("ce", "gcl", "crt", "lws", "bbn", "oltr", "gala_rebalanced")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=40, help="Number of kills at random moments.")
    parser.add_argument("--pairs", type=int, default=20, help="Number of times that two processes start on one folder.")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    for module in ("longtail.cli.train", "sklearn.datasets", "timm", "safetensors.torch"):
        importlib.import_module(module)
    outcomes = Counter[str]()
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for method in METHODS:
            began = time.perf_counter()
            Command(method, Path("truth") / method).end()
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


class Command:
    """A command of longtail in a fork of this process, so that torch is imported once."""

    def __init__(self, method: str, runs: Path, *, kill_at: int = 0, slow: float = 0.0) -> None:
        self.output, writing = os.pipe()
        self.pid, self.code = os.fork(), None
        if not self.pid:
            os.dup2(writing, 1)
            os.dup2(writing, 2)
            os._exit(run_command([*COMMAND, "--method", method, "--runs", str(runs)], kill_at, slow))
        os.close(writing)

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while the command runs."""
        if self.code is None and (ended := os.waitpid(self.pid, os.WNOHANG))[0]:
            self.code = os.waitstatus_to_exitcode(ended[1])
        return self.code

    def end(self) -> tuple[int, str]:
        """Waits, and returns the exit code and what was printed."""
        with os.fdopen(self.output) as output:
            said = output.read()
        if self.code is None:
            self.code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.code, said


def run_command(words: list[str], kill_at: int, slow: float) -> int:
    """Runs a command with watched system calls, and returns its exit code."""
    calls = 0

    def watched(name: str) -> Callable[..., Any]:
        function = getattr(os, name)

        def call(*arguments: Any, **keywords: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            if name == "fsync" and slow:
                time.sleep(slow)
            return function(*arguments, **keywords)

        return call

    for name in ("fsync", "replace", "unlink"):
        setattr(os, name, watched(name))
    sys.argv = ["longtail", *words]
    try:
        longtail_main()
    except SystemExit as stop:
        sys.stdout.flush()
        return int(stop.code or 0)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def killed_at_random(method: str, seconds: float, seed: int) -> str:
    command = Command(method, emptied(Path("runs")))
    time.sleep(random.Random(f"{method} {seed}").random() * seconds)
    if command.poll() is None:
        os.kill(command.pid, signal.SIGKILL)
    code, _ = command.end()
    return f"{'' if code < 0 else 'was finished, '}{continued(method, Path('runs'))}"


def killed_at_write(method: str, number: int) -> str:
    code, _ = Command(method, emptied(Path("runs")), kill_at=number).end()
    return continued(method, Path("runs")) if code == -signal.SIGKILL else "not reached"


def continued(method: str, runs: Path) -> str:
    code, said = Command(method, runs).end()
    return f"WRONG, exit code {code} {said[-200:]}" if code else compared(method, runs)


def two_at_once(method: str) -> str:
    runs = emptied(Path("runs"))
    pair = [Command(method, runs, slow=0.02) for _ in range(2)]
    ends = [command.end() for command in pair]
    told = sum(code == 2 and "is in use by process" in said for code, said in ends)
    done = sum(code == 0 for code, _ in ends)
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


def emptied(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    return folder


if __name__ == "__main__":
    main()
