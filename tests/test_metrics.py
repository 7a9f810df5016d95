"""Metrics against torchmetrics and against loops."""

import math

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_calibration_error

from longtail import metrics
from longtail.data.groups import shot_groups
from reference import formulas, formulas_heads
from reference.formulas import agrees

CLASSES = 6


def scored(seed, images=300, classes=CLASSES):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (images,), generator=generator)
    scores = 2 * torch.randn(images, classes, generator=generator, dtype=torch.float64)
    scores[torch.arange(images), labels] += 1.5
    return scores, labels


@pytest.mark.parametrize("seed", range(3))
def test_accuracy_and_recall_against_torchmetrics(seed):
    scores, labels = scored(seed)
    confusion = metrics.confusion_matrix(scores, labels)
    each = multiclass_accuracy(scores, labels, CLASSES, average="none").double()
    torch.testing.assert_close(metrics.per_class_recall(confusion), each, atol=1e-6, rtol=0)
    assert metrics.accuracy(confusion) == pytest.approx(multiclass_accuracy(scores, labels, CLASSES, average="micro").item())
    assert metrics.mean_recall(scores, labels) == pytest.approx(multiclass_accuracy(scores, labels, CLASSES).item())


@pytest.mark.parametrize("bins", [1, 10, 15])
@pytest.mark.parametrize("seed", range(3))
def test_calibration_error_against_torchmetrics_and_loops(seed, bins):
    scores, labels = scored(seed)
    probabilities = scores.softmax(1)
    ours = metrics.expected_calibration_error(probabilities, labels, bins=bins)
    theirs = multiclass_calibration_error(probabilities, labels, CLASSES, n_bins=bins)
    assert ours == pytest.approx(theirs.item(), abs=1e-6)
    loops = formulas.expected_calibration_error(probabilities.tolist(), labels.tolist(), bins)
    assert ours == pytest.approx(loops, abs=1e-12)


def test_bins_hold_their_upper_edge():
    probabilities, labels = torch.tensor([[0.5, 0.3, 0.2], [0.45, 0.3, 0.25]]), torch.tensor([0, 1])
    assert metrics.expected_calibration_error(probabilities, labels, bins=10) == pytest.approx((0.5 - 0.45) / 2)


def test_certain_and_right_is_calibrated():
    labels = torch.tensor([0, 1, 2])
    assert metrics.expected_calibration_error(torch.eye(3)[labels], labels) == 0
    assert metrics.expected_calibration_error(torch.eye(3)[labels], labels.roll(1)) == 1


def test_confusion_matrix_has_the_truth_in_its_rows():
    scores = torch.eye(3)[[0, 1, 1, 2]]
    assert metrics.confusion_matrix(scores, torch.tensor([0, 0, 1, 2])).tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 1]]


def test_accuracy_is_exact():
    confusion = torch.tensor([[3, 0], [7, 0]])
    assert metrics.accuracy(confusion) == 0.3


def test_a_class_without_test_images_is_not_evaluated():
    scores, labels = torch.eye(4)[[0, 1, 3]], torch.tensor([0, 1, 1])
    recalls = metrics.per_class_recall(metrics.confusion_matrix(scores, labels))
    assert recalls.tolist() == pytest.approx([1, 0.5, math.nan, math.nan], nan_ok=True)
    assert metrics.mean_recall(scores, labels) == 0.75
    result = metrics.report(scores, labels, {"many": [0], "medium": [1, 2], "few": [3]})
    assert result.test_counts == (1, 2, 0, 0)
    assert result.groups["medium"].recall == 0.5
    assert (result.groups["medium"].classes, result.groups["medium"].evaluated_classes) == (2, 1)
    assert math.isnan(result.groups["few"].recall)
    assert result.groups["few"].interval is None


def test_an_empty_group_is_nan():
    scores, labels = scored(0)
    groups = shot_groups([500, 400, 300, 200, 150, 120])
    result = metrics.report(scores, labels, groups)
    assert groups["few"] == []
    assert (result.groups["few"].classes, result.groups["few"].images) == (0, 0)
    assert math.isnan(result.groups["few"].recall)


@pytest.mark.parametrize("seed", range(2))
def test_report_against_loops(seed):
    scores, labels = scored(seed)
    groups = {"many": [4, 0], "medium": [1, 3, 5], "few": [2]}
    recalls = formulas.per_class_recall(scores.argmax(1).tolist(), labels.tolist(), CLASSES)
    result = metrics.report(scores, labels, groups)
    assert result.recalls == pytest.approx(recalls)
    assert result.mean_recall == pytest.approx(np.mean(recalls))
    for name, members in groups.items():
        assert result.groups[name].recall == pytest.approx(np.mean([recalls[j] for j in members]))
        assert result.groups[name].images == sum(int(y) in members for y in labels)


def test_bootstrap_interval_holds_the_recall_and_narrows():
    widths = []
    for images in (12, 90):
        scores, labels = scored(0, images, classes=2)
        group = metrics.report(scores, labels, {"all": [0, 1]}).groups["all"]
        low, high = group.interval
        assert 0 <= low < group.recall < high <= 1
        widths.append(high - low)
    assert widths[1] < widths[0]


def test_bootstrap_interval_is_that_of_the_binomial():
    labels, scores = torch.zeros(60, dtype=torch.int64), torch.eye(2)[[0] * 45 + [1] * 15]
    low, high = metrics.report(scores, labels, {"all": [0]}).groups["all"].interval
    half = 1.96 * math.sqrt(0.75 * 0.25 / 60)
    assert (low, high) == pytest.approx((0.75 - half, 0.75 + half), abs=0.03)


def test_bootstrap_is_repeatable_and_only_for_few_images():
    scores, labels = scored(0, 99, classes=2)
    first, second = (metrics.report(scores, labels, {"all": [0, 1]}).groups["all"] for _ in range(2))
    assert first.interval == second.interval is not None
    assert metrics.report(*scored(0, 100, classes=2), {"all": [0, 1]}).groups["all"].interval is None


def test_accuracy_under_a_prior():
    recalls = torch.tensor([0.9, 0.5, math.nan], dtype=torch.float64)
    assert metrics.accuracy_under_prior(recalls, torch.tensor([0.75, 0.25, 0.0])) == pytest.approx(0.8)
    assert metrics.accuracy_under_prior(recalls, torch.tensor([0.25, 0.25, 0.5])) == pytest.approx(0.7)
    scores, labels = scored(0)
    confusion = metrics.confusion_matrix(scores, labels)
    seen = metrics.accuracy_under_prior(metrics.per_class_recall(confusion), confusion.sum(1) / confusion.sum())
    assert seen == pytest.approx(metrics.accuracy(confusion))


def test_calibration_error_of_the_reference_document():
    confidence, right = [0.95, 0.92, 0.61, 0.64, 0.30], [1, 0, 1, 1, 0]
    probabilities = torch.tensor([[c, *[(1 - c) / 4] * 4] for c in confidence], dtype=torch.float64)
    labels = torch.tensor([0 if hit else 1 for hit in right])
    assert agrees(metrics.expected_calibration_error(probabilities, labels), "0.404")


def test_open_f_measure():
    predicted, labels = [0, 1, -1, 2, -1, 1], [0, 1, 1, 0, -1, -1]
    value = metrics.open_f_measure(torch.tensor(predicted), torch.tensor(labels))
    assert agrees(value, "0.5714285714280817")
    assert agrees(formulas_heads.open_f_measure(predicted, labels), "0.5714285714280817")


@pytest.mark.parametrize("seed", range(3))
def test_open_f_measure_against_loops(seed):
    draw = np.random.default_rng(seed)
    predicted, labels = (torch.from_numpy(draw.integers(-1, 3, 200)) for _ in range(2))
    expected = formulas_heads.open_f_measure(predicted.tolist(), labels.tolist())
    assert metrics.open_f_measure(predicted, labels) == pytest.approx(expected, abs=1e-11)


def test_open_f_measure_at_its_limits():
    labels = torch.tensor([0, 1, -1])
    assert metrics.open_f_measure(labels, labels) == 1
    assert metrics.open_f_measure(torch.tensor([1, 0, 0]), labels) == 0
    assert math.isnan(metrics.open_f_measure(torch.tensor([-1]), torch.tensor([-1])))
