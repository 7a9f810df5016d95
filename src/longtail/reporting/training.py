"""The section on training: curves by epoch, lengths of the class vectors, and how often each class is drawn."""

from __future__ import annotations

from collections.abc import Sequence

from longtail.reporting.answer import Answer
from longtail.reporting.class_norms import class_norms
from longtail.reporting.sampling_shares import sampling_shares
from longtail.reporting.section import Section
from longtail.reporting.training_curves import training_curves

HOW = (
    "A network has learned as much as it will when its loss and its recall have stopped to change at a small learning rate. "
    "In a second stage, the classifier is usually trained again by a sampler that draws rare classes more often, which makes "
    "its class vectors more alike in length."
)


def training(answers: Sequence[Answer]) -> Section:
    """Section on how the answers were trained."""
    norms, on_norms = class_norms(answers)
    sampling, on_sampling = sampling_shares(answers)
    parts = [*training_curves(answers), *norms, *sampling]
    return Section("Training", [HOW, *on_norms, *on_sampling] if parts else [], parts)
