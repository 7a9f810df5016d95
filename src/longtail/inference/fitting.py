"""Which rules have to be fitted, on which split, and how what they learn is fixed."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from longtail.inference.adjusted import best_tau, logit_adjusted, tau_normalised
from longtail.inference.calibrated import best_temperature, temperature_scaled
from longtail.inference.predictions import InferenceRule, Predictions, Reference
from longtail.inference.prototypes import class_means, nearest_class_mean
from longtail.inference.rebalancing import rebalanced, summed_probabilities


@dataclass(frozen=True)
class Fit:
    """How a rule is fitted.

    Args:
        keyword: None until the rule is fitted.
        split: the images to fit on, unless the rule has a keyword `source` that says it.
        learn: `learn(rule, reference)` -> keywords to fix.
    """

    keyword: str
    split: Reference
    learn: Callable[[InferenceRule, Predictions], Mapping[str, Any]]


FITS: Mapping[InferenceRule, Fit] = {
    logit_adjusted: Fit("tau", "val", lambda rule, reference: {"tau": best_tau(rule, reference)}),
    tau_normalised: Fit("tau", "val", lambda rule, reference: {"tau": best_tau(rule, reference)}),
    nearest_class_mean: Fit("centroids", "train", lambda rule, reference: class_means(reference)),
    rebalanced: Fit("column_sums", "test", lambda rule, reference: {"column_sums": summed_probabilities(reference)}),
    temperature_scaled: Fit("temperature", "val", lambda rule, reference: {"temperature": best_temperature(reference)}),
}


def reference_of(rule: InferenceRule) -> Reference | None:
    """The split that `rule` has to be fitted on; None where nothing is left to fit."""
    function, values = _unwrapped(rule)
    fit = FITS.get(function)
    if fit is None or values[fit.keyword] is not None:
        return None
    split: Reference = values.get("source", fit.split)
    return split


def fitted(rule: InferenceRule, reference: Predictions) -> InferenceRule:
    """`rule` with what it learns from `reference` fixed as keywords; as it is where it learns nothing."""
    function, _ = _unwrapped(rule)
    return partial(rule, **FITS[function].learn(function, reference)) if function in FITS else rule


def _unwrapped(rule: InferenceRule) -> tuple[InferenceRule, dict[str, Any]]:
    """The function, and the value of each of its keywords."""
    function, fixed = (rule.func, rule.keywords) if isinstance(rule, partial) else (rule, {})
    defaults = {name: parameter.default for name, parameter in inspect.signature(function).parameters.items()}
    return function, defaults | fixed
