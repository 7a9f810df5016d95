"""Paths of all files and folders below the folder of all runs."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from longtail.errors import MissingFileError, UserError
from longtail.runs.folder import REPORT
from longtail.runs.seals import read_json

ANSWERS = "answers.json"
VALIDATION = "validation.pt"  # of a comparison: predictions of the chosen candidate on its validation images
FRESH = "fresh"  # folder inside a run, in which it is trained anew
CHECKPOINTS = ("state.pt", "state.before.pt")  # the newest first
Folder = str | os.PathLike[str]
"""The path of a folder of runs, or what names one, as the result of `longtail.train` does."""


def run_folder(runs: Path, setting: str, method: str, seed: int, key: str) -> Path:
    """Folder of one experiment, named by its seed and the first digits of its hash."""
    return runs / setting / method / f"{seed}-{key[:6]}"


def stages_folder(runs: Path, setting: str) -> Path:
    """Folder of the finished stages that the runs of a setting share."""
    return runs / setting / "stages"


def stages_of(run: Path) -> Path:
    """Folder of the stages of a run folder: its own, which a training anew has, or that of all runs of its setting."""
    return run / "stages" if (run / "stages").exists() else run.parent.parent / "stages"


def answers_folder(runs: Path, setting: str, seed: int, key: str) -> Path:
    """Folder of a comparison of several methods at one seed."""
    return run_folder(runs, setting, "answers", seed, key)


def jobs_folder(runs: Path) -> Path:
    """Folder of the jobs that were given to a scheduler, with their logs."""
    return runs / "jobs"


def seen_file(runs: Path, setting: str) -> Path:
    """List of the image files that were decoded before, with their sizes, times and hashes."""
    return runs / setting / "seen.csv"


def data_file(runs: Path, setting: str) -> Path:
    """Which folder of images or CSV the runs of a setting are on."""
    return runs / setting / "data.json"


def settled_file(runs: Path, setting: str) -> Path:
    """Choices that were made by measuring, for the runs of a setting."""
    return runs / setting / "settled.json"


def demo_figure(runs: Path, setting: str) -> Path:
    """Path of the figure that the demonstration draws."""
    return runs / setting / "demo.png"


def demo_page(runs: Path, setting: str) -> Path:
    """Path of the report of the demonstration."""
    return runs / setting / "report.html"


def finished_runs(runs: Path, setting: str) -> Iterator[Path]:
    """Folders of a setting's runs that have a report, in the order of their paths."""
    return (report.parent for report in sorted((runs / setting).glob("*/*/report.json")))


def folder_name(path: Path) -> str:
    """The name of a folder of images or of a CSV, without what has no place in a path."""
    return re.sub(r"[^\w.-]+", "_", path.resolve().stem if path.is_file() else path.resolve().name) or "folder"


def chosen_run(folder: Path) -> Path:
    """Folder of the run that a comparison of methods chose, if `folder` is a comparison's; else `folder` itself.

    Raises:
        UserError: answers.json is cut off, or names no run.
        MissingFileError: the run is not where it was.
    """
    if not (folder / ANSWERS).exists():
        return folder
    answers = read_json(folder, ANSWERS)
    chosen = answers.get("chosen_run") if isinstance(answers, dict) else None
    if not isinstance(chosen, str):
        raise UserError(f"'{folder / ANSWERS}' does not say which run was chosen; give the folder of one of the compared runs.")
    run = folder / chosen
    if not run.is_dir():
        raise MissingFileError(
            f"'{folder}' is a comparison, and the run that it chose is not at '{run}' any more; move both folders together, or "
            f"give that of the run."
        )
    short = Path(os.path.normpath(run))  # without `..`, which a link may lead elsewhere
    return short if os.path.realpath(short) == os.path.realpath(run) else run


def runs_in(folder: Path) -> list[Path]:
    """A finished run or a comparison alone; in a folder of one method's runs those that are finished; else none."""
    if (folder / REPORT).exists() or (folder / ANSWERS).exists():
        return [folder]
    return sorted(path.parent for path in folder.glob(f"*/{REPORT}"))


def as_folders(paths: Folder | Sequence[Folder]) -> list[Path]:
    """One path or several as a list, with the user's home folder in place of ~."""
    return [Path(each).expanduser() for each in ([paths] if isinstance(paths, (str, os.PathLike)) else paths)]
