"""Builds the report of a run from its experiment, history and evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from longtail.data.groups import group_of_each, shot_groups
from longtail.data.imbalance import imbalance_factor
from longtail.engine.evaluation import Evaluation
from longtail.engine.loop import History
from longtail.inference import InferenceRule, reference_of
from longtail.inference.fitting import keywords_of
from longtail.metrics import group_means, nan_mean
from longtail.results import SplitResult
from longtail.runs.report import ClassEntry, EpochResult, RunReport, StageResult
from longtail.spec.experiment import Experiment

Members = Mapping[str, Sequence[int]]


def run_report(
    experiment: Experiment, history: History, evaluation: Evaluation, ends: Sequence[SplitResult], *, groups: str, device: str
) -> RunReport:
    """Builds the report of a finished run.

    Args:
        history: one entry per epoch of all stages.
        evaluation: evaluation of the trained model on the test images.
        ends: result on the test images at the end of each stage.
        groups: rule that gathers classes in groups.
        device: name of the device that trained.
    """
    data, recipe, counts = experiment.data, experiment.recipe, experiment.data.class_counts
    members = shot_groups(counts, rule=groups)
    return RunReport(
        method=recipe.name,
        setting=experiment.setting.name,
        budget=experiment.setting.budget,
        protocol=experiment.protocol,
        epoch_rule="last epoch",
        seed=experiment.seed,
        precision=experiment.precision,
        device=device,
        imbalance=round(imbalance_factor(counts), 1),
        images={name: len(split) for name, split in data.splits.items()},
        group_rule=groups,
        test=evaluation.report,
        val_mean_recall=evaluation.val_mean_recall,
        transductive=reference_of(recipe.inference) == "test",
        chosen=_chosen(evaluation, recipe.inference),
        stages=tuple(_stage(index, experiment, history, end, members) for index, end in enumerate(ends)),
        classes=tuple(map(ClassEntry, data.classes, map(int, counts), group_of_each(counts, rule=groups))),
        views=experiment.setting.views,
    )


def _stage(index: int, experiment: Experiment, history: History, end: SplitResult, members: Members) -> StageResult:
    entries = [entry for entry in history if entry["stage"] == index]
    seconds = sum(entry["seconds"] for entry in entries)
    images = len(entries) * len(experiment.data.train)
    judged = [_epoch(entry["epoch"] + 1, entry["test_recalls"], members) for entry in entries if "test_recalls" in entry]
    return StageResult(
        stage=index + 1,
        epochs=len(entries),
        last_epoch=_epoch(len(entries), end.recalls, members),
        best_test_epoch=max(judged, key=lambda epoch: epoch.mean_recall, default=None),
        seconds=round(seconds, 1),
        images_per_second=round(images / seconds, 1) if seconds else None,
    )


def _epoch(number: int, recalls: Sequence[float], members: Members) -> EpochResult:
    class_recalls = torch.tensor(recalls, dtype=torch.float64)
    return EpochResult(number, nan_mean(class_recalls), group_means(class_recalls, members), tuple(recalls))


def _chosen(evaluation: Evaluation, rule: InferenceRule) -> dict[str, float]:
    """Numbers that were set when the rule was fitted: keywords of the fitted rule that the recipe's rule leaves open."""
    fitted, given = (keywords_of(part) for part in (evaluation.rule, rule))
    return {name: value for name, value in fitted.items() if isinstance(value, (int, float)) and given.get(name) is None}
