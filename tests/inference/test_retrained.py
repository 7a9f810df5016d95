"""A classifier trained anew on stored features, against scikit-learn; logit adjustment for other class frequencies in use."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from sklearn.linear_model import LogisticRegression

from longtail.errors import UserError
from longtail.inference import Predictions, fitted, logit_adjusted, reference_of, retrained, tau_normalised


def predictions(features, labels, classes):
    counts = torch.bincount(labels, minlength=classes).double()
    return Predictions(features, torch.zeros(len(labels), classes), labels, counts)


def drawn(counts, size=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    centres = torch.randn(len(counts), size, generator=generator)
    return centres[labels] + torch.randn(len(labels), size, generator=generator), labels


@pytest.mark.parametrize("counts", [(60, 20, 5), (40, 6)])
@pytest.mark.parametrize("strength", [1.0, 0.05])
def test_the_classifier_is_that_of_a_balanced_logistic_regression(counts, strength):
    features, labels = drawn(counts)
    rule = fitted(partial(retrained, strength=strength), predictions(features, labels, len(counts)))
    standardised = ((features - features.mean(0)) / features.std(0)).double().numpy()
    inverse = strength * (2 if len(counts) == 2 else 1)  # of two classes it penalises one vector, which is twice half a vector
    other = LogisticRegression(C=inverse, class_weight="balanced", max_iter=5000, tol=1e-8).fit(standardised, labels.numpy())
    expected = torch.from_numpy(other.predict_proba(standardised)).float()
    found = rule(predictions(features, labels, len(counts))).softmax(1)
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-3)


def test_rare_classes_are_found_that_plain_training_ignores():
    features, labels = drawn((400, 8), size=2, seed=3)
    rule = fitted(retrained, predictions(features, labels, 2))
    balanced = rule(predictions(features, labels, 2)).argmax(1)
    plain = LogisticRegression().fit(features.numpy(), labels.numpy()).predict(features.numpy())
    rare = labels == 1
    assert (balanced[rare] == 1).double().mean() > (torch.from_numpy(plain)[rare] == 1).double().mean()


def test_it_is_fitted_on_training_images_and_says_so():
    features, labels = drawn((9, 3))
    assert reference_of(retrained) == "train"
    with pytest.raises(UserError, match="retrained has to be fitted on the train images"):
        retrained(predictions(features, labels, 2))
    assert reference_of(fitted(retrained, predictions(features, labels, 2))) is None


def test_the_log_of_the_frequencies_in_use_is_added():
    shown = Predictions(torch.zeros(1, 1), torch.zeros(1, 2), torch.tensor([0]), torch.tensor([9.0, 1.0]))
    scores = logit_adjusted(shown, tau=1.0, target=(3.0, 1.0))
    expected = torch.log(torch.tensor([0.75 / 0.9, 0.25 / 0.1]))
    torch.testing.assert_close(scores[0], expected)
    torch.testing.assert_close(logit_adjusted(shown, tau=1.0, target=(9.0, 1.0))[0], torch.zeros(2), rtol=0, atol=1e-6)
    assert logit_adjusted(shown, tau=0.0, target=(1.0, 0.0)).argmax(1).item() == 0
    for wrong in ((1.0,), (1.0, -1.0), (0.0, 0.0), (1.0, float("nan"))):
        with pytest.raises(UserError, match="`target` must be 2 finite numbers"):
            logit_adjusted(shown, target=wrong)


def test_a_new_classifier_takes_the_frequencies_in_use_as_well():
    shown = predictions(*drawn((60, 20, 5)), 3)
    plain, in_use = (fitted(partial(retrained, target=target), shown)(shown) for target in (None, (3.0, 1.0, 1.0)))
    torch.testing.assert_close(in_use - plain, torch.tensor([0.6, 0.2, 0.2]).log().expand(len(plain), 3), rtol=1e-5, atol=1e-5)
    with pytest.raises(UserError, match="`target` must be 3 finite numbers"):
        fitted(partial(retrained, target=(1.0, 2.0)), shown)(shown)


def test_it_is_solved_in_any_mode_of_torch():
    features, labels = drawn((60, 20, 5))
    with torch.inference_mode():
        gathered = predictions(features.clone(), labels.clone(), 3)
        inside = fitted(retrained, gathered)
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        in_half = fitted(retrained, predictions(features, labels, 3))
        scores = in_half(predictions(features, labels, 3))
    plain = fitted(retrained, predictions(features, labels, 3))
    for other in (inside, in_half, fitted(retrained, gathered)):
        assert torch.equal(other.keywords["weight"], plain.keywords["weight"])
    assert torch.equal(scores, plain(predictions(features, labels, 3)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_scores_have_the_type_of_the_logits_also_under_autocast(dtype):
    features, labels = drawn((9, 3))
    shown = predictions(features, labels, 2)
    shown = replace(shown, logits=shown.logits.to(dtype), head={"weight": torch.randn(2, features.shape[1])})
    for rule in (fitted(retrained, shown), partial(tau_normalised, tau=1.0)):
        plain = rule(shown)
        assert plain.dtype == dtype
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(rule(shown), plain)
