"""The eleven test distributions, adjusted predictions and recalls: by hand, scikit-learn and the package's own rule."""

import numpy as np
import pytest
import torch
from sklearn.metrics import recall_score

from longtail.inference import Predictions, logit_adjusted
from longtail.reporting import shifts

COUNTS = [500, 200, 80, 80, 5]


def test_the_distributions_by_hand():
    priors = shifts.shifted_priors([90, 10, 30])
    assert list(priors) == [
        *("forward 50", "forward 25", "forward 10", "forward 5", "forward 2", "uniform"),
        *("backward 2", "backward 5", "backward 10", "backward 25", "backward 50"),
    ]
    root = 1 / np.sqrt(50)
    np.testing.assert_allclose(priors["forward 50"], np.array([1, 1 / 50, root]) / (1 + 1 / 50 + root))
    np.testing.assert_allclose(priors["backward 50"], priors["forward 50"][[1, 0, 2]])
    np.testing.assert_allclose(priors["uniform"], 1 / 3)
    assert all(prior.sum() == pytest.approx(1) for prior in priors.values())


@pytest.mark.parametrize("ratio", shifts.RATIOS)
def test_the_largest_share_is_the_ratio_times_the_smallest(ratio):
    priors = shifts.shifted_priors(COUNTS)
    assert priors[f"forward {ratio}"].max() / priors[f"forward {ratio}"].min() == pytest.approx(ratio)
    assert np.argmax(priors[f"backward {ratio}"]) == 4


def test_equal_classes_have_equal_shares():
    prior = shifts.shifted_priors(COUNTS)["forward 10"]
    assert prior[2] == prior[3] == pytest.approx(10 ** -(2.5 / 4) / sum(10 ** -(k / 4) for k in (0, 1, 2.5, 2.5, 4)))
    np.testing.assert_allclose(shifts.shifted_priors([7, 7, 7])["forward 50"], 1 / 3)
    assert shifts.shifted_priors([7])["backward 50"].tolist() == [1]


def test_predictions_are_those_of_the_rule(monkeypatch):
    logits = np.random.default_rng(0).normal(size=(300, 5)).astype(np.float32) * 3
    monkeypatch.setattr(shifts, "CHUNK", 64)
    found = shifts.adjusted_predictions(logits, COUNTS)
    told = Predictions(
        torch.zeros(300, 1), torch.from_numpy(logits), torch.zeros(300, dtype=torch.int64), torch.tensor(COUNTS).double()
    )
    for tau, predicted in zip(shifts.TAUS, found, strict=True):
        np.testing.assert_array_equal(predicted, logit_adjusted(told, tau=tau).argmax(1))
    assert len(set(map(bytes, found))) > 10


def test_recalls_against_scikit_learn_and_without_images():
    generator = np.random.default_rng(1)
    labels, predicted = generator.integers(4, size=100), generator.integers(5, size=100)
    recalls = shifts.recalls_of(predicted, labels, 5)
    np.testing.assert_allclose(recalls[:4], recall_score(labels, predicted, average=None, labels=range(4), zero_division=0))
    assert np.isnan(recalls[4])
    means = shifts.group_recalls(recalls, {"many": [0, 1], "medium": [2, 3, 4], "few": [4], "none": []})
    assert means == {"many": pytest.approx(recalls[:2].mean()), "medium": pytest.approx(recalls[2:4].mean())}
