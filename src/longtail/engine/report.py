"""report.json: what a run measured, with everything that a number needs beside it to be worth something."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from longtail.data.groups import shot_groups
from longtail.data.imbalance import imbalance_factor
from longtail.engine.evaluation import Judged
from longtail.engine.training import History
from longtail.inference import InferenceRule, reference_of
from longtail.metrics import Report
from longtail.spec.experiment import Experiment

BEST = "best epoch on the test set"


def results_of(
    experiment: Experiment, history: History, judged: Judged, stages: Sequence[Report], *, groups: str, device: str
) -> dict[str, Any]:
    """The content of report.json."""
    data, recipe = experiment.data, experiment.recipe
    members = shot_groups(data.class_counts, rule=groups)
    group_of = {label: name for name, labels in members.items() for label in labels}
    return {
        "method": recipe.name,
        "setting": experiment.setting.name,
        "budget": experiment.setting.budget,
        "protocol": experiment.protocol,
        "epoch_rule": "last epoch",
        "seed": experiment.seed,
        "precision": experiment.precision,
        "device": device,
        "imbalance": round(imbalance_factor(data.class_counts), 1),
        "images": {name: len(split) for name, split in data.splits.items()},
        "group_rule": groups,
        "test": asdict(judged.report),
        "val_mean_recall": judged.val_mean_recall,
        "transductive": reference_of(recipe.inference) == "test",
        "chosen": _chosen(judged, recipe.inference),
        "stages": [_stage(stage_index, experiment, history, report, members) for stage_index, report in enumerate(stages)],
        "classes": [
            {"name": name, "train_images": count, "group": group_of[label]}
            for label, (name, count) in enumerate(zip(data.classes, data.class_counts, strict=True))
        ],
    }


def _stage(
    stage_index: int, experiment: Experiment, history: History, report: Report, members: Mapping[str, Sequence[int]]
) -> dict[str, Any]:
    entries = [entry for entry in history if entry["stage"] == stage_index]
    seconds = sum(entry["seconds"] for entry in entries)
    shown = len(entries) * len(experiment.data.train)
    summary: dict[str, Any] = {
        "stage": stage_index + 1,
        "epochs": len(entries),
        "last epoch": {"mean_recall": report.mean_recall, **{name: group.recall for name, group in report.groups.items()}},
        "seconds": round(seconds, 1),
        "images_per_second": round(shown / seconds, 1) if seconds else None,
    }
    judged = [entry for entry in entries if "test_recalls" in entry]
    if judged:
        best = max(judged, key=lambda entry: _mean(entry["test_recalls"]))
        recalls = best["test_recalls"]
        of_groups = {name: _mean([recalls[label] for label in labels]) for name, labels in members.items()}
        summary[BEST] = {"epoch": best["epoch"] + 1, "mean_recall": _mean(recalls), **of_groups}
    return summary


def _chosen(judged: Judged, rule: InferenceRule) -> dict[str, float]:
    """Numbers that the fitted rule has and the recipe's does not."""
    fitted, given = ((part.keywords if isinstance(part, partial) else {}) for part in (judged.rule, rule))
    return {name: value for name, value in fitted.items() if isinstance(value, (int, float)) and given.get(name) is None}


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan
