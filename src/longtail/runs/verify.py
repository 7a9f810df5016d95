"""Checks every file of a run folder: what is damaged, and how it can be made again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from longtail.errors import MissingFileError, UserError
from longtail.results import counted
from longtail.runs.folder import CHECKSUMS, RECORD, REPORT, RunFolder
from longtail.runs.held_out import AGAIN as KEPT_AGAIN
from longtail.runs.held_out import kept
from longtail.runs.layout import ANSWERS, CHECKPOINTS, FRESH, VALIDATION, chosen_run, stages_of
from longtail.runs.report import read_report
from longtail.runs.seals import REMEDY, check_state, is_sealed, read_json
from longtail.runs.tuned import AGAIN, TUNED, read_tuned

AGES = (("day", 86400), ("hour", 3600), ("minute", 60))


@dataclass(frozen=True)
class Finding:
    """What the check of one file found.

    Args:
        path: the file.
        state: "whole", "damaged", or "unchecked" where release 0.1.0 wrote it without a checksum.
        problem: sentence on the damage; "" where there is none.
        remedy: sentence on how the file is made again; "" where nothing is damaged.
    """

    path: Path
    state: str
    problem: str = ""
    remedy: str = ""


def verify(folder: Path) -> Iterator[Finding]:
    """Checks all runs, comparisons and stored stages in or below a folder.

    Raises:
        MissingFileError: there is no run in or below it.
    """
    runs = sorted({path.parent for name in (RECORD, REPORT, CHECKSUMS, *CHECKPOINTS) for path in folder.rglob(name)})
    answers = sorted(folder.rglob(ANSWERS))
    if not folder.is_dir():
        raise MissingFileError(f"There is no folder '{folder}'; give a run folder, or the folder of all runs.")
    if not runs and not answers:
        raise MissingFileError(f"'{folder}' holds no longtail run; give a run folder, or the folder of all runs.")
    seen = set[Path]()
    for path in [*runs, *_chosen_elsewhere(answers, runs)]:
        yield from _run_findings(RunFolder(path), seen)
    for path in sorted(set(folder.rglob("stages/*.pt")) - seen):
        yield _of_stage(path)
    for path in answers:
        yield _of_json(path, "The same command of the comparison writes it again.")
        if (path.parent / VALIDATION).exists():
            yield _checked(path.parent / VALIDATION, partial(kept, path.parent), KEPT_AGAIN)


def _chosen_elsewhere(answers: Sequence[Path], runs: Sequence[Path]) -> list[Path]:
    """Runs that comparisons chose and that lie outside the folder that is checked."""
    known, found = {run.resolve() for run in runs}, list[Path]()
    for path in answers:
        with suppress(UserError):  # of a damaged comparison, which is said beside
            found.append(chosen_run(path.parent).resolve())
    return sorted(set(found) - known)


def damaged(run: RunFolder) -> Iterator[str]:
    """A sentence for each damaged file of a finished run."""
    for finding in (*_sealed(run, ""), *_listed(run, "")):
        if finding.problem:
            yield finding.problem


def read_back(run: RunFolder) -> str:
    """Sentence on when, from which commit and under which conditions a finished run was trained."""
    seconds = max(time.time() - (run.folder / REPORT).stat().st_mtime, 0)
    count, unit = next(((int(seconds // size), name) for name, size in AGES if seconds >= size), (0, "minute"))
    age = f"{counted(count, unit)} ago" if count else "just now"
    half = ", from where that was stopped before" if (run.folder / FRESH / RECORD).exists() else ""
    commit = (run.starts or [{}])[-1].get("commit") or run.record.get("commit")
    where = f" at commit {commit}" if commit else ""
    tuned = " `longtail evaluate` shows it with what `longtail tune` chose since." if (run.folder / TUNED).exists() else ""
    return f"'{run.folder}' was finished {age}{where} and is read back; `fresh` trains it anew{half}.{tuned}"


def check_copy(path: Path) -> None:
    """Checks a file, or a run folder's weights, that lies in a finished run and is read as an input of another one.

    Raises:
        DamagedFile: the file differs from what the run wrote.
    """
    path = path / "model" / "model.safetensors" if path.is_dir() else path
    for folder in (path.parent, path.parent.parent):
        if (folder / CHECKSUMS).exists() and path.exists():
            RunFolder(folder).read(path.relative_to(folder).as_posix())


def _run_findings(run: RunFolder, seen: set[Path]) -> Iterator[Finding]:
    stages = list(_stages(run))
    seen.update(stage.path for stage in stages)
    whole = stages and all(stage.state == "whole" for stage in stages)
    how = "makes it again from the stored stages, without training" if whole else "trains the run anew and makes it again"
    remedy = f"The same training command {how}."
    yield from _sealed(run, remedy)
    yield from _listed(run, remedy)
    if (run.folder / TUNED).exists():
        yield _checked(run.folder / TUNED, partial(read_tuned, run), AGAIN)
    yield from stages
    yield from _checkpoints(run)


def _sealed(run: RunFolder, remedy: str) -> Iterator[Finding]:
    """The files that hold their own checksum: the record, the report and the list of checksums."""
    yield _of_json(run.folder / RECORD, "The same training command writes it anew, without the starts that it listed.")
    if run.finished:
        found = _of_json(run.folder / REPORT, remedy)
        further = [_checked(found.path, check, remedy) for check in (partial(read_report, run.folder), partial(run.read, REPORT))]
        yield next((finding for finding in (found, *further) if finding.problem and CHECKSUMS not in finding.problem), found)
        if (run.folder / CHECKSUMS).exists() or found.state != "unchecked":
            yield _checked(run.folder / CHECKSUMS, lambda: run.checksums, remedy)
    elif (run.folder / CHECKSUMS).exists():
        yield Finding(run.folder / REPORT, "damaged", f"'{run.folder / REPORT}' is missing.", remedy)


def _listed(run: RunFolder, remedy: str) -> Iterator[Finding]:
    """The files of a finished run whose checksums lie in checksums.json."""
    if not run.finished:
        return
    try:
        names = list(run.checksums)
    except UserError:
        return
    for name in (name for name in names if name != REPORT):
        yield _checked(run.folder / name, partial(run.read, name), remedy)


def _stages(run: RunFolder) -> Iterator[Finding]:
    try:
        keys = run.record.get("stages", [])
    except UserError:
        keys = []
    for key in keys if isinstance(keys, list) else []:
        path = stages_of(run.folder) / f"{key}.pt"
        if path.exists():
            yield _of_stage(path)


def _checkpoints(run: RunFolder) -> Iterator[Finding]:
    newest, before = (run.folder / name for name in CHECKPOINTS)
    further = "The same training command continues from the checkpoint before it." if before.exists() else ""
    for path in (newest, before):
        if path.exists():
            anew = "The same training command trains its stage from the beginning, if the other checkpoint is damaged too."
            yield _checked(path, partial(check_state, path), further if path == newest and further else anew)


def _of_stage(path: Path) -> Finding:
    remedy = "A run that needs the stage trains it anew; finished runs do not need it, so it may be deleted."
    return _checked(path, partial(check_state, path), remedy)


def _of_json(path: Path, remedy: str) -> Finding:
    found = _checked(path, partial(read_json, path.parent, path.name), remedy)
    return found if found.problem or is_sealed(path.read_bytes()) else Finding(path, "unchecked")


def _checked(path: Path, check: Callable[[], Any], remedy: str) -> Finding:
    try:
        check()
    except MissingFileError:
        return Finding(path, "damaged", f"'{path}' is missing.", remedy)
    except UserError as error:
        return Finding(path, "damaged", str(error).removesuffix(REMEDY).removesuffix(remedy).strip(), remedy)
    return Finding(path, "whole")
