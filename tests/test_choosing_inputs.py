"""What choosing, the bootstrap and tuning take and refuse: truth values per image, and weights of images and classes."""

import jaxtyping
import numpy as np
import pytest
import torch

from longtail.bootstrap import class_differences, difference
from longtail.choosing import chosen_strengths, compared
from longtail.errors import UserError
from longtail.inference import Predictions, adapted
from longtail.inference.adjusted import log_frequencies
from longtail.inference.calibrated import best_temperature
from longtail.metrics import expected_calibration_error

LABELS = torch.tensor([0, 0, 0, 1, 1, 2])
PRIOR = torch.tensor([0.2, 0.3, 0.5])
HITS = torch.tensor([[1, 0, 1, 1, 0, 1], [1, 1, 0, 0, 0, 1]]).bool()
OF_HITS = {
    "compared": lambda hits: compared(hits, LABELS, PRIOR, draws=10),
    "chosen_strengths": lambda hits: str(chosen_strengths(hits, LABELS, PRIOR, [0, 1])),
    "difference": lambda hits: difference(hits, hits, LABELS, PRIOR, paired=True, draws=10),
    "class_differences": lambda hits: class_differences(hits, hits, LABELS, 3, paired=False),
}
VAL = Predictions(torch.zeros(6, 1), torch.arange(18.0).reshape(6, 3).sin() * 3, LABELS, torch.tensor([3.0, 2, 1]))
OF_WEIGHTS = {
    "expected_calibration_error": lambda w: expected_calibration_error(VAL.logits.softmax(1), LABELS, weights=w),
    "best_temperature": lambda w: best_temperature(VAL, w),
}
every_function_of_hits = pytest.mark.parametrize("function", OF_HITS.values(), ids=OF_HITS)
every_function_of_weights = pytest.mark.parametrize("function", OF_WEIGHTS.values(), ids=OF_WEIGHTS)


@pytest.fixture(autouse=True)
def unchecked_types(monkeypatch):
    """Users run without the type checks of the tests, so the messages tested here are those that users see."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@every_function_of_hits
def test_hits_may_be_truth_values_or_numbers_in_any_container(function):
    expected = function(HITS)
    for given in (HITS.int(), HITS.byte(), HITS.double(), HITS.numpy(), HITS.tolist()):
        assert function(given) == expected


@every_function_of_hits
@pytest.mark.parametrize(
    "wrong", [HITS[0], HITS[:, :5], HITS * 2, HITS * 0.5, HITS.T], ids=["row", "short", "2", "half", "turned"]
)
def test_what_is_no_hit_of_each_image_is_refused(function, wrong):
    with pytest.raises(ValueError, match=r"needs truth values of shape \((candidates|seeds|2), 6\) as `(hits|first)`"):
        function(wrong)


def test_methods_without_runs_and_unequal_pairs_are_refused():
    for first, second in ((HITS[:0], HITS), (HITS, HITS[:1])):
        with pytest.raises(ValueError, match=f"`paired`; got {len(first)} and {len(second)}"):
            difference(first, second, LABELS, PRIOR, paired=True)
    assert difference(HITS, HITS[:1], LABELS, PRIOR, paired=False, draws=10).within_noise
    with pytest.raises(ValueError, match=r"truth values of shape \(3, 6\)"):
        chosen_strengths(HITS, LABELS, PRIOR, [0, 1, 2])


@every_function_of_weights
def test_an_image_counts_as_its_weight(function):
    """An image of weight 2 is as two images; one of weight 0 is none."""
    doubled = [0, 0, 1, 3, 3, 5]
    repeated = Predictions(torch.zeros(6, 1), VAL.logits[doubled], LABELS[doubled], VAL.class_counts)
    expected = {
        "expected_calibration_error": expected_calibration_error(repeated.logits.softmax(1), repeated.labels),
        "best_temperature": best_temperature(repeated),
    }
    name = next(name for name, each in OF_WEIGHTS.items() if each is function)
    for weights in ([2, 1, 0, 2, 0, 1], np.array([20.0, 10, 0, 20, 0, 10]), torch.tensor([2, 1, 0, 2, 0, 1], dtype=torch.uint8)):
        assert function(weights) == pytest.approx(expected[name])


@every_function_of_weights
@pytest.mark.parametrize(
    "weights",
    [[1.0] * 5, [-1.0] + [1.0] * 5, [0.0] * 6, [torch.nan] * 6, torch.ones(6, 1)],
    ids=["5", "-1", "0", "nan", "column"],
)
def test_weights_that_are_none_are_refused(function, weights):
    with pytest.raises(ValueError, match=r"one (non-negative )?number per image"):
        function(weights)


@pytest.mark.parametrize("kind", [tuple, np.array, torch.tensor, lambda values: dict(enumerate(values))])
def test_frequencies_and_offsets_of_any_container(kind):
    shares = [0.5, 0.25, 0.25]
    torch.testing.assert_close(log_frequencies(kind([2, 1, 1]), 3), torch.tensor(shares).double().log())
    torch.testing.assert_close(adapted(VAL, temperature=2.0, offset=kind(shares)), VAL.logits / 2 + torch.tensor(shares))


@pytest.mark.parametrize("temperature", [0.0, -1.0, torch.nan])
def test_a_temperature_is_above_0(temperature):
    with pytest.raises(ValueError, match="`temperature` must be above 0"):
        adapted(VAL, temperature=temperature)


@pytest.mark.parametrize("draws", [0, 1, -3])
def test_a_standard_error_needs_two_draws(draws):
    with pytest.raises(UserError, match=f"`draws` must be at least 2.*got {draws}"):
        compared([[True, False]], [0, 1], [0.5, 0.5], draws=draws)
