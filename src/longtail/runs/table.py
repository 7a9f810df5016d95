"""Finished runs of one setting as the rows of a table. Loads no torch."""

from __future__ import annotations

import inspect
import json
import math
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from longtail.data.groups import shot_groups
from longtail.errors import MissingFileError, UserError, WrongTypeError
from longtail.results import GROUPS
from longtail.runs.folder import RunFolder
from longtail.runs.layout import finished_runs
from longtail.runs.locks import Note, silent
from longtail.runs.places import data_behind, name_below, name_of_trained
from longtail.runs.report import RunReport, read_report
from longtail.runs.results_file import StoredResult, without_copies
from longtail.runs.row_differences import Record, differences_of
from longtail.spec.own_code import is_own, own_function
from longtail.text import for_shell

IDENTITY = ("split", "recipe", "setting", "protocol", "precision")
TRAINED = ("first", "again", "once more")
Key = tuple[str, str, int]  # what makes an experiment, the rule of its groups, and how many rows of both have its seeds already


@dataclass(frozen=True)
class Row:
    """A row of the table: one experiment at all of its seeds.

    Args:
        method: the recipe's name.
        differs: values that differ from the other rows of the method, "stages.1.resample.call = power"; "" for a single row.
        reports: report of the run at each seed.
        augmented: augmentation and symmetry in words, such as "strong augmentation", where they have names; those of a named
            setting have none unless they were asked for.
        split: hash of the images, their classes and their size.
        folder: folder of one of the runs; None for results from elsewhere.
        groups: labels of the classes in each group, where they are those of another run, which kept fewer of the same training
            images for validation; None for the groups of the reports.
        own_groups: whether the groups may hold other classes than those of most rows.
    """

    method: str
    differs: str
    reports: Sequence[RunReport]
    augmented: Sequence[str] = ()
    split: str = ""
    folder: Path | None = None
    groups: Mapping[str, Sequence[int]] | None = None
    own_groups: bool = False

    def values(self, name: str) -> list[float]:
        """Value at each seed: "mean_recall", "accuracy", "calibration_error", a group's recall, or "seconds" of training."""
        if self.groups is not None and name in GROUPS:
            return [_mean_recall(report, self.groups[name]) for report in self.reports]
        return [_value(report, name) for report in self.reports]

    def mean(self, name: str) -> float:
        """Mean of a value over the seeds."""
        return statistics.fmean(self.values(name))


def rows_of(
    runs: Path, setting: str, *, budget: str | None = None, further: Sequence[StoredResult] = (), note: Note = silent
) -> list[Row]:
    """Reads all finished runs of a setting: one row per experiment with all its seeds, best mean recall last.

    Args:
        runs: folder of all runs.
        setting: a named setting, `file.py:function` (the file is run), the folder or CSV that was trained on, or the name under
            which its runs are kept.
        budget: budget of the runs to read; None for all.
        further: results from elsewhere, of which those of the setting are read; those of runs below `runs` are left out.
        note: takes a line of text for the user, on a run whose record or report is damaged, which is left out.

    Raises:
        MissingFileError: there is no finished run of the setting below `runs`.
    """
    kept, left_out = _name_of(runs, setting), False
    results = list[StoredResult]()
    for folder in finished_runs(runs, kept):
        try:
            result = StoredResult(RunFolder(folder).record, read_report(folder), folder)
            _identity(result.record)
        except UserError as error:
            note(f"Left out: {error}")
            left_out = True
        else:
            results.append(result)
    every = without_copies([*results, *(each for each in further if each.record["setting"].get("name") == kept)])
    found = _gathered(result for result in every if budget in (None, result.report.budget))
    if not found:
        at = f" at the budget '{budget}'" if budget is not None else ""
        raise MissingFileError(
            f"No {'other ' if left_out else ''}finished run{at} lies in '{runs / kept}'; train some with "
            f"`{for_shell('longtail', 'train', data_behind(runs, setting))} --method NAME`."
        )
    rows = [_row(results, differs) for results, differs in zip(found.values(), _differences(found), strict=True)]
    return sorted(_in_same_groups(rows), key=lambda row: row.mean("mean_recall"))


def report_of_groups(rows: Sequence[Row]) -> RunReport:
    """The report whose groups of classes the rows share: the first of those with the most training images."""
    every = (report for row in rows for report in row.reports)
    return max(every, key=lambda report: sum(report.class_counts) or report.images.get("train", 0))


def _in_same_groups(rows: Sequence[Row]) -> Iterator[Row]:
    """The rows, with the same classes in a group where their runs keep other parts of the same images for validation."""
    usual = report_of_groups(rows)
    groups = _groups(usual)
    for row in rows:
        if all(report.classes and _groups(report) == groups for report in row.reports):
            yield row
        elif all(report.classes and _labelled(report) == _labelled(usual) for report in row.reports):
            yield replace(row, groups=groups)
        else:
            images = {(report.group_rule, tuple(sorted(report.images.items()))) for report in (usual, *row.reports)}
            yield replace(row, own_groups=len(images) > 1)


def _groups(report: RunReport) -> Mapping[str, Sequence[int]]:
    """Labels of the classes in each group; none of a result from a file, which has no classes."""
    return shot_groups(report.class_counts, rule=report.group_rule) if report.classes else {}


def _labelled(report: RunReport) -> tuple[str, list[str], int]:
    """Rule of the groups, names of the classes, and number of images that were not test images."""
    names = [entry.name for entry in report.classes]
    return report.group_rule, names, report.images.get("train", 0) + report.images.get("val", 0)


def _row(results: Sequence[StoredResult], differs: str) -> Row:
    reports = sorted((result.report for result in results), key=lambda report: report.seed)
    record, folder = results[0].record, next((result.folder for result in results if result.folder), None)
    return Row(reports[0].method, differs, reports, _augmented(record["setting"]), str(record["split"]), folder)


def _gathered(results: Iterable[StoredResult]) -> dict[Key, list[StoredResult]]:
    """The results of each row: equal experiments with classes in groups by one rule, each seed once.

    A seed that comes again was trained with other code or libraries, and begins another row; what was trained first comes first.
    """
    found, taken = dict[Key, list[StoredResult]](), Counter[tuple[str, str, int]]()
    for result in sorted(results, key=lambda each: each.since):
        identity, rule, seed = _identity(result.record), result.report.group_rule, result.report.seed
        found.setdefault((identity, rule, taken[identity, rule, seed]), []).append(result)
        taken[identity, rule, seed] += 1
    return found


def _differences(found: Mapping[Key, Sequence[StoredResult]]) -> list[str]:
    records = [
        {
            **{name: results[0].record[name] for name in IDENTITY},
            "groups": rule,
            "trained": TRAINED[again] if again < 3 else f"{again + 1} times",
        }
        for (_, rule, again), results in found.items()
    ]
    return differences_of(records, [results[0].report.images for results in found.values()])


def _augmented(setting: Any) -> list[str]:
    """The names of a recorded setting's augmentation and symmetry, in words."""
    words = {"augmentation": "{} augmentation", "symmetry": "symmetry {}"}
    named = setting if isinstance(setting, Mapping) else {}
    return [said.format(named[name]) for name, said in words.items() if named.get(name)]


def _name_of(runs: Path, setting: str) -> str:
    """The name under which the runs of a setting, a folder, a CSV, or a setting in a file of the user's own are kept."""
    if is_own(setting):
        return _own_name(setting)
    path = Path(setting).expanduser()
    return name_below(runs, path) or (name_of_trained(runs, path) if path.exists() else setting)


def _own_name(text: str) -> str:
    from longtail.spec.recipe import Setting  # loads torch

    function = own_function(text)
    try:
        inspect.signature(function).bind()
    except (TypeError, ValueError) as error:
        raise UserError(f"'{text}' cannot be called ({error}); name a function that returns a Setting.") from error
    setting = function()
    if not isinstance(setting, Setting):
        raise WrongTypeError(f"'{text}' must return a Setting; got {type(setting).__name__}.")
    return setting.name


def _identity(record: Record) -> str:
    missing = [name for name in IDENTITY if name not in record]
    if missing:
        raise UserError(f"record.json lacks {', '.join(missing)}.")
    return json.dumps([record[name] for name in IDENTITY], sort_keys=True)


def _mean_recall(report: RunReport, labels: Sequence[int]) -> float:
    recalls = [report.test.recalls[label] for label in labels if report.test.test_counts[label]]
    return statistics.fmean(recalls) if recalls else math.nan


def _value(report: RunReport, name: str) -> float:
    if name == "seconds":
        return report.train_seconds
    return report.test.groups[name].recall if name in GROUPS else float(getattr(report.test, name))
