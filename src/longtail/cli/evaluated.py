"""The results of `longtail evaluate` as files for other programs: CSV, with every class, or JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from longtail.cli.show import say, text
from longtail.errors import UserError
from longtail.runs.export import check_target
from longtail.runs.files import csv_text
from longtail.runs.output import check_output, is_standard_output, write_output
from longtail.runs.report import RunReport
from longtail.runs.seals import plain
from longtail.text import guarded, visible

HEADER = ("scores", "kind", "name", "group", "train_images", "test_images", "value")


def check_results_file(output: Path | None, data: Path | None) -> None:
    """Refuses a file of results that cannot be written, or would take the place of the data or of a file of a run."""
    if output is None:
        return
    check_output(output)
    if is_standard_output(output):
        return
    check_target(output, "")
    if data is not None and os.path.realpath(output) == os.path.realpath(data):
        raise UserError(f"The output '{output}' is the list of the images; give the name of another file with -o.")


def write_results(output: Path, reports: Mapping[str, RunReport]) -> None:
    """Writes the results, then every class, as CSV; shares are between 0 and 1, and empty where nothing was evaluated."""
    write_output(output, csv_text(HEADER, (row for name, report in reports.items() for row in _rows(name, report))))
    if not is_standard_output(output):
        say(f"Every class: {text(output)}")


def _rows(scores: str, report: RunReport) -> Iterator[tuple[Any, ...]]:
    test, images = report.test, sum(report.test.test_counts)
    for name in ("mean_recall", "accuracy", "calibration_error"):
        yield scores, "number", name, "", "", images, _share(getattr(test, name))
    for name, group in test.groups.items():
        yield scores, "group", name, name, "", group.images, _share(group.recall)
    for entry, recall, count in zip(report.classes, test.recalls, test.test_counts, strict=True):
        yield scores, "class", guarded(visible(entry.name)), entry.group, entry.train_images, count, _share(recall)


def _share(share: float) -> str:
    return "" if share != share else f"{share:.6f}"


def results_json(reports: Mapping[str, RunReport], notes: Sequence[str], prior: str | None) -> str:
    """The results as JSON: the reports by the scores that they are of, in the form of report.json, and the sentences on them."""
    return json.dumps(plain({"prior": prior, "notes": notes, "results": reports}), indent=1)
