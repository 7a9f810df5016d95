"""Three answers for one collection: cross-entropy, the same with post hoc logit adjustment, and GCL; validation images choose."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from longtail.data.splits import hold_out
from longtail.errors import UserError
from longtail.results import percent
from longtail.runs.layout import ANSWERS, answers_folder
from longtail.runs.report import RunReport
from longtail.runs.run import Run
from longtail.workflow.one_run import Result, Watcher, prepared, train_one
from longtail.workflow.request import Request

METHODS = ("ce", "logit_adjusted_post_hoc", "gcl")
NAMES = {"ce": "cross-entropy", "logit_adjusted_post_hoc": "post hoc logit adjustment", "gcl": "GCL"}
VAL_SHARE = 0.1


@dataclass(frozen=True)
class Comparison:
    """The answers, the one that validation chose, and a sentence on what it gives and takes."""

    run: Run
    results: Mapping[str, Result]
    chosen: str
    verdict: str


def compare(request: Request, watcher: Watcher) -> Comparison:
    """Trains the answers at one budget on the same images and lets mean recall on held-out validation images choose.

    Raises:
        UserError: the data or the options make no sense, or validation was switched off.
    """
    if request.val == 0:
        raise UserError("Three answers are compared on validation images: give `val` above 0, or train one with `method=NAME`.")
    setting, data = prepared(request, watcher)
    request = replace(request, val=request.val or VAL_SHARE)
    if not len(hold_out(data, request.val or VAL_SHARE, seed=request.split_seed).splits["val"]):
        raise UserError("No class has images enough to hold one out for validation (3 in train); train one with `method=NAME`.")
    results = {method: train_one(replace(request, method=method), setting, data, watcher=watcher) for method in METHODS}
    reports = {method: result.report for method, result in results.items()}
    chosen = max(METHODS, key=lambda method: _val(reports[method]))
    run = Run(answers_folder(request.runs, setting.name, request.seed, _key(results)))
    verdict = sentence(reports, chosen)
    run.write_json(
        ANSWERS,
        {
            "chosen": chosen,
            "chosen_run": os.path.relpath(results[chosen].folder, run.folder),
            "runs": {method: os.path.relpath(result.folder, run.folder) for method, result in results.items()},
            "verdict": verdict,
        },
    )
    return Comparison(run, results, chosen, verdict)


def sentence(reports: Mapping[str, RunReport], chosen: str) -> str:
    """What validation chose, and what that does to rare and common classes on the test images."""
    val = {method: percent(report.val_mean_recall, unit=" %") for method, report in reports.items()}
    if chosen == "ce":
        best_other = max((method for method in reports if method != "ce"), key=lambda method: _val(reports[method]))
        gains = _gains(reports[best_other], reports["ce"], "The latter would change")
        return (
            f"Plain cross-entropy wins: mean recall {val['ce']} on validation images, against "
            f"{val[best_other]} of {NAMES[best_other]}. {gains}"
        )
    return (
        f"{NAMES[chosen][0].upper()}{NAMES[chosen][1:]} wins: mean recall {val[chosen]} on validation images, against "
        f"{val['ce']} of cross-entropy. {_gains(reports[chosen], reports['ce'], 'It changes')}"
    )


def _val(report: RunReport) -> float:
    """Mean recall on validation images, which every run of a comparison has."""
    if report.val_mean_recall is None:
        raise UserError(f"The run of {report.method} has no validation recall in its report; train it anew with `fresh`.")
    return report.val_mean_recall


def _gains(report: RunReport, baseline: RunReport, begin: str) -> str:
    before, after = ({**each.test.group_recalls, "mean recall": each.test.mean_recall} for each in (baseline, report))
    parts = [
        f"{name} {percent(before[name], unit=' %')} to {percent(after[name], unit=' %')}" for name in after if name in before
    ]
    return f"{begin} the recall on test images so: {'; '.join(parts)}."


def _key(results: Mapping[str, Result]) -> str:
    parts: Sequence[str] = [Path(result.folder).name for result in results.values()]
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()[:6]
