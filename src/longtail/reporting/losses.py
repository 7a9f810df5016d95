"""The clouded losses that a run was trained with, restored from its record; no code that a file names is run."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from longtail.errors import UserError
from longtail.losses import GCLAngularLoss, GCLLoss
from longtail.reporting.answer import Answer
from longtail.spec.parts import LOSS, restore

Array = NDArray[Any]
Clouded = GCLLoss | GCLAngularLoss
NOISE_STD = 1 / 3  # standard deviation of the noise before it is clamped (losses/gcl.py)


def stages_of(answer: Answer) -> Sequence[Any]:
    """Descriptions of the stages that a run was trained in; none where its record names none."""
    stages: Sequence[Any] = answer.record["recipe"].get("stages", [])
    return stages


def clouded_losses(answer: Answer) -> Iterator[tuple[int, Clouded]]:
    """The stages of a run whose loss has clouds (GCL and its angular form): number of the stage, from 1, and its loss."""
    for number, stage in enumerate(stages_of(answer), 1):
        try:
            build = restore(stage["loss"], LOSS)
        except UserError:  # a loss of the user's own
            continue
        kind = build.func if isinstance(build, partial) else build
        if kind in (GCLLoss, GCLAngularLoss):
            yield number, build(answer.report.class_counts)


def cloud_sigmas(loss: Clouded) -> Array:
    """Standard deviation of the Gaussian that the noise on each class's cosine or angle is drawn from, (C,): amplitude d_j / 3.

    The noise is its absolute value, clamped.

    Source: `losses/gcl.py`; the amplitude is `noise_mul` for cosines, and pi / 2 times `epsilon` radians for angles.
    """
    amplitude = loss.noise_mul if isinstance(loss, GCLLoss) else math.pi / 2 * loss.epsilon
    return np.asarray(loss.cloud_size) * amplitude * NOISE_STD


def unit_of(loss: Clouded) -> str:
    """What the noise is added to, which is its unit."""
    return "cosine" if isinstance(loss, GCLLoss) else "radians"
