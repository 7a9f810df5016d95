"""A rule whose scores are made less or more sure, and adjusted to other class frequencies, after it was fitted."""

from __future__ import annotations

from longtail.arguments import Numbers, as_tensor, in_a_program
from longtail.errors import UserError
from longtail.inference.fitting import function_of, keywords_of
from longtail.inference.predictions import InferenceRule, Predictions, Scores, as_trained, like
from longtail.weighting import in_order


def adapted(
    predictions: Predictions,
    *,
    rule: InferenceRule = as_trained,
    temperature: float = 1.0,
    offset: Numbers | None = None,
) -> Scores:
    """The scores of another rule divided by a temperature, plus one number per class: s / T + b.

    With b_j = log wanted_j - log given_j scores that are log posteriors for the class frequencies "given" become those for the
    frequencies "wanted", since p(y | x) is in proportion to p(x | y) p(y) (Saerens et al., Neural Computation 2002, Eq. 2.4).

    Args:
        rule: the rule, which needs no further fitting.
        temperature: T, above 0; 1 leaves the scores as they are (Guo et al., ICML 2017, Sec. 4.2).
        offset: b (C,); None for zeros.

    Raises:
        UserError: `offset` is not one finite number per class, or the temperature is not above 0.
    """
    if not temperature > 0:
        raise UserError(f"`temperature` must be above 0; got {temperature}.")
    scores: Scores = rule(predictions) / temperature
    if offset is None:
        return scores
    shift = as_tensor("adapted", in_order("offset", offset), "offset")
    if shift.shape != scores.shape[1:] or not (in_a_program() or bool(shift.isfinite().all())):
        raise UserError(f"`offset` must be {scores.shape[1]} finite numbers, one per class; got {shift.numel()} numbers.")
    return scores + like(shift, scores)


def innermost_rule(rule: InferenceRule) -> InferenceRule:
    """The rule that `adapted` gets its scores from; the rule itself where it is not `adapted`."""
    while function_of(rule) is adapted:
        rule = keywords_of(rule).get("rule", as_trained)
    return rule
