"""Label-aware smoothing against the reference vectors, against loops, and in limiting cases."""

import pytest
import torch
from test_losses import per_sample, random_batch
from test_losses_adjusted import CIFAR10_100, SEEDS

from longtail.losses import CrossEntropyLoss, LabelAwareSmoothingLoss
from reference import formulas, formulas_adjusted
from reference.formulas import agrees

SMOOTHED, Y3 = torch.tensor([[2, 1, 0.5], [0, 0, 3]], dtype=torch.float64), torch.tensor([1, 2])
SIZES = [100, 55, 10]
SHAPES = pytest.mark.parametrize("shape", ["concave", "linear", "convex", "exp"])


@pytest.mark.parametrize(
    ("shape", "printed"),
    [
        ("concave", "0.4 0.31213203435596426 0.1"),
        ("linear", "0.4 0.25 0.1"),
        ("convex", "0.4 0.18786796564403568 0.1"),
        ("exp", "0.4 0.175 0.1"),
    ],
)
def test_smoothing_of_each_class(shape, printed):
    assert agrees(LabelAwareSmoothingLoss(SIZES, shape=shape).smoothing, printed)


@pytest.mark.parametrize(
    ("form", "each", "mean"),
    [
        ("code", "1.412346778381951 0.29492295642096106", "0.853634867401456"),
        ("paper", "1.386335775518954 0.39492295642096115", "0.8906293659699576"),
    ],
)
def test_label_aware_smoothing(form, each, mean):
    loss = LabelAwareSmoothingLoss(SIZES, form=form)
    assert agrees(per_sample(loss, SMOOTHED, Y3), each)
    assert agrees(loss(SMOOTHED, Y3), mean)


def test_label_aware_smoothing_parts():
    assert agrees(-SMOOTHED.log_softmax(1)[[0, 1], Y3], "1.4643687841079451 0.09492295642096105")
    assert agrees(-SMOOTHED.log_softmax(1).mean(1), "1.2977021174412784 2.094922956420961")
    scaled = SMOOTHED * torch.tensor([1.2, 0.9, 1.0], dtype=torch.float64)
    assert agrees(scaled, "2.4 .9 .5  0 0 3")
    assert agrees(LabelAwareSmoothingLoss(SIZES)(scaled, Y3), "0.9986266289406512")


@SEEDS
@SHAPES
@pytest.mark.parametrize("form", ["code", "paper"])
def test_label_aware_smoothing_against_loops(form, shape, seed):
    counts, weight, logits, labels, _ = random_batch(seed)
    epsilon = formulas_adjusted.smoothing(counts, 0.3, 0.05, shape, 3.0)
    values = {"head": 0.3, "tail": 0.05, "shape": shape, "exponent": 3.0, "form": form}
    loss = LabelAwareSmoothingLoss(counts, weight=weight, **values)
    assert loss.smoothing.tolist() == pytest.approx(epsilon, abs=1e-12)
    pairs = zip(logits.tolist(), labels.tolist(), strict=True)
    each = [formulas_adjusted.smoothed_cross_entropy(z, y, epsilon[y], form) for z, y in pairs]
    assert loss(logits, labels).item() == pytest.approx(formulas.mean(each, labels, weight), abs=1e-12)


@SEEDS
@SHAPES
@pytest.mark.parametrize("form", ["code", "paper"])
def test_no_smoothing_is_cross_entropy(form, shape, seed):
    counts, weight, logits, labels, _ = random_batch(seed)
    loss = LabelAwareSmoothingLoss(counts, head=0.0, tail=0.0, shape=shape, form=form, weight=weight)
    expected = CrossEntropyLoss(counts, weight=weight)(logits, labels)
    torch.testing.assert_close(loss(logits, labels), expected, rtol=1e-12, atol=1e-12)


@SEEDS
def test_smoothing_alike_is_torchs_label_smoothing(seed):
    counts, _, logits, labels, _ = random_batch(seed)
    expected = torch.nn.functional.cross_entropy(logits, labels, label_smoothing=0.2)
    torch.testing.assert_close(LabelAwareSmoothingLoss(counts, head=0.2, tail=0.2)(logits, labels), expected)


@SHAPES
def test_larger_classes_are_smoothed_more_and_balanced_ones_by_the_tails(shape):
    assert (LabelAwareSmoothingLoss(CIFAR10_100, shape=shape).smoothing.diff() < 0).all()
    assert LabelAwareSmoothingLoss([7, 7, 7], shape=shape).smoothing.tolist() == [0.1] * 3


@pytest.mark.parametrize("form", ["code", "paper"])
def test_smoothed_labels_sum_to_one_and_are_optimal_where_the_paper_says(form):
    loss = LabelAwareSmoothingLoss(SIZES, form=form)
    target = loss.target(Y3)
    torch.testing.assert_close(target.sum(1), torch.ones(2, dtype=torch.float64), rtol=1e-12, atol=0)
    epsilon, gap = loss.smoothing[Y3], target[[0, 1], Y3].log() - target[:, 0].log()
    if form == "paper":
        torch.testing.assert_close(gap, (2 * (1 - epsilon) / epsilon).log())
