"""The command `longtail predict`, and what it prints and writes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from longtail.cli.next_step import note, say_next, with_trust
from longtail.cli.show import lines_on_stderr, say, text
from longtail.data.contrast import said_of_faded
from longtail.data.names import said_of_left_out
from longtail.data.symmetry import check_views
from longtail.data.walking import images_to_predict
from longtail.errors import CorruptImage, MissingFileError, UnreadableFile, UserError
from longtail.results import counted, percent
from longtail.runs.files import csv_text
from longtail.runs.output import check_output, is_standard_output, write_output
from longtail.runs.serving import Prediction, load
from longtail.text import CONTROL, for_shell, guarded, visible

PREDICTIONS = "predict.csv"


def run_predict(
    folder: Path,
    paths: Sequence[Path],
    output: Path | None,
    *,
    device: str = "auto",
    trust_code: bool = False,
    views: int | None = None,
    prior: str | None = None,
) -> None:
    """Predicts the classes of images and writes a CSV; files that cannot be read are named and left out."""
    if views is not None:
        check_views(views)
    target = output or folder / PREDICTIONS
    if output is not None or folder.is_dir():  # what else is no run folder, `load` says
        check_output(target)
    with lines_on_stderr(is_standard_output(target)):
        predictor = load(folder, device=device, trust_code=trust_code, prior=prior)
        for sentence in predictor.notes:
            note(sentence)
        files = _files(paths)
        _refuse_to_replace(target, folder, files)
        found = _predictions(predictor.read(files, views=views))
        write_output(target, _predictions_csv(found))
        for path, prediction in found[:20]:
            share = percent(prediction.probability, unit=" %")
            say(f"{text(path)}  [bold]{text(prediction.label)}[/bold]  {share}")
        if len(found) > 20:
            say(f"... and {len(found) - 20} more")
        where = "standard output" if is_standard_output(target) else text(target)
        left = f" ({len(files) - len(found)} could not be read)" if len(files) > len(found) else ""
        say(f"{counted(len(found), 'image')}: {where}{left}")
        again = with_trust(f"{for_shell('longtail', 'evaluate', folder)} FOLDER", folder)
        say_next(folder, again, "to evaluate it on other labelled images")


def _refuse_to_replace(target: Path, folder: Path, files: Sequence[Path]) -> None:
    """Refuses an output that would take the place of an image to predict, or of a file of the run."""
    place = os.path.realpath(target)
    run = os.path.realpath(folder)
    if place in {os.path.realpath(file) for file in files}:
        raise UserError(f"The output '{target}' is one of the images; give the name of another file with -o.")
    if target.exists() and place.startswith(os.path.join(run, "")) and os.path.basename(place) != PREDICTIONS:
        raise UserError(f"The output '{target}' is a file of the run; give the name of another file with -o.")


def _files(paths: Iterable[Path]) -> list[Path]:
    files: list[Path] = []
    for path in paths:
        if not path.exists():
            raise MissingFileError(f"'{path}' does not exist; give image files or folders of them.")
        if path.is_dir():
            inside, others = images_to_predict(path)
            said = said_of_left_out(others)
            if not inside:
                raise UserError(" ".join(filter(None, (f"'{path}' has no images.", said))))
            files.extend(inside)
            if said:
                note(said)
        else:
            files.append(path)
    return files


def _predictions(results: Iterable[tuple[Path, Prediction | CorruptImage | UnreadableFile]]) -> list[tuple[Path, Prediction]]:
    """The predictions, after the files that cannot be read, or lose their contrast, were named."""
    every = list(results)
    corrupt = [result for _, result in every if not isinstance(result, Prediction)]
    for broken in corrupt:
        say(f"[red]{text(broken)}[/red]")
    if len(corrupt) == len(every):
        none = "The file could not" if len(corrupt) == 1 else f"None of the {len(corrupt):,} files could"
        raise UserError(f"{none} be read as an image.")
    found = [(path, result) for path, result in every if isinstance(result, Prediction)]
    faded = [str(path) for path, result in found if result.faded]
    if faded:
        note(said_of_faded(faded))
    return found


def _predictions_csv(found: Iterable[tuple[Path, Prediction]]) -> str:
    """The predictions as CSV, in which names are safe for spreadsheets and terminals."""
    rows = ((_cell(path), _cell(each.label), f"{each.probability:.4f}", _top(each)) for path, each in found)
    return csv_text(("path", "label", "probability", "top5"), rows)


def _cell(name: object) -> str:
    return guarded(visible(str(name)))


def _top(prediction: Prediction) -> str:
    """The five most probable classes with their probabilities, as a JSON object in which control characters are escaped."""
    shares = {name: round(share, 4) for name, share in prediction.top(5)}
    return CONTROL.sub(lambda found: json.dumps(found.group())[1:-1], json.dumps(shares, ensure_ascii=False))
