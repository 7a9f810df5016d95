"""Prediction re-balancing, de-confounded inference, temperature and the open set against vectors and loops."""

from dataclasses import replace
from functools import partial

import jaxtyping
import numpy as np
import pytest
import torch
from test_inference import predictions, random_predictions

from longtail import inference
from longtail.errors import UserError
from longtail.heads import CausalHead, LinearHead
from longtail.inference import Predictions, fitted
from longtail.inference.calibrated import best_temperature
from longtail.inference.prototypes import class_means
from longtail.inference.retrained import balanced_classifier
from reference import formulas_heads
from reference.formulas import agrees

# --- Prediction re-balancing -----------------------------------------------------------------------------------------------

FOUR = [[2, 1, 0], [1.5, 1.4, 0], [1, 0.9, 0.8], [0.5, 0.6, 0.1]]


def test_rebalanced():
    four = predictions(FOUR, labels=(0, 1, 2, 1))
    sums = fitted(inference.rebalanced, four).keywords["column_sums"]
    assert agrees(sums, "1.862634944 1.4003548377 .7370102184")
    decisions = {tau: inference.rebalanced(four, tau=tau).argmax(1).tolist() for tau in (0.0, 1.0, 1.5)}
    assert decisions == {0.0: [0, 0, 0, 1], 1.0: [0, 1, 2, 2], 1.5: [0, 1, 2, 2]}
    assert agrees(inference.rebalanced(four)[2, 2].exp(), ".4078771201")


@pytest.mark.parametrize("seed", range(3))
def test_rebalanced_against_loops(seed):
    given = random_predictions(seed)
    expected = formulas_heads.rebalanced(given.logits.tolist(), 1.4)
    np.testing.assert_allclose(inference.rebalanced(given, tau=1.4).exp(), expected, rtol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_rebalanced_at_tau_zero_leaves_probabilities(seed):
    given = random_predictions(seed)
    torch.testing.assert_close(inference.rebalanced(given, tau=0.0).exp(), given.logits.softmax(1))
    assert torch.equal(inference.rebalanced(given, tau=0.0).argmax(1), given.logits.argmax(1))


def test_rebalanced_sums_over_the_images_it_judges_or_over_others():
    given, other = random_predictions(0), random_predictions(1)
    own = inference.rebalanced(given)
    assert torch.equal(own, fitted(inference.rebalanced, given)(given))
    held_out = fitted(partial(inference.rebalanced, source="val"), other)(given)
    assert torch.equal(held_out, fitted(inference.rebalanced, other)(given))
    assert not torch.equal(held_out, own)
    alone = replace(given, features=given.features[:1], logits=given.logits[:1], labels=given.labels[:1])
    torch.testing.assert_close(inference.rebalanced(alone), torch.zeros(1, 4, dtype=torch.float64))


def test_rebalanced_with_a_class_that_is_never_predicted_is_finite():
    scores = inference.rebalanced(predictions([[0, 0, -2e3], [1, 0, -2e3]]), tau=1.5)
    assert scores.isfinite().all()


def test_rebalanced_names_its_sources(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match="no source 'train'; it has 'test' and 'val'"):
        inference.rebalanced(random_predictions(), source="train")


# --- De-confounded inference -----------------------------------------------------------------------------------------------


def remembered(weight, average, features, **values):
    """The predictions of a `CausalHead` with this average on the features."""
    weight, features = (torch.as_tensor(given, dtype=torch.float64) for given in (weight, features))
    head = CausalHead(weight.shape[1], len(weight), heads=len(average), **values).double().eval()
    state = {"weight": weight, "average": torch.as_tensor(average, dtype=torch.float64)}
    head.load_state_dict(head.state_dict() | state)
    labels = torch.zeros(len(features), dtype=torch.int64)
    return Predictions(features, head(features).detach(), labels, torch.ones(len(weight)), head.state_dict())


@pytest.mark.parametrize(
    ("alpha", "printed"),
    [
        (1.0, [0, 6.206060606060607]),
        (1.5, [-6.206060606060605, 6.206060606060607]),
        (3.0, [-24.82424242424242, 6.206060606060607]),
    ],
)
def test_deconfounded_on_one_image(alpha, printed):
    given = remembered([[1, 0, 0, 1], [0, 1, 2, 0]], [[1, 0], [0, 5]], [[3, 4, 0, 2]])
    assert agrees(formulas_heads.causal_cosines([3, 4, 0, 2], [[1, 0], [0, 5]]), "0.6 1")
    np.testing.assert_allclose(given.logits[0], [12.412121212121212, 6.206060606060607], atol=1e-12)
    np.testing.assert_allclose(inference.deconfounded(given, alpha=alpha)[0], printed, atol=1e-9, rtol=0)


def test_deconfounded_on_a_batch():
    features = [[3, 4, 1, 0], [0, 2, -1, 1]]
    given = remembered([[1, 0, 0, 2], [0, 1, 1, 1], [2, 2, -1, 0]], [[1, 1], [2, 0]], features)
    cosines = np.transpose([formulas_heads.causal_cosines(row, [[1, 1], [2, 0]]) for row in features])
    assert agrees(cosines, "0.9899494936611665 0.7071067811865475 1 -0.7071067811865475")
    first = [[-0.7757575757575748, 0.7757575757575773, 0], [1.6910378437892346, 7.792310430823171, 0]]
    np.testing.assert_allclose(inference.deconfounded(given), first, atol=1e-9, rtol=0)
    assert agrees(
        inference.deconfounded(given, alpha=3.0),
        "-11.636363636363633 -21.153961824331034 -0.15095274967040595 -6.066537913786522 7.861779777317999 -22.16094332237318",
    )
    assert given.logits[1].argmax() == 2
    assert inference.deconfounded(given)[1].argmax() == 1


@pytest.mark.parametrize("heads", [1, 2, 3])
@pytest.mark.parametrize("seed", range(3))
def test_deconfounded_against_loops(seed, heads):
    draw = np.random.default_rng(seed)
    weight, average = draw.normal(size=(4, 6)), draw.normal(size=(heads, 6 // heads))
    given = remembered(weight, average, draw.normal(size=(5, 6)), temperature=9.0, shrinkage=0.125)
    rows = given.features.tolist()
    expected = [formulas_heads.deconfounded(f, weight.tolist(), average.tolist(), 9.0, 0.125, 1.5) for f in rows]
    np.testing.assert_allclose(inference.deconfounded(given, alpha=1.5), expected, atol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_deconfounded_at_alpha_zero_is_the_plain_classifier(seed):
    draw = np.random.default_rng(seed)
    given = remembered(draw.normal(size=(4, 6)), draw.normal(size=(2, 3)), draw.normal(size=(5, 6)))
    assert torch.equal(inference.deconfounded(given, alpha=0.0), given.logits)


def test_deconfounded_needs_nothing_of_the_length_of_the_average_and_follows_the_scale():
    weight, features = [[1, 0, 0, 2], [0, 1, 1, 1]], [[3, 4, 1, 0]]
    short, long = (remembered(weight, np.array([[1, 1], [2, 0]]) * size, features) for size in (0.1, 50))
    torch.testing.assert_close(inference.deconfounded(short), inference.deconfounded(long))
    scaled = replace(short, logits=3 * short.logits, head={**short.head, "scale": torch.tensor(3.0)})
    torch.testing.assert_close(inference.deconfounded(scaled), 3 * inference.deconfounded(short))


def test_deconfounded_before_any_training_takes_nothing_away():
    given = remembered([[1, 0, 0, 2], [0, 1, 1, 1]], np.zeros((2, 2)), [[3, 4, 1, 0], [0, 0, 0, 0]])
    assert torch.equal(inference.deconfounded(given, alpha=3.0), given.logits)


def test_deconfounded_needs_a_causal_head():
    given = replace(random_predictions(), head=LinearHead(5, 4).state_dict())
    with pytest.raises(ValueError, match=r"state of a CausalHead .*; missing: average, temperature, shrinkage\."):
        inference.deconfounded(given)


# --- Temperature -----------------------------------------------------------------------------------------------------------


def sampled_labels(temperature, images=40_000):
    """Predictions on images whose labels are drawn with the probabilities softmax(z / T)."""
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(images, 4, generator=generator, dtype=torch.float64)
    labels = (logits / temperature).softmax(1).multinomial(1, generator=generator).squeeze(1)
    return predictions(logits, labels=labels, counts=(1, 1, 1, 1), weight=None)


@pytest.mark.parametrize("temperature", [0.2, 1.0, 7.0])
def test_a_known_temperature_is_found_again(temperature):
    found = fitted(inference.temperature_scaled, sampled_labels(temperature)).keywords["temperature"]
    assert isinstance(found, float)
    assert found == pytest.approx(temperature, rel=0.04)


@pytest.mark.parametrize("seed", range(3))
def test_temperature_has_the_lowest_negative_log_likelihood(seed):
    given = random_predictions(seed)
    logits, labels = given.logits.tolist(), given.labels.tolist()
    found = fitted(inference.temperature_scaled, given).keywords["temperature"]
    best = formulas_heads.negative_log_likelihood(logits, labels, found)
    others = [0.001, 0.5, 1.0, found * 0.999, found * 1.001, 2.0, 999.0]
    assert all(best <= formulas_heads.negative_log_likelihood(logits, labels, other) + 1e-12 for other in others)


def test_temperature_divides_the_logits():
    given = sampled_labels(3.0, images=50)
    assert agrees(inference.temperature_scaled(predictions([[2, 1, 0]], labels=(0,)), temperature=4.0), ".5 .25 0")
    fit = fitted(inference.temperature_scaled, given)
    assert torch.equal(inference.temperature_scaled(given, temperature=fit.keywords["temperature"]), fit(given))
    assert torch.equal(fit(given).argmax(1), given.logits.argmax(1))


def test_temperature_of_images_that_are_all_right_is_1_since_the_likelihood_has_no_maximum():
    certain = predictions(torch.eye(3)[[0, 1, 2]], labels=(0, 1, 2))
    assert fitted(inference.temperature_scaled, certain).keywords["temperature"] == 1
    wrong = predictions(torch.eye(3)[[0, 1, 2, 2]], labels=(0, 1, 2, 0))
    assert best_temperature(wrong, [1, 1, 1, 0]) == 1, "the wrong image has no weight"
    assert best_temperature(wrong) != 1


def test_a_masked_class_changes_no_temperature_and_nan_is_refused():
    given = sampled_labels(2.0)
    logits = torch.cat([given.logits, torch.full((len(given.logits), 1), -torch.inf)], 1)
    masked = replace(given, logits=logits, class_counts=torch.ones(logits.shape[1], dtype=torch.float64))
    assert best_temperature(masked) == pytest.approx(best_temperature(given))
    with pytest.raises(UserError, match="some are nan or inf"):
        best_temperature(replace(given, logits=given.logits * float("nan")))


# --- Open set --------------------------------------------------------------------------------------------------------------


def test_open_set():
    logits = np.log([[0.6, 0.3, 0.1], [0.35, 0.33, 0.32], [0.1, 0.15, 0.75]])
    given = predictions(logits, labels=(0, 1, 2))
    assert inference.open_set(given, threshold=0.5).tolist() == [0, -1, 2]
    assert inference.open_set(given, threshold=0.7).tolist() == [-1, -1, 2]
    assert torch.equal(inference.open_set(given), given.logits.argmax(1)), "a third is above a tenth"


def test_images_without_a_weight_or_of_a_masked_class_change_no_temperature():
    """In the second half of the images the last class is masked, of which some are."""
    given = sampled_labels(2.0, images=2000)
    logits, labels = given.logits.clone(), given.labels
    logits[1000:, 3] = -torch.inf
    shown = replace(given, logits=logits)
    known = (torch.arange(2000) < 1000) | (labels != 3)
    left = replace(given, features=given.features[known], logits=logits[known], labels=labels[known])
    assert best_temperature(shown, known.double()) == pytest.approx(best_temperature(left), rel=1e-9)
    assert best_temperature(shown) == pytest.approx(best_temperature(left), rel=1e-9)
    with pytest.raises(UserError, match="some are nan or inf"):
        best_temperature(replace(given, logits=logits.abs()))


def test_rules_take_labels_and_heads_that_lie_on_another_device_than_the_features(monkeypatch):
    labels, steps = torch.tensor([0, 0, 1, 1, 2, 2]), []
    on_cpu = partial(torch.autocast, "cpu")  # since the device that stands for a GPU here has no autocast
    monkeypatch.setattr(torch, "autocast", lambda _, enabled: on_cpu(enabled=enabled))
    away = Predictions(torch.zeros(6, 4, device="meta"), torch.zeros(6, 3, device="meta"), labels, torch.tensor([5.0, 3, 2]))
    assert class_means(away)["centroids"].device.type == "meta"
    assert inference.tau_normalised(replace(away, head={"weight": torch.ones(3, 4)}), tau=1.0).device.type == "meta"
    monkeypatch.setattr(torch.optim.LBFGS, "step", lambda _, objective: steps.append(objective().device.type))
    assert balanced_classifier(inference.retrained, away)["weight"].shape == (3, 4)
    assert steps == ["meta"]
