"""Comparison of cross-entropy, the same with post hoc logit adjustment, and GCL on one collection of images."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from longtail.data.splits import hold_out
from longtail.errors import UserError
from longtail.results import percent
from longtail.runs.files import sweep_dead
from longtail.runs.layout import ANSWERS, answers_folder
from longtail.runs.report import RunReport
from longtail.runs.run import Run
from longtail.workflow.one_run import Result, prepared, train_one
from longtail.workflow.request import Request
from longtail.workflow.watcher import Watcher

METHODS = ("ce", "logit_adjusted_post_hoc", "gcl")
NAMES = {"ce": "cross-entropy", "logit_adjusted_post_hoc": "post hoc logit adjustment", "gcl": "GCL"}
VAL_SHARE = 0.1


@dataclass(frozen=True)
class Comparison:
    """The results of all methods, the method with the best validation recall, and a sentence on its gains and losses."""

    run: Run
    results: Mapping[str, Result]
    chosen: str
    verdict: str


def compare(request: Request, watcher: Watcher) -> Comparison:
    """Trains all methods at one budget on the same images, and chooses the one with the best mean recall on validation images.

    Raises:
        UserError: the data or an option cannot be used, or no validation images can be held out.
    """
    if request.val == 0:
        raise UserError("Three methods are compared on validation images: give `val` above 0, or train one with `method=NAME`.")
    setting, data = prepared(request, watcher)
    request = replace(request, val=request.val or VAL_SHARE)
    if not len(hold_out(data, request.val or VAL_SHARE, seed=request.split_seed).splits["val"]):
        raise UserError(
            "No class has enough training images (3) to hold one out for validation; train one method with `method=NAME`."
        )
    results = {method: train_one(replace(request, method=method), setting, data, watcher=watcher) for method in METHODS}
    reports = {method: result.report for method, result in results.items()}
    chosen = max(METHODS, key=lambda method: _val_recall(reports[method]))
    run = Run(answers_folder(request.runs, setting.name, request.seed, _key(results)))
    verdict = sentence(reports, chosen)
    sweep_dead(run.folder / ANSWERS)
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
    """Sentence on the method that was chosen, and on the recall of rare and common classes on the test images."""
    val = {method: percent(report.val_mean_recall, unit=" %") for method, report in reports.items()}
    if chosen == "ce":
        best_other = max((method for method in reports if method != "ce"), key=lambda method: _val_recall(reports[method]))
        gains = _gains(reports, best_other)
        return (
            f"Plain cross-entropy wins: mean recall {val['ce']} on validation images, against "
            f"{val[best_other]} for {NAMES[best_other]}. {gains}"
        )
    return (
        f"{NAMES[chosen][0].upper()}{NAMES[chosen][1:]} wins: mean recall {val[chosen]} on validation images, against "
        f"{val['ce']} for cross-entropy. {_gains(reports, chosen)}"
    )


def _val_recall(report: RunReport) -> float:
    """Mean recall on the validation images, which every run of a comparison has."""
    if report.val_mean_recall is None:
        raise UserError(f"The run of {report.method} has no validation recall in its report; train it anew with `fresh`.")
    return report.val_mean_recall


def _gains(reports: Mapping[str, RunReport], method: str) -> str:
    """Sentence on the recall on the test images, with cross-entropy and with the method."""
    tests = (reports[name].test for name in ("ce", method))
    before, after = ({**test.group_recalls, "mean recall": test.mean_recall} for test in tests)
    parts = [
        f"{name} {percent(before[name], unit=' %')} to {percent(after[name], unit=' %')}" for name in after if name in before
    ]
    return f"Recall on the test images, from cross-entropy to {NAMES[method]}: {'; '.join(parts)}."


def _key(results: Mapping[str, Result]) -> str:
    parts: Sequence[str] = [Path(result.folder).name for result in results.values()]
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()[:6]
