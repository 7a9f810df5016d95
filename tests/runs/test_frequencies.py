"""Class frequencies that the scores of a run are meant for, of every method, and what adjusts them to others."""

import json
import math
from functools import partial

import pytest
import torch

from longtail import losses, recipes, settings, weighting
from longtail.errors import UserError
from longtail.inference import Predictions, adapted, logit_adjusted, tau_normalised
from longtail.runs.folder import RunFolder
from longtail.runs.frequencies import recorded_frequencies, shift_to
from longtail.runs.tuned import tuned_rule
from longtail.spec.description import describe
from longtail.spec.recipe import Recipe
from longtail.workflow.checks import taking_frequencies

COUNTS = [500, 60, 7]
AS_TRAINED = {"ce", "mixup", "focal"}
NO_PROBABILITIES = {"tau_norm", "ncm"}


def record_of(recipe):
    return json.loads(json.dumps({"recipe": describe(recipe)}))


def built(name, **keywords):
    function = next(function for function in recipes.ALL if function.__name__ == name)
    return function(settings.cifar100_lt(), **keywords)


@pytest.mark.parametrize("method", [function.__name__ for function in recipes.ALL])
def test_every_method_is_for_the_training_frequencies_or_for_equal_ones(method):
    found = recorded_frequencies(record_of(built(method)), COUNTS)
    expected = COUNTS if method in AS_TRAINED else [1, 1, 1]
    assert found.shares.tolist() == pytest.approx([each / sum(expected) for each in expected])
    assert found.probabilities is (method not in NO_PROBABILITIES)


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [
        (built("logit_adjusted_post_hoc", tau=0.0), COUNTS),
        (built("logit_adjusted_post_hoc", tau=0.7), [1, 1, 1]),
        (built("logit_adjusted_post_hoc", target=(2.0, 1.0, 1.0)), [2, 1, 1]),
        (built("logit_adjusted", tau=0.0), COUNTS),
        (built("tde", alpha=0.0), COUNTS),
        (built("gcl", retraining="none"), [1, 1, 1]),
        (built("crt", sampler=partial(weighting.power, exponent=-0.5)), [math.sqrt(count) for count in COUNTS]),
        (built("crt", sampler=weighting.uniform), COUNTS),
    ],
)
def test_variants(recipe, expected):
    found = recorded_frequencies(record_of(recipe), COUNTS)
    assert found.shares.tolist() == pytest.approx([each / sum(expected) for each in expected])


@pytest.mark.parametrize("method", taking_frequencies())
def test_a_method_that_takes_frequencies_in_use_has_scores_for_them(method):
    found = recorded_frequencies(record_of(built(method, target=(2.0, 1.0, 1.0))), COUNTS)
    assert (found.shares.tolist(), found.probabilities) == ([0.5, 0.25, 0.25], True)


@pytest.mark.parametrize("method", ["balanced_softmax", "logit_adjusted", "gcl", "gala", "balpoe"])
def test_the_log_of_frequencies_in_use_is_added_to_the_scores_of_a_balanced_network(method):
    logits = torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]])
    shown = Predictions(torch.zeros(2, 1), logits, torch.tensor([0, 1]), torch.tensor(COUNTS, dtype=torch.float64))
    scores = [built(method, target=target).inference(shown) for target in (None, (2.0, 1.0, 1.0))]
    assert torch.equal(scores[0], logits)
    torch.testing.assert_close(scores[1], logits + torch.tensor([0.5, 0.25, 0.25]).log())


def test_class_vectors_of_one_length_have_no_frequencies_in_use():
    with pytest.raises(UserError, match="gcl with `retraining=tau_norm` takes no class frequencies in use"):
        built("gcl", retraining="tau_norm", target=(2.0, 1.0, 1.0))


def own_loss(counts, *, weight=None):
    return losses.CrossEntropyLoss(counts, weight=weight)


def test_what_is_the_users_own_is_not_known():
    stage = recipes.first_stage(settings.cifar100_lt(), loss=own_loss)
    found = recorded_frequencies(record_of(Recipe("own", (stage,))), COUNTS)
    assert found.shares is None
    assert "a user's own" in found.words


@pytest.fixture
def run(tmp_path):
    """A run folder of cross-entropy, as far as it is read here."""

    def written(name, **keywords):
        folder = RunFolder(tmp_path)
        folder.write_record({"experiment": "x", **record_of(built(name, **keywords))})
        return folder

    return written


def test_scores_are_adjusted_by_the_log_of_both_frequencies(run, tmp_path):
    """Bayes' rule by hand: p(y | x) of cross-entropy times wanted over trained, scaled to sum 1."""
    shares = tmp_path / "shares.csv"
    shares.write_text("label,share\na,1\nb,1\nc,2\n")
    shift = shift_to(run("ce"), str(shares), ["a", "b", "c"], COUNTS)
    posterior = torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64)
    wanted, trained = [0.25, 0.25, 0.5], [count / sum(COUNTS) for count in COUNTS]
    products = [p * w / t for p, w, t in zip(posterior.tolist(), wanted, trained, strict=True)]
    found = (posterior.log() + shift.offset).softmax(0)
    assert found.tolist() == pytest.approx([each / sum(products) for each in products])
    assert "the training frequencies, as CrossEntropyLoss learned them" in shift.sentence


def test_scores_that_are_for_the_prior_stay_as_they_are(run):
    for name, prior in (("ce", "train"), ("gcl", "uniform"), ("logit_adjusted_post_hoc", "uniform")):
        shift = shift_to(run(name), prior, ["a", "b", "c"], COUNTS)
        assert not shift.offset.any()
        assert f"meant for the class prior '{prior}' already" in shift.sentence


def test_there_and_back_is_nothing(run):
    there = shift_to(run("ce"), "uniform", ["a", "b", "c"], COUNTS).offset
    back = shift_to(run("gcl"), "train", ["a", "b", "c"], COUNTS).offset
    torch.testing.assert_close(there + back - (there + back).mean(), torch.zeros(3, dtype=torch.float64), atol=1e-9, rtol=0)


def test_distances_are_no_probabilities(run):
    with pytest.raises(UserError, match="they are no log-probabilities"):
        shift_to(run("ncm"), "train", ["a", "b", "c"], COUNTS)


PREDICTIONS = Predictions(
    features=torch.tensor([[1.0, 2.0]]),
    logits=torch.tensor([[2.0, 0.0, -1.0]]),
    labels=torch.tensor([-1]),
    class_counts=torch.tensor(COUNTS, dtype=torch.float64),
    head={"weight": torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 4.0]])},
)


def test_an_adapted_rule_by_hand():
    rule = partial(adapted, rule=partial(logit_adjusted, tau=1.0), temperature=2.0, offset=(0.0, 1.0, -1.0))
    logs = [math.log(count / sum(COUNTS)) for count in COUNTS]
    expected = [(z - each) / 2 + b for z, each, b in zip((2.0, 0.0, -1.0), logs, (0.0, 1.0, -1.0), strict=True)]
    assert rule(PREDICTIONS)[0].tolist() == pytest.approx(expected)
    with pytest.raises(UserError, match="must be 3 finite numbers, one per class; got 2 numbers"):
        adapted(PREDICTIONS, offset=(0.0, 1.0))


@pytest.mark.parametrize("rule", [partial(logit_adjusted, tau=0.5), partial(tau_normalised, tau=0.5)], ids=["logits", "norms"])
def test_a_tuned_rule_adds_the_frequencies_before_it_divides(rule):
    """s / T with s the scores at the new strength plus the log frequencies, whichever rule takes them itself."""
    shares = (0.5, 0.3, 0.2)
    found = tuned_rule(rule, {"tau": 1.2}, 1.5, shares, adjust=True)(PREDICTIONS)
    plain = partial(rule.func, tau=1.2)(PREDICTIONS)
    expected = (plain + torch.tensor(shares).log()) / 1.5
    torch.testing.assert_close(found, expected)
