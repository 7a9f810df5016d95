"""What a report reads of a finished run: its report, its record, its predictions on the test images, and its log."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from longtail.runs.folder import RunFolder
from longtail.runs.judging import regrouped_report
from longtail.runs.layout import chosen_run
from longtail.runs.report import RunReport
from longtail.text import unguarded

Array = NDArray[Any]


@dataclass(frozen=True)
class Answer:
    """A finished run as a report shows it, beside others.

    Args:
        name: what the run is called in the report, unique among those shown.
        folder: its run folder.
        report: its results.
        record: what was trained (record.json).
        labels: classes of the test images (M,).
        scores: scores of the run's rule (M, C), float32; their softmax is the probabilities.
        logits: logits of the network before the rule (M, C), float32.
        features: features of the test images (M, D), float32.
        files: paths of the test images below the folder of the data, in the order of `labels`; empty where they have no paths.
        log: one entry per epoch (log.jsonl).
    """

    name: str
    folder: Path
    report: RunReport
    record: Mapping[str, Any]
    labels: Array
    scores: Array
    logits: Array
    features: Array
    files: Sequence[str]
    log: Sequence[Mapping[str, Any]]

    @property
    def classes(self) -> list[str]:
        """Names of the classes (C,)."""
        return [entry.name for entry in self.report.classes]


def read_answer(folder: Path, name: str, *, groups: str) -> Answer:
    """Reads a finished run, or the run that a comparison chose; damaged files are refused.

    Args:
        folder: folder of the run or of the comparison.
        name: what the run is called in the report.
        groups: rule that gathers classes in groups.

    Raises:
        MissingFileError: the folder holds no finished run.
        UserError: a file of the run is damaged.
    """
    run = RunFolder(chosen_run(folder))
    report = regrouped_report(run.folder, groups=groups)
    with np.load(io.BytesIO(run.read("predictions.npz"))) as stored:
        arrays = {key: stored[key].astype(np.float32) for key in ("logits", "features")}
        arrays["scores"] = stored["scores"].astype(np.float32) if "scores" in stored else arrays["logits"]
        labels = stored["labels"]
    lines = run.read("log.jsonl").decode().splitlines()
    return Answer(
        name=name,
        folder=run.folder,
        report=report,
        record=run.record,
        labels=labels,
        files=_test_files(run.read("split.csv").decode(), len(labels)),
        log=[json.loads(line) for line in lines],
        **arrays,
    )


def _test_files(split: str, images: int) -> list[str]:
    """Paths of the test images in the order of the predictions; none where the split does not list as many files."""
    files = [unguarded(row["path"]) for row in csv.DictReader(io.StringIO(split)) if row["split"] == "test"]
    return files if len(files) == images else []
