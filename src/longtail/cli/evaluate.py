"""The command `longtail evaluate`, and what it prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from longtail.cli.evaluated import check_results_file, results_json, write_results
from longtail.cli.next_step import note, say_next, to_predict
from longtail.cli.report import add_report
from longtail.cli.show import lines_on_stderr, say, text
from longtail.cli.tables import result_table
from longtail.errors import MissingFileError, UserError
from longtail.results import percent
from longtail.runs.devices import chosen_device
from longtail.runs.judged import Judged, adjusted_to
from longtail.runs.judging import accuracy_under, judged_again, regrouped_report
from longtail.runs.layout import chosen_run
from longtail.runs.on_images import evaluated_on_images
from longtail.runs.output import is_standard_output
from longtail.runs.report import RunReport
from longtail.runs.tuned import TUNED

EVALUATION = "evaluation.html"


def refuse_page_of(data: Path | None, *, asked: bool) -> None:
    """Refuses a page of other images than the run's own, where one is asked for on the command line."""
    if asked and data is not None:
        raise UserError(f"A page is written of the run's own test images only; leave out --report, or '{data}'.")


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
    output: Path | None = None,
    as_json: bool = False,
) -> None:
    """Prints or writes a finished run's results with other groups or another prior, or on other labelled images."""
    check_results_file(output, data)
    device = chosen_device(device)
    with lines_on_stderr(as_json or (output is not None and is_standard_output(output))):
        of_page: dict[str, Any] = {"device": device, "trust_code": trust_code}
        if data is None:
            reports, notes, adjusted = _on_own_images(folder, groups, views, prior, trust_code=trust_code)
            of_page |= {"prior": prior if adjusted else None}
        else:
            how: dict[str, Any] = {"device": device, "outside": outside, "trust_code": trust_code, "views": views}
            found = evaluated_on_images(folder, data, groups=groups, skip_corrupt=skip_corrupt, prior=prior, note=note, **how)
            reports, notes = {found.report.method: found.report}, list(found.notes)
            reports |= {} if found.adjusted is None else {"adjusted": found.adjusted}
        _say(reports, notes, prior)
        if output is not None:
            write_results(output, reports)
        if as_json:
            print(results_json(reports, notes, prior))
        page = chosen_run(folder) / EVALUATION
        add_report([folder], wanted=report and data is None, groups=groups, output=page, **of_page)
        say_next(folder, to_predict(folder), "to use it")


def _say(reports: Mapping[str, RunReport], notes: Sequence[str], prior: str | None) -> None:
    """Prints results by what is evaluated, the classes without test images, sentences, and what is expected under a prior."""
    measured, *_ = reports.values()
    say(result_table(reports))
    missing = [entry.name for entry, count in zip(measured.classes, measured.test.test_counts, strict=True) if not count]
    if missing:
        say(f"Not evaluated, since there are no test images: {text(', '.join(missing))}")
    for sentence in notes:
        note(sentence)
    if prior is not None:
        shares = [percent(accuracy_under(each, prior), unit=" %") for each in reports.values()]
        adjusted = f"; with adjusted scores {shares[1]}" if len(shares) > 1 else ""
        say(f"Expected accuracy under the class prior '{text(prior)}': {shares[0]}{adjusted}")


def _on_own_images(
    folder: Path, groups: str, views: int | None, prior: str | None, *, trust_code: bool
) -> tuple[dict[str, RunReport], list[str], bool]:
    """Results on the run's own test images, by what is evaluated, sentences, and whether the scores are adjusted to the prior.

    Runs without predictions have their report.
    """
    report = regrouped_report(folder, groups=groups, views=views)
    if prior is None and not (chosen_run(folder) / TUNED).exists():
        return {report.method: report}, [], False
    try:
        judged = judged_again(folder, groups=groups, views=views, trust_code=trust_code)
    except MissingFileError as error:
        return {report.method: report}, [f"The scores are neither tuned nor adjusted: {error}"], False
    return _with_prior(judged, prior)


def _with_prior(judged: Judged, prior: str | None) -> tuple[dict[str, RunReport], list[str], bool]:
    """The results as they are and, where the scores can be adjusted to the prior, adjusted to it; sentences; and whether."""
    method = judged.report.method
    reports = {method: judged.report}
    if prior is None:
        return reports, list(judged.notes), False
    accuracy_under(judged.report, prior)  # refuses a prior that is none
    try:
        adjusted = adjusted_to(judged, prior)
    except UserError as error:
        return reports, [*judged.notes, str(error)], False
    if adjusted.report is not judged.report:
        reports["adjusted"] = adjusted.report
    return reports, list(adjusted.notes), True
