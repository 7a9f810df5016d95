"""The commands that train, evaluate and predict, and what they print."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

from longtail.cli.jobs import done_as_jobs, say_failures
from longtail.cli.launch import launch, silent_but_first
from longtail.cli.options import in_flags, sbatch_options
from longtail.cli.progress import Bars
from longtail.cli.report import add_report
from longtail.cli.show import console, lines_on_stderr, say, text
from longtail.cli.tables import candidates_table, result_table, summary_table, trained_tables
from longtail.data.names import said_of_left_out
from longtail.data.symmetry import check_views
from longtail.data.walking import images_to_predict
from longtail.engine.group import own_place
from longtail.errors import CorruptImage, MissingFileError, UserError
from longtail.results import counted, percent
from longtail.runs.code import needs_trust
from longtail.runs.devices import chosen_device
from longtail.runs.files import csv_text
from longtail.runs.judged import Judged, adjusted_to
from longtail.runs.judging import accuracy_under, judged_again, regrouped_report
from longtail.runs.layout import chosen_run, demo_figure, demo_page
from longtail.runs.on_images import evaluated_on_images
from longtail.runs.output import check_output, is_standard_output, write_output
from longtail.runs.report import RunReport
from longtail.runs.serving import Prediction, load
from longtail.runs.tuned import TUNED
from longtail.text import CONTROL, for_shell, guarded, visible
from longtail.together import rank
from longtail.turns import first_alone
from longtail.workflow.auto import choose_method
from longtail.workflow.demo import NAMES, demonstrate, recall_figure
from longtail.workflow.one_run import Result, prepared
from longtail.workflow.parallel import train_many
from longtail.workflow.request import AUTO, Request
from longtail.workflow.several import check_several, together

PREDICTIONS = "predict.csv"
EVALUATION = "evaluation.html"


def run_demo(request: Request, *, seeds: int, report: bool = False, pictures: bool = True) -> None:
    """Trains the methods, prints a table and the change of recall for rare and common classes, and draws the figure."""
    with Bars() as bars:
        results = demonstrate(request, bars, seeds=seeds)
    first = results["ce"][0].report
    counts = first.class_counts
    say(
        f"Handwritten digits (scikit-learn), {sum(counts)} training images, {max(counts)} to {min(counts)} per class; "
        f"{first.images['test']} test images. Recall in %, mean ± std over seeds."
    )
    say(summary_table({NAMES[method]: [result.report for result in runs] for method, runs in results.items()}))
    baseline, gcl = (_group_recalls(results[method]) for method in ("ce", "gcl"))
    say(
        f"Change of recall from cross-entropy to GCL: rare classes (few) {_difference(gcl, baseline, 'few')}, "
        f"common classes (many) {_difference(gcl, baseline, 'many')}."
    )
    figure = recall_figure(results, demo_figure(request.runs, first.setting))
    say(f"Figure: {text(figure)}")
    page = demo_page(request.runs, first.setting)
    firsts = [runs[0].folder for runs in results.values()]
    add_report(firsts, wanted=report, groups=request.groups, output=page, pictures=pictures)
    _closing(results["gcl"][0].folder, "longtail train FOLDER", "your own images, one folder per class")


def run_train(
    request: Request,
    *,
    seeds: int | None,
    on: str | None = None,
    slurm: Sequence[str] = (),
    report: bool = False,
    pictures: bool = True,
) -> None:
    """Trains one method at one or more seeds, or chooses one at each seed; here, or as jobs of the scheduler `on`."""
    requests = [request] if seeds is None else [replace(request, seed=seed) for seed in range(seeds)]
    sbatch_options(on, slurm)
    if request.devices > 1 or own_place() is not None:
        check_several(request)
    if request.devices > 1 and on is not None:
        raise UserError(
            "Each job of `on` is one process: leave out `devices`, or start the command by srun in a job of your own."
        )
    if on is not None:
        _train_as_jobs(requests, on, slurm, report=report, pictures=pictures)
    elif request.method == AUTO:
        for each in requests:
            _train_auto(each, report=report, pictures=pictures)
    elif request.devices > 1 and own_place() is None:
        launch(request)
    else:
        with together(request), silent_but_first(), Bars() as bars:
            with first_alone("data"):
                setting, data = prepared(request, bars)
            results = train_many(requests, setting, data, watcher=bars)
            leads = rank() == 0
        if not leads:
            return
        for table in trained_tables([result.report for result in results]):
            say(table)
        shown = {"pictures": pictures, "data": data, **_as_trained(request)}
        add_report([result.folder for result in results], wanted=report, groups=request.groups, **shown)
        _closing(results[0].folder, _to_predict(results[0].folder), "to use it")


def _train_as_jobs(requests: Sequence[Request], on: str, slurm: Sequence[str], *, report: bool, pictures: bool) -> None:
    outcomes = done_as_jobs(requests, on, slurm)
    folders = [each.folder for each in outcomes if each.folder is not None]
    pages = [[folder] for folder in folders] if requests[0].method == AUTO else [folders]
    for page in pages if folders else []:
        add_report(page, wanted=report, groups=requests[0].groups, pictures=pictures, **_as_trained(requests[0]))
    for folder in folders[:1]:
        _closing(folder, _to_predict(folder), "to use it")
    say_failures(outcomes)


def run_evaluate(
    folder: Path,
    data: Path | None,
    *,
    prior: str | None,
    groups: str,
    device: str = "auto",
    outside: bool = False,
    skip_corrupt: bool = False,
    trust_code: bool = False,
    views: int | None = None,
    report: bool = False,
) -> None:
    """Prints a finished run's results with other groups or another prior, or on other labelled images."""
    device = chosen_device(device)
    if data is None:
        reports, notes = _on_own_images(folder, groups, views, prior, trust_code=trust_code)
    else:
        how: dict[str, Any] = {"device": device, "outside": outside, "trust_code": trust_code, "views": views}
        found = evaluated_on_images(folder, data, groups=groups, skip_corrupt=skip_corrupt, prior=prior, note=_note, **how)
        reports, notes = {found.report.method: found.report}, list(found.notes)
        reports |= {} if found.adjusted is None else {"adjusted": found.adjusted}
    measured, *_ = reports.values()
    say(result_table(reports))
    missing = [entry.name for entry, count in zip(measured.classes, measured.test.test_counts, strict=True) if not count]
    if missing:
        say(f"Not evaluated, since there are no test images: {text(', '.join(missing))}")
    for note in notes:
        say(text(in_flags(note)))
    if prior is not None:
        shares = [percent(accuracy_under(each, prior), unit=" %") for each in reports.values()]
        adjusted = f"; with adjusted scores {shares[1]}" if len(shares) > 1 else ""
        say(f"Expected accuracy under the class prior '{text(prior)}': {shares[0]}{adjusted}")
    page = chosen_run(folder) / EVALUATION
    add_report([folder], wanted=report and data is None, groups=groups, output=page, device=device, trust_code=trust_code)
    _closing(folder, _to_predict(folder), "to use it")


def _on_own_images(
    folder: Path, groups: str, views: int | None, prior: str | None, *, trust_code: bool
) -> tuple[dict[str, RunReport], list[str]]:
    """Results on the run's own test images, by what is evaluated, and sentences; runs without predictions have their report."""
    report = regrouped_report(folder, groups=groups, views=views)
    if prior is None and not (chosen_run(folder) / TUNED).exists():
        return {report.method: report}, []
    try:
        judged = judged_again(folder, groups=groups, views=views, trust_code=trust_code)
    except MissingFileError as error:
        return {report.method: report}, [f"The scores are neither tuned nor adjusted: {error}"]
    return _with_prior(judged, prior)


def _with_prior(judged: Judged, prior: str | None) -> tuple[dict[str, RunReport], list[str]]:
    """The results as they are and, where the scores can be adjusted to the prior, adjusted to it; and sentences on both."""
    method = judged.report.method
    reports = {method: judged.report}
    if prior is None:
        return reports, list(judged.notes)
    accuracy_under(judged.report, prior)  # refuses a prior that is none
    try:
        adjusted = adjusted_to(judged, prior)
    except UserError as error:
        return reports, [*judged.notes, str(error)]
    if adjusted.report is not judged.report:
        reports["adjusted"] = adjusted.report
    return reports, list(adjusted.notes)


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
        for note in predictor.notes:
            say(text(in_flags(note)))
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
        again = _with_trust(f"{for_shell('longtail', 'evaluate', folder)} FOLDER", folder)
        _closing(folder, again, "to evaluate it on other labelled images")


def _refuse_to_replace(target: Path, folder: Path, files: Sequence[Path]) -> None:
    """Refuses an output that would take the place of an image to predict, or of a file of the run."""
    place = os.path.realpath(target)
    run = os.path.realpath(folder)
    if place in {os.path.realpath(file) for file in files}:
        raise UserError(f"The output '{target}' is one of the images; give the name of another file with -o.")
    if target.exists() and place.startswith(os.path.join(run, "")) and os.path.basename(place) != PREDICTIONS:
        raise UserError(f"The output '{target}' is a file of the run; give the name of another file with -o.")


def _predictions(results: Iterable[tuple[Path, Prediction | CorruptImage]]) -> list[tuple[Path, Prediction]]:
    """The predictions, after the files that cannot be read were named."""
    every = list(results)
    corrupt = [result for _, result in every if isinstance(result, CorruptImage)]
    for broken in corrupt:
        say(f"[red]{text(broken)}[/red]")
    if len(corrupt) == len(every):
        raise UserError(f"None of the {len(corrupt)} files could be read as an image.")
    return [(path, result) for path, result in every if isinstance(result, Prediction)]


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


def _note(line: str) -> None:
    say(text(in_flags(line)))


def _train_auto(request: Request, *, report: bool, pictures: bool) -> None:
    with Bars() as bars:
        auto = choose_method(request, bars)
    chosen = auto.candidates[auto.chosen].reading.name
    say(candidates_table(auto.candidates, auto.chosen))
    say(result_table({chosen: auto.result.report}))
    for sentence in auto.verdict:
        say(text(in_flags(sentence)))
    shown = {"pictures": pictures, "data": auto.data, **_as_trained(request)}
    add_report([auto.run.folder], wanted=report, groups=request.groups, **shown)
    _closing(auto.run.folder, _to_predict(auto.run.folder), f"uses {chosen}")


def _as_trained(request: Request) -> dict[str, Any]:
    """Where a report finds images and how it may run code: as the training did."""
    images = Path(request.data) if Path(request.data).exists() else request.root
    return {"images": images, "outside": request.outside, "device": request.device, "trust_code": True}


def _group_recalls(results: Sequence[Result]) -> dict[str, float]:
    """Recall of each group that has evaluated classes, as a mean over runs."""
    runs = [result.report.test.group_recalls for result in results]
    return {name: fmean(recalls[name] for recalls in runs) for name in runs[0]}


def _difference(after: Mapping[str, float], before: Mapping[str, float], group: str) -> str:
    return f"{100 * (after[group] - before[group]):+.1f} points" if group in after else "no such classes"


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
                _note(said)
        else:
            files.append(path)
    return files


def _to_predict(folder: Path) -> str:
    """The command that predicts with a finished run."""
    return _with_trust(f"{for_shell('longtail', 'predict', folder)} IMAGES", folder)


def _with_trust(command: str, folder: Path) -> str:
    """The command with the flag without which a model of the user's own code is refused."""
    return f"{command} --trust-code" if needs_trust(folder) else command


def _closing(folder: Path, command: str, purpose: str) -> None:
    console.print(f"Run folder: [bold]{text(folder)}[/bold]", highlight=False, soft_wrap=True)
    console.print(f"Next: [bold cyan]{text(command)}[/bold cyan]  ({purpose})", highlight=False, soft_wrap=True)
