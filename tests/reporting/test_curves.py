"""Certainty, reliability and coverage against the metrics of the package, scikit-learn and loops."""

import numpy as np
import pytest
import torch
from sklearn.calibration import calibration_curve
from sklearn.metrics import balanced_accuracy_score

from longtail.metrics import expected_calibration_error
from longtail.reporting import curves
from longtail.reporting.outlook import judged


def drawn(seed=0, images=400, classes=7, step=None):
    generator = np.random.default_rng(seed)
    labels = generator.integers(classes, size=images)
    scores = generator.normal(size=(images, classes))
    scores[np.arange(images), labels] += 1.5
    if step:
        scores = np.round(scores / step) * step
    return scores.astype(np.float32), labels


def test_certainty_is_the_largest_probability_in_every_chunk(monkeypatch):
    scores, _ = drawn()
    monkeypatch.setattr(curves, "CHUNK", 100)
    largest = torch.from_numpy(scores).double().softmax(1).amax(1)
    np.testing.assert_allclose(curves.certainty(scores), largest, rtol=1e-6)


def test_scores_beyond_half_precision_leave_no_certainty():
    scores = np.array([[-np.inf, -np.inf], [np.inf, 0], [-np.inf, 0]], dtype=np.float32)
    np.testing.assert_allclose(curves.certainty(scores), [0.5, 1, 1])


@pytest.mark.parametrize("bins", [1, 10, 15])
def test_reliability_has_the_error_of_the_metrics(bins):
    scores, labels = drawn()
    certain, right = curves.certainty(scores), scores.argmax(1) == labels
    found = curves.reliability(certain, right, bins=bins)
    expected = expected_calibration_error(torch.from_numpy(scores).double().softmax(1), torch.from_numpy(labels), bins=bins)
    assert found.error == pytest.approx(expected, abs=1e-7)
    assert found.excess == pytest.approx(certain.mean() - right.mean())
    assert found.images.sum() == len(labels)


def test_reliability_has_the_bins_of_scikit_learn():
    scores, labels = drawn(seed=1)
    certain, right = curves.certainty(scores), scores.argmax(1) == labels
    found = curves.reliability(certain, right)
    shares, means = calibration_curve(right, certain, n_bins=15)
    np.testing.assert_allclose(found.accuracy[found.images > 0], shares)
    np.testing.assert_allclose(found.certainty[found.images > 0], means)


def test_a_bin_holds_its_upper_end_and_an_empty_one_has_no_accuracy():
    found = curves.reliability(np.array([0.5, 0.5001, 1.0]), np.array([True, False, True]), bins=2)
    assert found.images.tolist() == [1, 2]
    np.testing.assert_allclose(found.accuracy, [1, 0.5])
    assert np.isnan(curves.reliability(np.array([0.9]), np.array([True]), bins=2).accuracy[0])


def slow_coverage(certain, right, labels):
    """Accuracy, mean recall and classes of the images that are at least as sure as the k-th surest, by loops."""
    rows = []
    for least in sorted(certain, reverse=True):
        kept = certain >= least
        recalls = [right[kept & (labels == label)].mean() for label in sorted(set(labels[kept]))]
        rows.append((right[kept].mean(), np.mean(recalls), len(recalls)))
    return np.array(rows).T


@pytest.mark.parametrize("step", [None, 0.5, 3])
def test_coverage_against_loops(step):
    scores, labels = drawn(seed=2, images=150, step=step)
    certain, right = curves.certainty(scores).round(6), scores.argmax(1) == labels
    found = curves.coverage_curve(certain, right, labels)
    accuracy, recall, classes = slow_coverage(certain, right, labels)
    np.testing.assert_allclose(found.accuracy, accuracy)
    np.testing.assert_allclose(found.mean_recall, recall)
    np.testing.assert_array_equal(found.classes, classes)
    assert found.area == pytest.approx(accuracy.mean())
    assert found.area_of_recall == pytest.approx(recall.mean())


def test_full_coverage_is_the_accuracy_and_the_mean_recall():
    scores, labels = drawn(seed=3)
    predicted = scores.argmax(1)
    found = curves.coverage_curve(curves.certainty(scores), predicted == labels, labels)
    assert found.coverage[-1] == 1
    assert found.accuracy[-1] == pytest.approx((predicted == labels).mean())
    assert found.mean_recall[-1] == pytest.approx(balanced_accuracy_score(labels, predicted))


def test_the_index_of_a_coverage():
    scores, labels = drawn(images=10)
    found = curves.coverage_curve(curves.certainty(scores), scores.argmax(1) == labels, labels)
    assert [found.at(share) for share in (0.05, 0.1, 0.8, 0.81, 1)] == [0, 0, 7, 8, 9]


def test_scores_above_half_precision_keep_their_differences_and_infinite_ones_are_far():
    scores = np.array([[200_000, 100_000, 0], [np.inf, 100_000, -np.inf], [-70_000, -70_000, -np.inf]], np.float32)
    assert curves.certainty(scores).tolist() == [1.0, 1.0, 0.5]
    _, top, own = judged(scores, np.array([1, 0, 0]), np.array([0, 0, 0]))
    assert (top.tolist(), own.tolist()) == ([1.0, 1.0, 0.5], [0.0, 1.0, 0.5])
