"""The loss of the balanced product of experts: the vector of the reference document, loops, and values that are refused."""

import math
import re

import jaxtyping
import numpy as np
import pytest
import torch

from longtail.errors import UserError
from longtail.losses import CrossEntropyLoss, ExpertsLoss, LogitAdjustedLoss
from longtail.losses.experts import consistent_exponents
from reference import formulas, formulas_adjusted
from reference.formulas import agrees

COUNTS = [100, 10, 1]
LOGITS = torch.tensor([[[2, 1, 0], [1, 1, 1], [0, 1, 2]]], dtype=torch.float64)
LABEL = torch.tensor([2])


def drawn(seed, experts, images=7, classes=5):
    draw = np.random.default_rng(seed)
    counts, weight = draw.integers(1, 400, classes).tolist(), draw.uniform(0.1, 2, classes).tolist()
    return counts, weight, draw.normal(size=(images, experts, classes)), draw.integers(0, classes, images)


def test_the_vector_of_the_reference():
    loss = ExpertsLoss(COUNTS)
    assert agrees(loss(LOGITS, LABEL), "4.785005185931749")
    alone = [LogitAdjustedLoss(COUNTS, tau=tau)(LOGITS[:, e], LABEL).item() for e, tau in enumerate((0, 1, 2))]
    assert agrees(alone, "2.407605964444381 4.709530201312334 7.237879392038535")
    assert agrees(ExpertsLoss(COUNTS, scale=30.0)(LOGITS / 30, LABEL), "4.785005185931749")


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("tau", "scale"), [((0.0, 1.0, 2.0), 1.0), ((-0.5, 0.75, 1.75, 2.0), 30.0), ((1.0,), 4.0)])
def test_against_loops(seed, tau, scale):
    counts, weight, logits, labels = drawn(seed, len(tau))
    pairs = zip(logits.tolist(), labels.tolist(), strict=True)
    each = [formulas_adjusted.of_experts(rows, y, counts, tau, scale) for rows, y in pairs]
    ours = ExpertsLoss(counts, tau=tau, scale=scale, weight=weight)(torch.from_numpy(logits), torch.from_numpy(labels))
    assert ours.item() == pytest.approx(formulas.mean(each, labels, weight), abs=1e-11)


def test_one_expert_is_logit_adjustment_and_without_a_tail_every_exponent_is_cross_entropy():
    counts, weight, logits, labels = drawn(5, 1)
    given = torch.from_numpy(logits), torch.from_numpy(labels)
    one = ExpertsLoss(counts, tau=(1.0,), weight=weight)(*given)
    torch.testing.assert_close(one, LogitAdjustedLoss(counts, weight=weight)(given[0][:, 0], given[1]))
    plain = CrossEntropyLoss([9] * 5)(given[0][:, 0], given[1])
    torch.testing.assert_close(ExpertsLoss([9] * 5, tau=(-1.0, 3.0))(given[0].expand(-1, 2, -1), given[1]), plain)


def test_exponents_of_mean_one_make_the_mean_of_the_experts_right_for_balanced_classes():
    """Where each expert fits the training distribution exactly, the mean of the logits is log p(x | y) up to a constant."""
    likelihood, prior = torch.tensor([0.2, 0.5, 0.3]).log(), torch.tensor(COUNTS).double().log()
    for tau in ((0.0, 1.0, 2.0), (0.25, 1.75)):
        fitting = torch.stack([likelihood + (1 - t) * prior for t in consistent_exponents(tau)])
        torch.testing.assert_close(fitting.mean(0).softmax(0), likelihood.double().exp())


@pytest.mark.parametrize(
    ("tau", "said"),
    [
        ((0.0, 1.0, 3.0), r"`tau` must have mean 1, or .* another prior .*; got (0.0, 1.0, 3.0), whose mean is 1.33333."),
        ((0, 1), r"got (0, 1), whose mean is 0.5."),
        ((), r"`tau` must hold one finite number for each expert, such as (0, 1, 2); got ()."),
        ((True,), r"one finite number for each expert"),
        ((0, math.nan, 2), r"one finite number for each expert"),
        ((-math.inf, math.inf), r"one finite number for each expert"),
    ],
)
def test_other_exponents_are_refused(tau, said):
    pattern = re.escape(said).replace(r"\.\*", ".*")
    with pytest.raises(UserError, match=pattern):
        consistent_exponents(tau)


def test_exponents_that_are_written_as_whole_numbers_are_the_same_exponents():
    assert [type(each) for each in consistent_exponents((0, 1, 2))] == [float] * 3
    assert consistent_exponents([0.1] * 9 + [9.1]) == (*[0.1] * 9, 9.1), "a mean of 1 up to rounding"


@pytest.mark.parametrize("shape", [(4, 3), (4, 2, 3), (4, 3, 4), (4, 3, 3, 1)])
def test_logits_of_another_shape_are_refused(shape, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    said = rf"needs `logits` of shape \(B, 3, 3\).*; got torch.float32 of shape {re.escape(str(shape))}\."
    with pytest.raises(UserError, match=said):
        ExpertsLoss(COUNTS)(torch.zeros(shape), torch.zeros(4, dtype=torch.int64))


def test_a_scale_of_zero_is_refused():
    with pytest.raises(UserError, match="ExpertsLoss needs `scale` above 0; got 0"):
        ExpertsLoss(COUNTS, scale=0.0)


@pytest.mark.parametrize("tau", [np.array([0, 1, 2]), torch.tensor([0.0, 1.0, 2.0]), [0, 1, 2]])
def test_exponents_may_be_an_array(tau):
    assert ExpertsLoss([3, 2, 1], tau=tau).tau == (0.0, 1.0, 2.0)


@pytest.mark.parametrize("tau", [1.0, None, np.array(1.0)])
def test_exponents_that_are_no_list_are_refused(tau):
    with pytest.raises(UserError, match="`tau` must hold one finite number for each expert"):
        ExpertsLoss([3, 2, 1], tau=tau)
