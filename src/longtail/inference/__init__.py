"""Post hoc rules: pure functions from a forward pass to scores, `rule(predictions, *, ...) -> (M, C)`; see `InferenceRule`.

A rule that must be fitted takes what it learned as a keyword (`tau`, `centroids`), which is None until then: `reference_of(rule)`
names the split to fit it on, and `fitted(rule, predictions)` is the rule with that keyword fixed, so that a single image can be
classified later. A rule of your own declares its split with `fitted_on`. `open_set` returns labels and is not such a rule.
"""

from longtail.inference.adapted import adapted
from longtail.inference.adjusted import logit_adjusted, tau_normalised
from longtail.inference.calibrated import temperature_scaled
from longtail.inference.causal import deconfounded
from longtail.inference.fitting import fitted, fitted_on, not_fitted, reference_of
from longtail.inference.predictions import InferenceRule, Predictions, Reference, Scores, as_trained
from longtail.inference.prototypes import nearest_class_mean
from longtail.inference.rebalancing import rebalanced
from longtail.inference.rejection import open_set
from longtail.inference.retrained import retrained

__all__ = [
    "InferenceRule",
    "Predictions",
    "Reference",
    "Scores",
    "adapted",
    "as_trained",
    "deconfounded",
    "fitted",
    "fitted_on",
    "logit_adjusted",
    "nearest_class_mean",
    "not_fitted",
    "open_set",
    "rebalanced",
    "reference_of",
    "retrained",
    "tau_normalised",
    "temperature_scaled",
]
