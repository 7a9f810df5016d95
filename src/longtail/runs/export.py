"""Writes the model of a finished run for other programs: as an ONNX file, or as a folder that timm loads."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from longtail.errors import UserError
from longtail.runs.files import encoded, write_bytes
from longtail.runs.folder import RECORD, REPORT, RunFolder
from longtail.runs.layout import ANSWERS, chosen_run
from longtail.runs.locks import Note, silent
from longtail.runs.output import check_output, write_output
from longtail.runs.seals import json_text, sha256
from longtail.runs.serving import Predictor, load
from longtail.runs.tuned import MODEL
from longtail.text import unknown

USUAL = {"onnx": "model.onnx", "timm": "timm"}  # names that an export gets in the run folder
TIMM_FILES = ("config.json", "model.safetensors")


@dataclass(frozen=True)
class Export:
    """What was written.

    Args:
        target: the file or folder.
        predictor: the model that was exported, on the CPU.
        difference: largest difference of the ONNX file's scores from the model's, over 16 images of random pixels; None for timm.
    """

    target: Path
    predictor: Predictor
    difference: float | None


def export(folder: Path, kind: str, target: Path | None = None, *, trust_code: bool = False, note: Note = silent) -> Export:
    """Writes the model of a finished run, or of the run that a comparison chose, as "onnx" or "timm".

    Args:
        target: file or folder to write; RUN/model.onnx or RUN/timm if None.
        trust_code: run the user's own code that the run was trained with, if the model needs any.
        note: takes a line of text for the user, before what takes long.

    Raises:
        UserError: there is no such format, packages are missing, the format cannot hold the model, or the target is a file of a
            run or a folder with other files.
    """
    if kind not in USUAL:
        raise UserError(unknown("format", kind, list(USUAL)))
    target = target or folder / USUAL[kind]
    check_target(target, USUAL[kind])
    if kind == "timm":
        _check_timm_folder(target)
        return _to_timm(load(folder, device="cpu", trust_code=trust_code), target)
    from longtail.runs.onnx_graph import check_packages

    check_packages()
    if target.parent.is_dir():  # what else is no run folder, `load` says
        check_output(target)
    predictor = load(folder, device="cpu", trust_code=trust_code)
    note("Writing the graph and comparing it with the model; this takes a minute or more.")
    return _to_onnx(predictor, sha256(RunFolder(chosen_run(folder)).read(MODEL)), target)


def check_target(target: Path, usual: str) -> None:
    """Refuses an output that would take the place of a file of a run; RUN/`usual` may be written again.

    Raises:
        UserError: it would.
    """
    place = Path(os.path.realpath(target))
    runs = [run for run in (place.parent, place.parent.parent) if any((run / n).exists() for n in (RECORD, REPORT, ANSWERS))]
    if place.exists() and any(place != run / usual for run in runs):
        raise UserError(f"The output '{target}' is a file of a run; give the name of another file with -o.")


def _to_onnx(predictor: Predictor, weights: str, target: Path) -> Export:
    from longtail.runs.onnx_graph import largest_difference, onnx_bytes

    content = onnx_bytes(predictor, weights)
    difference = largest_difference(content, predictor)
    write_output(target, content)
    return Export(target, predictor, difference)


def _to_timm(predictor: Predictor, target: Path) -> Export:
    """Writes config.json, without which timm loads nothing, last; a kill leaves no mixture of two models."""
    from safetensors.torch import save

    from longtail.runs.timm_export import timm_parts

    tensors, config = timm_parts(predictor)
    (target / "config.json").unlink(missing_ok=True)
    write_bytes(target / "model.safetensors", save({name: tensor.contiguous().clone() for name, tensor in tensors.items()}))
    write_bytes(target / "config.json", encoded(json_text(config)))
    return Export(target, predictor, None)


def _check_timm_folder(target: Path) -> None:
    if target.exists() and not target.is_dir():
        raise UserError(f"The output '{target}' is a file; a model for timm is a folder: give another name with -o.")
    others = sorted(path.name for path in target.iterdir() if path.name not in TIMM_FILES) if target.is_dir() else []
    if others:
        raise UserError(f"The output folder '{target}' holds other files, such as {others[0]}; give a new folder with -o.")
