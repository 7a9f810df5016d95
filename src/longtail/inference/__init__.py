"""Post hoc rules: pure functions from saved forward passes to scores, `rule(predictions, *, reference=None, ...) -> (M, C)`.

A rule that must be fitted takes what it learned as a keyword (`tau`, `centroids`); where that is None it is learned from
`reference`. `fitted` fixes it, so that a single image can be judged later. `open_set` gives labels and is no such rule.
"""

from longtail.inference.adjusted import logit_adjusted, tau_normalised
from longtail.inference.calibrated import temperature_scaled
from longtail.inference.causal import deconfounded
from longtail.inference.fitting import fitted, reference_of
from longtail.inference.predictions import InferenceRule, Predictions, Reference, Scores, as_trained
from longtail.inference.prototypes import nearest_class_mean
from longtail.inference.rebalancing import rebalanced
from longtail.inference.rejection import open_set

__all__ = [
    "InferenceRule",
    "Predictions",
    "Reference",
    "Scores",
    "as_trained",
    "deconfounded",
    "fitted",
    "logit_adjusted",
    "nearest_class_mean",
    "open_set",
    "rebalanced",
    "reference_of",
    "tau_normalised",
    "temperature_scaled",
]
