"""Choosing on validation images: weights, effective numbers, paired bootstrap, the one-standard-error rule, intervals, folds."""

import math

import pytest
import torch

from longtail.choosing import (
    Comparison,
    behind_the_best,
    chosen_strengths,
    compared,
    effective_images,
    folds_of,
    image_weights,
    one_standard_error,
    recall_interval,
    wilson,
)
from longtail.errors import UserError

UNIFORM = torch.tensor([0.5, 0.5])


def hits(*rows):
    return torch.tensor(rows, dtype=torch.bool)


def test_each_class_weighs_as_the_prior_says_and_its_images_alike():
    labels = torch.tensor([0, 0, 0, 0, 1])
    assert image_weights(labels, UNIFORM).tolist() == pytest.approx([0.125] * 4 + [0.5])
    assert image_weights(labels, torch.tensor([3.0, 1.0])).tolist() == pytest.approx([0.1875] * 4 + [0.25])
    assert image_weights(torch.tensor([0, 0]), UNIFORM).tolist() == pytest.approx([0.5, 0.5]), (
        "a class without images enters nothing"
    )


def test_a_mean_over_classes_is_known_as_well_as_the_effective_number_says():
    labels = torch.tensor([0] * 4 + [1])
    assert effective_images(labels, UNIFORM) == pytest.approx(1 / (0.25 / 4 + 0.25 / 1))
    assert effective_images(torch.arange(7), torch.ones(7)) == pytest.approx(7)
    assert effective_images(labels, torch.tensor([0.8, 0.2])) == pytest.approx(5), "as in the images themselves"


def test_recalls_are_exact_and_the_best_is_not_behind_itself():
    labels = torch.tensor([0, 0, 0, 0, 1, 1])
    first, second = compared(hits([1, 1, 1, 1, 0, 0], [1, 1, 0, 0, 1, 1]), labels, UNIFORM)
    assert (first.recall, second.recall) == pytest.approx((0.5, 0.75))
    assert (first.behind, second.behind) == pytest.approx((0.25, 0.0))
    assert second.standard_error == 0.0


def test_the_standard_error_is_that_of_paired_differences():
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(40).repeat_interleave(10)
    right = torch.rand(400, generator=generator) < 0.6
    flipped = torch.rand(400, generator=generator) < 0.05
    a, b = compared(torch.stack([right, right ^ flipped]), labels, torch.ones(40), draws=20_000)
    difference = (right.double() - (right ^ flipped).double()).std(correction=0) / math.sqrt(400)
    error = max(a.standard_error, b.standard_error)
    assert error == pytest.approx(difference.item(), rel=0.05)
    assert error < 0.5 * math.sqrt(2 * 0.6 * 0.4 / 400), "much less than that of two independent recalls"


def test_the_interval_is_that_of_a_share_of_the_effective_images():
    labels = torch.arange(100).repeat_interleave(2)
    right = torch.arange(200) % 5 < 3
    [only] = compared(right[None], labels, torch.ones(100), draws=20_000)
    half = 1.96 * math.sqrt(0.6 * 0.4 / 200)
    assert only.interval == pytest.approx((0.6 - half, 0.6 + half), abs=0.01)


def test_a_class_with_one_image_makes_a_choice_less_sure():
    many, one = torch.tensor([0] * 50 + [1] * 50), torch.tensor([0] * 99 + [1])
    better = torch.ones(100, dtype=torch.bool)
    worse = better.clone()
    worse[-1] = False
    sure = compared(torch.stack([better, worse]), many, UNIFORM)[1]
    unsure = compared(torch.stack([better, worse]), one, UNIFORM)[1]
    assert (sure.behind, unsure.behind) == pytest.approx((0.01, 0.5))
    assert unsure.standard_error > 0.2 > 10 * sure.standard_error
    assert unsure.cannot_be_told_apart, "a single image tells nothing"
    assert sure.standard_error == pytest.approx(0.01 * math.sqrt(1 + 0.99), rel=0.05), "that of the draws, and one more image"


def test_a_few_images_that_all_speak_for_one_candidate_leave_a_doubt():
    labels = torch.arange(3)
    best, worst = compared(hits([1, 1, 1], [0, 0, 0]), labels, torch.ones(3), draws=20_000)
    assert (best.behind, worst.behind) == (0.0, 1.0)
    assert worst.standard_error == pytest.approx(1 / 3), "three images that agree, and one of which nobody knows"
    assert best.interval == pytest.approx(wilson(1.0, 3))
    assert worst.interval == pytest.approx(wilson(0.0, 3))
    same = compared(hits([1, 0, 1], [1, 0, 1]), labels, torch.ones(3))
    assert [each.standard_error for each in same] == [0.0, 0.0]


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(UserError, match="no candidate to compare"):
        compared(torch.zeros(0, 3, dtype=torch.bool), torch.arange(3), torch.ones(3))
    with pytest.raises(UserError, match="a share of the prior are needed"):
        compared(hits([1, 0]), torch.tensor([0, 0]), torch.tensor([0.0, 1.0]))


def found(recall, behind, error):
    return Comparison(recall, (0.0, 1.0), behind, error)


def test_the_cheapest_of_those_that_cannot_be_told_from_the_best():
    candidates = [found(0.50, 0.10, 0.02), found(0.585, 0.015, 0.02), found(0.60, 0.0, 0.0)]
    assert one_standard_error(candidates, [1, 1, 3]) == 1
    assert one_standard_error(candidates, [1, 4, 3]) == 2
    assert one_standard_error(candidates, [1, 1, 1]) == 2, "equally cheap: the higher recall"
    assert one_standard_error([found(0.6, 0.0, 0.0), found(0.6, 0.0, 0.0)], [1, 1]) == 0, "equal in all: the first"
    assert one_standard_error(candidates, [1, 1, 1], [2, 0, 1]) == 1, "equally cheap: the one expected ahead"
    assert one_standard_error(candidates, [1, 2, 1], [2, 0, 1]) == 2, "the cheaper, whatever is expected"


def test_the_most_usual_strength_that_the_best_does_not_beat():
    labels, prior = torch.tensor([0] * 50 + [1] * 50), torch.ones(2)
    few, many = torch.ones(2, 100), torch.ones(2, 100)
    few[0, 0], many[0, :10] = 0, 0  # the usual strength misses one image, or ten
    assert chosen_strengths(few, labels, prior, [0.0, 0.5]).best == 0
    assert chosen_strengths(many, labels, prior, [0.0, 0.5]).best == 1
    assert chosen_strengths(1 - few, labels, prior, [0.5, 0.0]).best == 1


def test_the_standard_error_of_strengths():
    """Beside the first: one image gained and one lost elsewhere; one lost; one of a rare class lost."""
    right = torch.ones(4, 8, dtype=torch.float64)
    right[[0, 2, 3], 0] = 0
    right[1, 3] = right[2, 2] = right[3, 7] = 0
    weights = torch.tensor([0.1] * 7 + [0.3], dtype=torch.float64)
    behind, errors = behind_the_best(right, weights)
    assert behind.tolist() == pytest.approx([0.0, 0.0, 0.1, 0.3])
    lost = 0.1**2 * (0.9**2 + 6 * 0.1**2) + 0.3**2 * 0.1**2
    rare = 0.1**2 * 7 * 0.3**2 + 0.3**2 * 0.7**2
    expected = [0.0, 0.1**2 + 0.1**2, lost, rare]
    assert errors.tolist() == pytest.approx([math.sqrt(each + 0.3**2) for each in expected])
    assert (errors > behind).all(), "a single image tells nothing"


@pytest.mark.parametrize(
    ("share", "images", "low", "high"),
    [(0.0, 10, 0.0, 0.2775), (1.0, 10, 0.7225, 1.0), (0.5, 20, 0.2993, 0.7007), (0.2, 50, 0.1124, 0.3304)],
)
def test_wilson_s_interval(share, images, low, high):
    assert wilson(share, images) == pytest.approx((low, high), abs=5e-5)


def test_intervals_of_a_mean_recall_never_have_width_zero():
    counts = torch.tensor([1, 4, 0])
    low, high = recall_interval(torch.tensor([1.0, 1.0, float("nan")]), counts)
    assert (low, high) == pytest.approx(wilson(1.0, 4 / 1.25))
    assert low < 0.5
    assert high == pytest.approx(1.0)
    assert recall_interval(torch.tensor([float("nan")]), torch.tensor([0])) == (0.0, 1.0)


def test_folds_share_out_every_class_evenly():
    labels = torch.tensor([0] * 7 + [1] * 3 + [2])
    fold = folds_of(labels, 3, seed=0)
    assert sorted(torch.bincount(fold[:7], minlength=3).tolist()) == [2, 2, 3]
    assert torch.bincount(fold[7:10], minlength=3).tolist() == [1, 1, 1]
    assert torch.equal(fold, folds_of(labels, 3, seed=0))
    assert not torch.equal(fold, folds_of(labels, 3, seed=1))


@pytest.mark.parametrize("seed", range(5))
def test_folds_are_equally_large_where_most_classes_have_one_image(seed):
    labels = torch.repeat_interleave(torch.arange(12), torch.tensor([2, 0, 1, 4, 1, 9, 6, 1, 1, 3, 1, 0]))
    fold = folds_of(labels, 5, seed=seed)
    assert sorted(torch.bincount(fold, minlength=5).tolist()) == [5, 6, 6, 6, 6]
    for label in range(12):
        of_class = torch.bincount(fold[labels == label], minlength=5)
        assert of_class.max() - of_class.min() <= 1
