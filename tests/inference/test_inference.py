"""Post hoc rules against the vectors of the reference document and loops in numpy."""

import dataclasses
from functools import partial

import numpy as np
import pytest
import torch

from longtail import inference
from longtail.inference import Predictions, fitted, reference_of
from longtail.spec.description import describe
from longtail.spec.parts import restore
from reference import formulas
from reference.formulas import agrees

WEIGHT = torch.tensor([[3, 4], [0, 2], [0.6, 0.8]], dtype=torch.float64)
FEATURES = torch.tensor([[1, 1], [-1, 2]], dtype=torch.float64)


def predictions(logits=None, features=None, labels=(0, 2), counts=(100, 10, 1), weight=WEIGHT):
    logits = FEATURES @ WEIGHT.T if logits is None else torch.as_tensor(logits, dtype=torch.float64)
    return Predictions(
        features=torch.zeros(len(logits), 1) if features is None else torch.as_tensor(features, dtype=torch.float64),
        logits=logits,
        labels=torch.as_tensor(labels),
        class_counts=torch.tensor(counts, dtype=torch.float64),
        head={} if weight is None else {"weight": weight},
    )


def random_predictions(seed=0, images=60, classes=4, size=5):
    draw = np.random.default_rng(seed)
    weight, features = draw.normal(size=(classes, size)), draw.normal(size=(images, size))
    return Predictions(
        features=torch.from_numpy(features),
        logits=torch.from_numpy(features @ weight.T + draw.normal(size=classes)),
        labels=torch.from_numpy(np.arange(images) % classes),
        class_counts=torch.from_numpy(draw.integers(1, 500, classes).astype(float)),
        head={"weight": torch.from_numpy(weight)},
    )


def test_logit_adjusted():
    scores = inference.logit_adjusted(predictions([[2, 1, 0], [0.5, 0.5, 0.5]]))
    assert agrees(scores, "2.1043600153 3.4069451083 4.7095302013  .6043600153 2.9069451083 5.2095302013")
    assert scores.argmax(1).tolist() == [2, 2]


@pytest.mark.parametrize(
    ("tau", "printed"),
    [
        (0.0, "7 2 1.4  5 4 1"),
        (0.5, "3.1304951685 1.4142135624 1.4  2.2360679775 2.8284271247 1"),
        (1.0, "1.4 1 1.4  1 2 1"),
    ],
)
def test_tau_normalised(tau, printed):
    assert agrees(inference.tau_normalised(predictions(features=FEATURES), tau=tau), printed)


def test_nearest_class_mean():
    train = predictions(np.zeros((4, 2)), [[1, 0], [3, 0], [0, 2], [2, 2]], [0, 0, 1, 1], (2, 2))
    rule = fitted(inference.nearest_class_mean, train)
    assert agrees(rule.keywords["mean"], "1.5 1")
    assert agrees(rule.keywords["centroids"], ".1924183494 -.7245636936 -.1924183494 .7245636936")
    query = predictions(np.zeros((1, 2)), [[2, 0.5]], [-1], (2, 2))
    assert agrees(rule(query), "-.2652089256 -2.858825809")
    assert torch.equal(inference.nearest_class_mean(query, **rule.keywords), rule(query))


@pytest.mark.parametrize("seed", range(3))
def test_against_loops(seed):
    given, train = random_predictions(seed), random_predictions(seed + 10)
    rows, weight = given.features.tolist(), given.head["weight"].tolist()
    adjusted = [formulas.logit_adjusted(z, given.class_counts.tolist(), 0.7) for z in given.logits.tolist()]
    normalised = [formulas.tau_normalised(f, weight, 0.7) for f in rows]
    nearest = formulas.nearest_class_mean(given.features.numpy(), train.features.numpy(), train.labels.tolist(), 4)
    np.testing.assert_allclose(inference.logit_adjusted(given, tau=0.7), adjusted, atol=1e-12)
    np.testing.assert_allclose(inference.tau_normalised(given, tau=0.7), normalised, atol=1e-12)
    np.testing.assert_allclose(fitted(inference.nearest_class_mean, train)(given), nearest, atol=1e-12)


def test_tau_zero_leaves_the_logits():
    given = random_predictions()
    assert torch.equal(inference.logit_adjusted(given, tau=0.0), given.logits)
    assert torch.equal(inference.as_trained(given), given.logits)


def test_tau_normalised_finds_the_weight_inside_a_scaled_head():
    given = predictions(features=FEATURES, weight=None)
    object.__setattr__(given, "head", {"inner.weight": WEIGHT, "inner.bias": torch.ones(3), "class_scale": torch.ones(3)})
    assert agrees(inference.tau_normalised(given, tau=0.0), "7 2 1.4  5 4 1")


@pytest.mark.parametrize("rule", [inference.logit_adjusted, inference.tau_normalised])
def test_tau_is_chosen_by_mean_recall_on_the_validation_images(rule):
    val = random_predictions(1)
    chosen = fitted(partial(rule, tau=None), val).keywords["tau"]
    recalls = []
    for step in range(21):
        predicted = rule(val, tau=step / 10).argmax(1).tolist()
        recalls.append(np.mean(formulas.per_class_recall(predicted, val.labels.tolist(), 4)))
    assert chosen == int(np.argmax(recalls)) / 10
    given = random_predictions(2)
    assert torch.equal(fitted(partial(rule, tau=None), val)(given), rule(given, tau=chosen))


@pytest.mark.parametrize(
    ("rule", "split"),
    [
        (inference.as_trained, None),
        (inference.logit_adjusted, None),
        (partial(inference.logit_adjusted, tau=None), "val"),
        (inference.tau_normalised, "val"),
        (partial(inference.tau_normalised, tau=1.0), None),
        (inference.nearest_class_mean, "train"),
        (inference.rebalanced, "test"),
        (partial(inference.rebalanced, source="val", tau=1.5), "val"),
        (partial(inference.rebalanced, column_sums=torch.ones(4)), None),
        (inference.temperature_scaled, "val"),
        (partial(inference.temperature_scaled, temperature=2.0), None),
        (inference.deconfounded, None),
    ],
)
def test_reference_of_says_what_is_left_to_fit(rule, split):
    assert reference_of(rule) == split
    if split is not None:
        assert reference_of(fitted(rule, random_predictions())) is None


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (inference.tau_normalised, "tau_normalised has to be fitted on the val images"),
        (partial(inference.logit_adjusted, tau=None), "logit_adjusted has to be fitted on the val images"),
        (inference.nearest_class_mean, "nearest_class_mean has to be fitted on the train images"),
        (partial(inference.rebalanced, source="val"), "rebalanced has to be fitted on the val images"),
        (inference.temperature_scaled, "temperature_scaled has to be fitted on the val images"),
    ],
)
def test_a_rule_that_is_not_fitted_says_how_to_fit_it(rule, said):
    with pytest.raises(ValueError, match=rf"^{said} before it is called: fitted\(rule, predictions_on_{reference_of(rule)}\)\.$"):
        rule(random_predictions())


def test_a_missing_weight_is_named():
    with pytest.raises(ValueError, match=r"needs the head's weight \(C, D\)"):
        inference.tau_normalised(predictions(features=FEATURES, weight=None), tau=1.0)


EVERY_RULE = [
    inference.as_trained,
    inference.logit_adjusted,
    inference.tau_normalised,
    inference.nearest_class_mean,
    inference.rebalanced,
    partial(inference.rebalanced, source="val"),
    inference.temperature_scaled,
]
every_rule = pytest.mark.parametrize("rule", EVERY_RULE)


@every_rule
def test_renaming_the_classes_changes_nothing(rule):
    given, order = random_predictions(), torch.tensor([2, 0, 3, 1])
    renamed = Predictions(
        features=given.features,
        logits=given.logits[:, order],
        labels=order.argsort()[given.labels],
        class_counts=given.class_counts[order],
        head={"weight": given.head["weight"][order]},
    )
    torch.testing.assert_close(fitted(rule, renamed)(renamed), fitted(rule, given)(given)[:, order])


@pytest.mark.parametrize("rule", [*EVERY_RULE, partial(inference.logit_adjusted, tau=None)])
def test_a_fitted_rule_judges_one_image_as_it_judges_all(rule):
    whole, reference = random_predictions(1), random_predictions(2)
    ready = fitted(rule, reference)
    assert reference_of(ready) is None
    for index in (0, 7):
        one = dataclasses.replace(
            whole,
            features=whole.features[index : index + 1],
            logits=whole.logits[index : index + 1],
            labels=whole.labels[index : index + 1],
        )
        torch.testing.assert_close(ready(one)[0], ready(whole)[index], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("rule", [*EVERY_RULE, inference.deconfounded])
def test_a_rule_is_restored_from_its_description(rule):
    described = describe(rule)
    assert describe(restore(described)) == described
    assert reference_of(restore(described)) == reference_of(rule)


def test_a_rule_that_learns_nothing_is_fitted_as_it_is():
    assert fitted(inference.as_trained, random_predictions()) is inference.as_trained
