"""How a post hoc rule declares the split that it is fitted on, and how the values that it learns become its keywords."""

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
    """The declaration that a rule made with `fitted_on`, where the fields are explained."""

    split: str
    keyword: str
    learn: Learn

    def reference(self, keywords: Mapping[str, Any]) -> Reference:
        """The split that a rule with these keywords is fitted on.

        Raises:
            UserError: the value of the keyword that chooses the split is not the name of a split.
        """
        split: Any = self.split if self.split in SPLITS else keywords[self.split]
        if split not in SPLITS:
            raise UserError(f"`{self.split}` has to be one of {', '.join(SPLITS)}; got {split!r}.")
        return cast("Reference", split)


def fitted_on(split: str, *, keyword: str, learn: Learn) -> Callable[[Rule], Rule]:
    """Declares the split that the decorated rule has to be fitted on before it can be called.

    A complete rule of your own; with `Recipe(..., inference=centred)` it is fitted, evaluated and stored:

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
        keyword: the rule's keyword that is None until the rule is fitted; None may be its default.
        learn: function `learn(rule, predictions) -> {keyword: value, ...}`, which computes from the predictions on the split the
            values of keywords of the rule, each a tensor, a number, a string or a boolean. `rule` is the rule to be fitted, with
            its other keywords.

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
    """The split that `rule` has to be fitted on; None if it needs no fitting."""
    fit, keywords = _declared(rule)
    return None if fit is None or keywords[fit.keyword] is not None else fit.reference(keywords)


def fitted(rule: InferenceRule, predictions: Predictions) -> InferenceRule:
    """Returns `rule` with the values that it learns from `predictions` as fixed keywords; the rule itself if it needs no fitting.

    Args:
        rule: any rule, or a `functools.partial` of one.
        predictions: predictions on the split that `reference_of(rule)` names.

    Raises:
        UserError: there are no images, a label is -1 although the rule learns from labels, a learned value is not a keyword of
            the rule, or is of a type that cannot be stored.
    """
    fit, keywords = _declared(rule)
    if fit is None or keywords[fit.keyword] is not None:
        return rule
    if fit.reference(keywords) != "test" and bool((predictions.labels < 0).any()):
        raise UserError(f"{_name(rule)} is fitted on images whose class is known; some labels of these predictions are -1.")
    if not len(predictions.labels):
        raise UserError(f"{_name(rule)} needs at least one image to be fitted on.")
    learned = fit.learn(rule, predictions)
    _check(learned, keywords, fit, _name(rule))
    return partial(rule, **learned)


def not_fitted(rule: InferenceRule) -> UserError:
    """The error to raise in a rule that is called before it is fitted; its message says how to fit the rule."""
    fit, keywords = _declared(rule)
    if fit is None:
        return UserError(f"{_name(rule)} does not declare the split that it is fitted on; declare it with fitted_on.")
    split = fit.reference(keywords)
    how = f"fitted(rule, predictions_on_{split})"
    return UserError(f"{_name(rule)} has to be fitted on the {split} images before it is called: {how}.")


def function_of(rule: InferenceRule) -> InferenceRule:
    """The function behind a rule, without the keywords that were fixed."""
    return rule.func if isinstance(rule, partial) else rule


def keywords_of(rule: InferenceRule) -> dict[str, Any]:
    """The keywords that a rule was given, what it learned among them; empty for a plain function."""
    return dict(rule.keywords) if isinstance(rule, partial) else {}


def _name(rule: InferenceRule) -> str:
    """Name of the function behind a rule."""
    return str(getattr(function_of(rule), "__name__", rule))


def _check(learned: Mapping[str, Any], keywords: Mapping[str, Any], fit: Fit, name: str) -> None:
    if learned.get(fit.keyword) is None:
        given = {keyword: value for keyword, value in learned.items() if value is not None}
        raise UserError(f"Fitting {name} has to give its keyword `{fit.keyword}` a value; it gave {_listed(given)}.")
    for keyword, value in learned.items():
        if keyword not in keywords:
            raise UserError(f"Fitting {name} gave `{keyword}`, which is not one of its keywords: {_listed(keywords)}.")
        if not isinstance(value, STORED):
            kind = type(value).__name__
            raise UserError(
                f"Fitting {name} gave `{keyword}` as {kind}, which cannot be stored; give a tensor, a number or a string."
            )


def _declared(rule: InferenceRule) -> tuple[Fit | None, dict[str, Any]]:
    """The declaration of the function behind a rule, and the value of each of the rule's keywords."""
    function, fit = function_of(rule), getattr(function_of(rule), "fit", None)
    return (fit if isinstance(fit, Fit) else None), _defaults(function) | keywords_of(rule)


def _defaults(function: InferenceRule) -> dict[str, Any]:
    """Default of each keyword that has one."""
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}


def _listed(names: Any) -> str:
    return ", ".join(names) or "none"
