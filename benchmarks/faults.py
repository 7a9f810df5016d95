"""Damages every kind of file of a run, and counts what commands then do: go on, refuse, or go wrong.

    python benchmarks/record.py faults python benchmarks/faults.py

GCL on digits_lt, finished and half-trained. Each file is cut in half, emptied, zeroed, and has single random bits flipped. Then
predict, evaluate, table and verify run on the damaged copy, and the training command is given again. A command is right if it
prints what it prints for the whole run, or if it names the damaged file and ends without a traceback; training must end in the
same weights and the same report. A flip that a command does not notice since it does not read the file is right as well.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import shutil
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from PIL import Image

from longtail.cli.app import main as longtail_main
from longtail.cli.show import console
from longtail.runs.report import read_report
from longtail.workflow.train import train

OPTIONS = {"method": "gcl", "epochs": 4, "changes": {"stages.1.epochs": 4}, "device": "cpu", "precision": "32-true"}
TRAIN = ["train", "digits_lt", "--method", "gcl", "--epochs", "4", "--set", "stages.1.epochs=4", "--device", "cpu"]
TRAIN += ["--precision", "32-true", "--runs", "runs"]
OF_THE_CLOCK = ("seconds", "images_per_second")
Answer = tuple[int | str, str, str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flips", type=int, default=30, help="Number of single bits flipped in each file.")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        write_images(Path("images"))
        whole, half = Path("whole"), Path("half")
        train("digits_lt", runs=whole, **OPTIONS)
        interrupted(half)
        results = [
            *faults(whole, finished_files(whole), asked.flips),
            *faults(half, unfinished_files(half), asked.flips, whole=whole),
        ]
    show(results, asked.flips)


def write_images(folder: Path) -> None:
    """Twelve images of the digits, to predict."""
    from sklearn.datasets import load_digits

    folder.mkdir()
    for index, pixels in enumerate(load_digits().images[:12]):
        Image.fromarray((pixels * 15).astype(np.uint8)).save(folder / f"{index}.png")


class Stop(Exception):  # noqa: N818
    """Ends a training in its middle."""


class Stopping:
    """A watcher that ends the training in the fourth epoch of the second stage."""

    def note(self, text: str) -> None: ...

    def reading(self, done: int, total: int) -> None: ...

    def begin(self, experiment: object) -> None: ...

    def step(self, stage: int, progress: object) -> None:
        if (stage, progress.epoch) == (1, 3):  # type: ignore[attr-defined]
            raise Stop


def interrupted(runs: Path) -> None:
    with contextlib.suppress(Stop):
        train("digits_lt", runs=runs, watcher=Stopping(), **OPTIONS)


def run_of(runs: Path) -> Path:
    (record,) = runs.glob("digits_lt/gcl/*/record.json")
    return record.parent


def finished_files(runs: Path) -> list[Path]:
    files = [path for path in run_of(runs).rglob("*") if path.is_file() and path.name != ".lock"]
    return [path.relative_to(runs) for path in sorted(files)] + stages(runs)


def unfinished_files(runs: Path) -> list[Path]:
    names = ("record.json", "state.pt", "state.before.pt")
    return [(run_of(runs) / name).relative_to(runs) for name in names] + stages(runs)


def stages(runs: Path) -> list[Path]:
    return [path.relative_to(runs) for path in sorted((runs / "digits_lt" / "stages").glob("*.pt"))]


def damages(flips: int, name: str) -> Iterator[tuple[str, Callable[[bytes], bytes]]]:
    yield "cut in half", lambda content: content[: len(content) // 2]
    yield "emptied", lambda content: b""
    yield "zeroed", lambda content: bytes(len(content))
    generator = np.random.default_rng(len(name))
    for _ in range(flips):
        yield "one bit flipped", partial(flipped, share=generator.random())


def flipped(content: bytes, share: float) -> bytes:
    bit = int(share * 8 * len(content))
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def faults(source: Path, files: list[Path], flips: int, whole: Path | None = None) -> Iterator[tuple[str, str, str, str]]:
    """For each damage: the file, the damage, the command, and how the command ended; of a half-trained run, training alone.

    Args:
        source: runs that are copied and damaged.
        whole: finished runs that training must equal, if those of `source` are not finished.
    """
    commands = readers(run_of(prepared(source))) if whole is None else {}
    truth, expected = result_of(whole or source), {name: answer(words) for name, words in commands.items()}
    for file in files:
        name = "a stored stage" if file.parent.name == "stages" else file.name
        kind = name if whole is None else f"{name} (half-trained)"
        for damage, change in damages(flips, file.name):
            path = prepared(source) / file
            path.write_bytes(change(path.read_bytes()))
            for command, words in commands.items():
                yield kind, damage, command, judged(answer(words), expected[command], path)
            yield kind, damage, "train", judged_training(answer(TRAIN), truth, path)


def prepared(source: Path) -> Path:
    shutil.rmtree("runs", ignore_errors=True)
    shutil.copytree(source, "runs")
    return Path("runs")


def readers(run: Path) -> dict[str, list[str]]:
    return {
        "predict": ["predict", str(run), "images"],
        "evaluate": ["evaluate", str(run), "--groups", "auto"],
        "table": ["table", "digits_lt", "--runs", "runs"],
        "verify": ["verify", "runs"],
    }


def answer(words: list[str]) -> Answer:
    """Exit code, standard output with the CSV that was written, and standard error of a command; "traceback" as its code."""
    out, err = io.StringIO(), io.StringIO()
    code: int | str = 0
    with (
        mock.patch.object(sys, "argv", ["longtail", *words]),
        mock.patch.object(console, "_width", 250),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        warnings.catch_warnings(action="ignore"),
    ):
        try:
            longtail_main()
        except SystemExit as stop:
            code = stop.code or 0
        except BaseException:
            code = "traceback"
            err.write(traceback.format_exc())
    for csv in Path("runs").rglob("predict.csv"):
        out.write(csv.read_text())
        csv.unlink()
    return code, out.getvalue(), err.getvalue()


def result_of(runs: Path) -> tuple[bytes, object]:
    """Weights and report of a finished run, without what the clock says."""
    run = run_of(runs)
    return (run / "model" / "model.safetensors").read_bytes(), without_clock(asdict(read_report(run)))


def without_clock(thing: object) -> object:
    if isinstance(thing, dict):
        return {name: without_clock(value) for name, value in thing.items() if name not in OF_THE_CLOCK}
    return str([without_clock(each) for each in thing]) if isinstance(thing, (list, tuple)) else str(thing)


def judged(found: Answer, expected: Answer, path: Path) -> str:
    code, out, err = found
    if code == "traceback" or "Traceback" in err:
        return f"TRACEBACK {err.strip().splitlines()[-1]}"
    if (code, out) == expected[:2]:
        return "same answer"
    said = path.name in out + err or (path.parent.name in out + err and code)
    return ("named, others shown" if code == 0 else "named, refused") if said else f"SILENT DIFFERENCE {err or out}"


def judged_training(found: Answer, truth: object, path: Path) -> str:
    code, out, err = found
    if code == "traceback" or "Traceback" in err:
        return f"TRACEBACK {err.strip().splitlines()[-1]}"
    if code:
        return f"refused: {err.strip()[:100]}"
    same = result_of(Path("runs")) == truth
    how = "named and mended" if path.name in out else "not needed, not read"
    return f"{how}, same bits" if same else f"SILENT DIFFERENCE ({how})"


def show(results: list[tuple[str, str, str, str]], flips: int) -> None:
    counts = Counter((kind, command, damage, said) for kind, damage, command, said in results)
    print(f"{'file':32} {'command':9} {'damage':16} {'n':>4}  how the command ended")
    for (kind, command, damage, said), count in sorted(counts.items()):
        print(f"{kind:32} {command:9} {damage:16} {count:4}  {said}")
    wrong = Counter(said.split()[0] for *_, said in results if said.isupper() or said.startswith(("SILENT", "TRACEBACK")))
    print(
        f"{len(results)} commands: {wrong['SILENT']} silent differences, {wrong['TRACEBACK']} tracebacks ({flips} flips per file)"
    )
    sys.exit(bool(wrong))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
