"""A user's rule declares the split that it is fitted on, as the rules of longtail do."""

from functools import partial

import numpy as np
import pytest
import torch
from test_inference import predictions, random_predictions

from longtail import inference
from longtail.errors import UserError
from longtail.inference import fitted, fitted_on, not_fitted, reference_of

TWO = predictions([[2, 1, 0], [0, 3, 6]])


def shifted(predictions, *, strength=1.0, split="val", shift=None):
    """Logits minus a multiple of the learned shift."""
    if shift is None:
        raise not_fitted(shifted)
    return predictions.logits - strength * shift


def mean_logits(rule, predictions):
    return {"shift": predictions.logits.mean(0)}


def declared(split="val", keyword="shift", learn=mean_logits):
    """A new function in each call, so that the declarations of two tests are independent."""

    def own(predictions, *, strength=1.0, split="val", shift=None):
        return shifted(predictions, strength=strength, split=split, shift=shift)

    return fitted_on(split, keyword=keyword, learn=learn)(own)


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_a_rule_of_one_s_own_is_fitted_on_the_split_it_declares(split):
    rule = declared(split)
    assert reference_of(rule) == reference_of(partial(rule, strength=3.0)) == split
    ready = fitted(rule, TWO)
    assert reference_of(ready) is None
    assert ready.keywords["shift"].tolist() == [1, 2, 3]
    assert ready(predictions([[1, 1, 1]], labels=(0,))).tolist() == [[0, -1, -2]]


@pytest.mark.parametrize("rule", [inference.retrained, inference.nearest_class_mean])
def test_a_rule_that_learns_classes_needs_an_image_of_each(rule):
    with pytest.raises(UserError, match=rf"{rule.__name__} is fitted on images of every class; there are none .* \[1\]"):
        fitted(rule, predictions([[2, 1, 0], [0, 3, 6]], labels=(0, 2)))


def test_nothing_is_fitted_on_no_images():
    with pytest.raises(UserError, match="own needs at least one image to be fitted on"):
        fitted(declared(), predictions(torch.zeros(0, 3), labels=torch.zeros(0, dtype=torch.int64)))


def test_a_partial_keeps_its_other_keywords():
    ready = fitted(partial(declared(), strength=2.0), TWO)
    assert ready(predictions([[1, 1, 1]], labels=(0,))).tolist() == [[-1, -3, -5]]


def test_what_learns_is_given_the_rule_with_its_keywords():
    rule = declared(learn=lambda rule, val: {"shift": rule(val, shift=torch.ones(3)).mean(0)})
    assert fitted(partial(rule, strength=0.5), TWO).keywords["shift"].tolist() == [0.5, 1.5, 2.5]


def test_a_keyword_may_hold_the_split():
    rule = declared("split")
    assert (reference_of(rule), reference_of(partial(rule, split="train"))) == ("val", "train")
    with pytest.raises(UserError, match=r"^`split` has to be one of train, val, test; got 'valid'\.$"):
        reference_of(partial(rule, split="valid"))


def test_what_is_fitted_stays_as_it_is():
    for rule in (partial(declared(), shift=0.0), fitted(declared(), TWO), inference.logit_adjusted):
        assert reference_of(rule) is None
        assert fitted(rule, random_predictions()) is rule


@pytest.mark.parametrize(
    "rule", [shifted, inference.as_trained, inference.deconfounded, partial(inference.deconfounded, alpha=3.0)]
)
def test_a_rule_that_declares_nothing_is_not_fitted(rule):
    assert reference_of(rule) is None
    assert fitted(rule, TWO) is rule


def test_an_attribute_of_the_same_name_is_no_declaration():
    def rule(predictions):
        return predictions.logits

    rule.fit = lambda: None
    assert reference_of(rule) is None


def test_a_declared_rule_is_the_function_itself():
    def rule(predictions, *, shift=None):
        return predictions.logits

    assert fitted_on("val", keyword="shift", learn=mean_logits)(rule) is rule


def test_a_rule_that_declares_nothing_and_wants_to_be_fitted_is_told_so():
    with pytest.raises(
        UserError, match=r"^shifted does not declare the split that it is fitted on; declare it with fitted_on\.$"
    ):
        shifted(TWO)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"keyword": "bias"}, r"^own needs the keyword `bias=None` to be fitted; it has strength, split, shift\.$"),
        ({"keyword": "predictions"}, r"^own needs the keyword `predictions=None` to be fitted; it has strength, split, shift\.$"),
        ({"split": "valid"}, r"^own cannot be fitted on 'valid'; choose among train, val, test, strength, split, shift\.$"),
    ],
)
def test_a_declaration_that_makes_no_sense(arguments, said):
    with pytest.raises(UserError, match=said):
        declared(**arguments)


@pytest.mark.parametrize(
    ("learned", "said"),
    [
        ({}, r"^Fitting own has to give its keyword `shift` a value; it gave none\.$"),
        ({"bias": 1.0}, r"^Fitting own has to give its keyword `shift` a value; it gave bias\.$"),
        ({"shift": None}, r"^Fitting own has to give its keyword `shift` a value; it gave none\.$"),
        ({"shift": 1.0, "bias": 2.0}, r"gave `bias`, which is not one of its keywords: strength, split, shift\.$"),
        ({"shift": np.ones(3)}, r"gave `shift` as ndarray, which cannot be stored; give a tensor, a number or a string\.$"),
        ({"shift": np.float32(1)}, r"gave `shift` as float32, which cannot be stored"),
    ],
)
def test_what_is_learned_and_cannot_be_kept(learned, said):
    with pytest.raises(UserError, match=said):
        fitted(declared(learn=lambda rule, val: learned), TWO)
