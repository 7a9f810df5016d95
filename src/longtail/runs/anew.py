"""A run that is trained anew in a folder inside it takes the place of the old one; what was made of the old weights goes."""

from __future__ import annotations

import shutil

from longtail.errors import UserError
from longtail.runs.files import rename
from longtail.runs.folder import RECORD, REPORT, RunFolder
from longtail.runs.run import Run
from longtail.runs.tuned import undo, weights_of

PAGES = ("report.html", "report", "evaluation.html", "evaluation")  # which a command writes again in a minute
BOARD = "tensorboard"  # whose files of two trainings would be drawn as one line
COPIES = ("model.onnx", "timm", "predict.csv")  # which may be in use elsewhere


def begun_anew(run: Run) -> Run:
    """The run inside the folder of `run` that is trained anew; says where it goes on with a training that was stopped."""
    anew = run.beside()
    if (anew.folder / RECORD).exists():
        run.note(f"Goes on with the training anew that was stopped{_since(anew)}; delete '{anew.folder}' to begin it again.")
    return anew


def _since(anew: Run) -> str:
    """When a training anew was begun, and at which commit, as far as its record tells."""
    try:
        start, commit = (anew.starts or [{}])[0], anew.record.get("commit")
    except UserError:
        return ""
    return f" (begun {start.get('since', 'before')}{f' at commit {commit}' if commit else ''})"


def take_place(run: Run, anew: Run) -> None:
    """Puts the finished run `anew` in the place of `run`, and deletes what was made of other weights.

    The old report goes first and the new one comes last, so that a kill leaves a run without a report, never files of two
    trainings; `finish_taking` goes on with it.
    """
    before = weights_before(run)
    run.reopen()
    drop_derived(run, before, weights_before(anew))
    shutil.rmtree(run.folder / BOARD, ignore_errors=True)
    _move(run, anew)


def finish_taking(run: Run) -> None:
    """Moves the rest of a finished training anew that was stopped while its files were moved."""
    anew = run.beside()
    if anew.finished and not run.finished:
        drop_derived(run, weights_before(run), weights_before(anew))
        if (anew.folder / RECORD).exists():  # which is moved before the new training's log for TensorBoard
            shutil.rmtree(run.folder / BOARD, ignore_errors=True)
        _move(run, anew)


def weights_before(run: RunFolder) -> str:
    """Hash of the weights of a run; "" where it has none that can be told."""
    try:
        return weights_of(run)
    except UserError:
        return ""


def drop_derived(run: RunFolder, before: str, now: str) -> None:
    """Deletes what was chosen for former weights and pages that show them, and names what else was made of them."""
    if undo(run):
        run.note("What `longtail tune` chose for the former weights is removed; tune again.")
    if before == now:
        return
    gone, stale = ([name for name in names if (run.folder / name).exists()] for names in (PAGES, COPIES))
    for name in gone:
        path = run.folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    if stale:
        run.note(f"Made of the former weights, and not of the new ones: {', '.join(stale)} in '{run.folder}'; write them again.")


def _move(run: Run, anew: Run) -> None:
    for stage in sorted(anew.shared.glob("*.pt")):
        with run.stage_locked(stage.stem):
            rename(stage, run.shared / stage.name)
    files = [path.relative_to(anew.folder) for path in anew.folder.rglob("*") if path.is_file()]
    for name in sorted(files, key=lambda name: (name.name == REPORT, name)):
        if not name.name.startswith(".") and anew.shared.name not in name.parts:
            rename(anew.folder / name, run.folder / name)
    run.drop_states()
    shutil.rmtree(anew.folder)
    run.forget()
