"""How a rule declares what it is fitted on, and how what it learns is fixed."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar, cast, get_args

from torch import Tensor

from longtail.errors import UserError
from longtail.inference.predictions import InferenceRule, Predictions, Reference

Learn = Callable[[InferenceRule, Predictions], Mapping[str, Any]]
Rule = TypeVar("Rule", bound=Callable[..., Any])
SPLITS = get_args(Reference)
STORED = (Tensor, bool, int, float, str, type(None))


@dataclass(frozen=True)
class Fit:
    """What a rule declared with `fitted_on`; the arguments are explained there."""

    split: str
    keyword: str
    learn: Learn

    def reference(self, keywords: Mapping[str, Any]) -> Reference:
        """The split that a rule with these keywords is fitted on.

        Raises:
            UserError: the keyword that chooses the split has another value than the name of one.
        """
        split: Any = self.split if self.split in SPLITS else keywords[self.split]
        if split not in SPLITS:
            raise UserError(f"`{self.split}` has to be one of {', '.join(SPLITS)}; got {split!r}.")
        return cast("Reference", split)


def fitted_on(split: str, *, keyword: str, learn: Learn) -> Callable[[Rule], Rule]:
    """Declares what the decorated rule has to be fitted on before it can be called.

    A whole rule of one's own, which `Recipe(..., inference=centred)` has fitted, evaluated and stored:

    >>> import torch
    >>> from longtail.inference import Predictions, fitted, fitted_on, not_fitted, reference_of
    >>> def mean_logits(rule, val):
    ...     return {"offset": val.logits.mean(0)}
    >>> @fitted_on("val", keyword="offset", learn=mean_logits)
    ... def centred(predictions, *, strength=1.0, offset=None):
    ...     '''Logits less a part of their mean over the validation images, class by class.'''
    ...     if offset is None:
    ...         raise not_fitted(centred)
    ...     return predictions.logits - strength * offset
    >>> reference_of(centred)
    'val'
    >>> logits, labels, counts = torch.tensor([[3.0, 0.0], [1.0, 0.0]]), torch.tensor([0, 1]), torch.tensor([9.0, 1.0])
    >>> val = Predictions(features=torch.zeros(2, 1), logits=logits, labels=labels, class_counts=counts)
    >>> rule = fitted(centred, val)
    >>> rule(val)
    tensor([[ 1.,  0.],
            [-1.,  0.]])
    >>> centred(val)
    Traceback (most recent call last):
    longtail.errors.UserError: centred has to be fitted on the val images before it is called: fitted(rule, predictions_on_val).

    Args:
        split: "train", "val" or "test", or the name of the rule's keyword that holds one of them. A rule that is fitted on
            "test" is transductive: its `learn` must not look at the labels.
        keyword: the rule's keyword that is None, and may be so by default, until the rule is fitted.
        learn: `learn(rule, predictions) -> {keyword: value, ...}`: from the predictions on the split, what becomes a keyword of
            the rule, each a tensor, a number, a text or a truth value. `rule` is the one to be fitted, with its other keywords.

    Raises:
        UserError: the rule has no such keyword, or there is no such split.
    """

    def declare(function: Rule) -> Rule:
        defaults = _defaults(function)
        if keyword not in defaults:
            raise UserError(f"{_name(function)} needs the keyword `{keyword}=None` to be fitted; it has {_listed(defaults)}.")
        if split not in (*SPLITS, *defaults):
            raise UserError(f"{_name(function)} cannot be fitted on '{split}'; choose among {_listed((*SPLITS, *defaults))}.")
        vars(function)["fit"] = Fit(split, keyword, learn)
        return function

    return declare


def reference_of(rule: InferenceRule) -> Reference | None:
    """The split that `rule` has to be fitted on; None where nothing is left to fit."""
    fit, keywords = _declared(rule)
    return None if fit is None or keywords[fit.keyword] is not None else fit.reference(keywords)


def fitted(rule: InferenceRule, predictions: Predictions) -> InferenceRule:
    """`rule` with what it learns from `predictions` fixed as keywords; the rule itself where nothing is left to fit.

    Args:
        rule: any rule, or a `functools.partial` of one.
        predictions: those on the split that `reference_of(rule)` names.

    Raises:
        UserError: what was learned is no keyword of the rule, or nothing that can be stored.
    """
    fit, keywords = _declared(rule)
    if fit is None or keywords[fit.keyword] is not None:
        return rule
    learned = fit.learn(rule, predictions)
    _check(learned, keywords, fit, _name(rule))
    return partial(rule, **learned)


def not_fitted(rule: InferenceRule) -> UserError:
    """The error to raise in a rule that is called before it is fitted; its sentence says how to fit it."""
    fit, keywords = _declared(rule)
    if fit is None:
        return UserError(f"{_name(rule)} does not say what it is fitted on; declare it with fitted_on.")
    split = fit.reference(keywords)
    how = f"fitted(rule, predictions_on_{split})"
    return UserError(f"{_name(rule)} has to be fitted on the {split} images before it is called: {how}.")


def _name(rule: InferenceRule) -> str:
    """Name of the function behind a rule."""
    return str(getattr(_function(rule), "__name__", rule))


def _check(learned: Mapping[str, Any], keywords: Mapping[str, Any], fit: Fit, name: str) -> None:
    if learned.get(fit.keyword) is None:
        raise UserError(f"Fitting {name} has to give its keyword `{fit.keyword}`; got {_listed(learned)}.")
    for keyword, value in learned.items():
        if keyword not in keywords:
            raise UserError(f"Fitting {name} gave `{keyword}`, which is none of its keywords: {_listed(keywords)}.")
        if not isinstance(value, STORED):
            kind = type(value).__name__
            raise UserError(f"Fitting {name} gave `{keyword}` as {kind}, which is not stored; give a tensor, a number or a text.")


def _declared(rule: InferenceRule) -> tuple[Fit | None, dict[str, Any]]:
    """What the function behind a rule declares, and the value of each of the rule's keywords."""
    function, fit = _function(rule), getattr(_function(rule), "fit", None)
    fixed = rule.keywords if isinstance(rule, partial) else {}
    return (fit if isinstance(fit, Fit) else None), _defaults(function) | fixed


def _function(rule: InferenceRule) -> InferenceRule:
    return rule.func if isinstance(rule, partial) else rule


def _defaults(function: InferenceRule) -> dict[str, Any]:
    """Default of each keyword that has one."""
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}


def _listed(names: Any) -> str:
    return ", ".join(names) or "none"
