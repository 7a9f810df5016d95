"""Rules that make scores right for the class frequencies in which a classifier is used."""

from __future__ import annotations

from functools import partial
from typing import Any

from longtail.inference import InferenceRule, as_trained, logit_adjusted

Target = tuple[float, ...] | None


def for_use(target: Target, *, tau: float = 0.0) -> InferenceRule:
    """The rule of a network whose scores are for equal class frequencies: it adds the log of those in use, if any are given.

    Args:
        target: class frequencies in use; None where all classes are alike.
        tau: strength of a further adjustment.
    """
    return partial(logit_adjusted, tau=tau, **in_use(target)) if tau or target else as_trained


def in_use(target: Target) -> dict[str, Any]:
    """The keyword of a rule for class frequencies in use; empty where all classes are alike."""
    return {} if target is None else {"target": target}
