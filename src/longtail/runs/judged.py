"""The scores of a finished run on labelled images, as they are in use: tuned where the run was, adjusted to other frequencies."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from longtail.data.groups import shot_groups
from longtail.inference import Predictions
from longtail.metrics import report as results_of
from longtail.runs.frequencies import shift_to
from longtail.runs.model_reading import read_model
from longtail.runs.report import RunReport
from longtail.runs.run import Run
from longtail.runs.tuned import TUNED, in_use

HALF = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class Judged:
    """A finished run on labelled images.

    Args:
        run: the run.
        report: its results on the images, with the groups that were asked for.
        labels: class of each image (M,).
        scores: scores that the results are of (M, C), float32; no rows where they were not kept.
        notes: sentences on what `longtail tune` changed and on the class frequencies that the scores are adjusted to.
    """

    run: Run
    report: RunReport
    labels: Tensor
    scores: Tensor
    notes: tuple[str, ...] = ()

    @property
    def hits(self) -> Tensor:
        """Whether each image is classified correctly (M,)."""
        return self.scores.argmax(1) == self.labels


def adjusted_to(judged: Judged, prior: str, *, counts: Sequence[int] | None = None) -> Judged:
    """The same run with its scores adjusted to a class prior: "uniform", "train", or a CSV with the header label,share.

    Args:
        counts: images per class (C,) that "train" means; those that the run was trained on if not given.

    Raises:
        UserError: there is no such prior, or the scores cannot be adjusted (`frequencies.shift_to`).
    """
    report = judged.report
    shift = shift_to(judged.run, prior, [entry.name for entry in report.classes], report.class_counts, of_prior=counts)
    scores = judged.scores + shift.offset.to(judged.scores)
    found = with_scores(report, scores, judged.labels) if shift.offset.any() else report
    return replace(judged, report=found, scores=scores, notes=(*judged.notes, shift.sentence))


def with_scores(report: RunReport, scores: Tensor, labels: Tensor) -> RunReport:
    """The report with the results of other scores (M, C) on the test images, in the same groups; without validation recall."""
    members = shot_groups(report.class_counts, rule=report.group_rule)
    return replace(report, test=results_of(scores, labels, members), val_mean_recall=None)


def stored_judgement(run: Run, report: RunReport, *, trust_code: bool = False) -> Judged:
    """The run on its own test images, from its stored predictions.

    Features, logits and scores are stored in float16. Where two classes have the same score at that precision, the class that was
    predicted keeps the lead, so that the results of a run that was not tuned are those of its report.

    Args:
        report: the report of the run, with the groups that are wanted.
        trust_code: run the user's own code that the model is made of, which a tuned run may need.

    Raises:
        MissingFileError: the run stored no predictions.
        DamagedFile: they differ from what was written.
    """
    stored = stored_predictions(run)
    labels, scores = torch.from_numpy(stored["labels"]), torch.from_numpy(stored["scores"])
    if not (run.folder / TUNED).exists():
        predicted = stored.get("predicted", stored["scores"].argmax(1))  # release 0.1.0 stored none
        return Judged(run, report, labels, _led_by(scores, torch.from_numpy(predicted).long()))
    model, config, rule = read_model(run, trust_code=trust_code)
    rule, notes = in_use(run, rule, len(config["classes"]))
    head = {name: tensor.detach() for name, tensor in model.head.state_dict().items()}
    counts = torch.tensor(report.class_counts, dtype=torch.float64)
    features, logits = (torch.from_numpy(stored[name]) for name in ("features", "logits"))
    scores = rule(Predictions(features, logits, torch.full_like(labels, -1), counts, head))
    return Judged(run, with_scores(report, scores, labels), labels, scores, tuple(notes))


def stored_predictions(run: Run) -> Mapping[str, np.ndarray]:
    """The arrays of predictions.npz, those of float16 as float32; scores that are the logits are stored once.

    Infinite numbers of float16, which releases until 0.1.0 made of numbers above 65,504, are the largest one of that type.

    Raises:
        MissingFileError: the run stored none.
        DamagedFile: they differ from what was written.
    """
    with np.load(io.BytesIO(run.read("predictions.npz"))) as stored:
        arrays = {name: stored[name] for name in stored}
    arrays = {
        name: each.astype(np.float32).clip(-HALF, HALF) if each.dtype == np.float16 else each for name, each in arrays.items()
    }
    return {"scores": arrays["logits"], **arrays}


def _led_by(scores: Tensor, predicted: Tensor) -> Tensor:
    """The scores (M, C), with that of the predicted class (M,) raised by a hair where another one is not below it."""
    own = scores.gather(1, predicted[:, None])
    others = scores.scatter(1, predicted[:, None], -torch.inf).max(1, keepdim=True).values
    least = torch.nextafter(others, torch.full_like(others, torch.inf))
    return scores.scatter(1, predicted[:, None], torch.maximum(own, least))
