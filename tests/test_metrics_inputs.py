"""What every metric takes and refuses: labels of any integer type and container, shapes, scores that are no numbers."""

import jaxtyping
import numpy as np
import pytest
import torch

from longtail import bootstrap, choosing, metrics
from longtail.metrics import result_of
from longtail.running import RunningResult

LABELS = torch.arange(20).repeat(3)
SCORES = torch.eye(20)[LABELS] * 9
HALF = torch.eye(20)[LABELS.roll(1)] * 9
PRIOR = torch.full((20,), 0.05)
HITS = [[True] * 60, [False] * 60]
OF_LABELS = {
    "report": lambda s, y: metrics.report(s, y, {"many": range(10), "few": range(10, 20)}),
    "confusion_matrix": lambda s, y: metrics.confusion_matrix(s, y).tolist(),
    "mean_recall": metrics.mean_recall,
    "expected_calibration_error": lambda s, y: metrics.expected_calibration_error(softmax(s), y),
    "weighted calibration error": lambda s, y: metrics.expected_calibration_error(softmax(s), y, weights=range(60)),
}
OF_LABELS_ALONE = {
    "open_f_measure": lambda y: metrics.open_f_measure(LABELS.roll(3), y),
    "image_weights": lambda y: choosing.image_weights(y, PRIOR).tolist(),
    "effective_images": lambda y: choosing.effective_images(y, PRIOR),
    "compared": lambda y: choosing.compared(HITS, y, PRIOR, draws=10),
    "chosen_strengths": lambda y: choosing.chosen_strengths(HITS, y, PRIOR, [0, 1]).of_images.tolist(),
    "difference": lambda y: bootstrap.difference(HITS[:1], HITS[1:], y, PRIOR, paired=True, draws=10),
    "class_differences": lambda y: bootstrap.class_differences(HITS[:1], HITS[1:], y, 20, paired=True),
    "folds_of": lambda y: choosing.folds_of(y, 3, seed=0).tolist(),
}
every_metric = pytest.mark.parametrize("metric", OF_LABELS.values(), ids=OF_LABELS)
every_function = pytest.mark.parametrize(
    "metric",
    [*(lambda y, f=f: f(SCORES, y) for f in OF_LABELS.values()), *OF_LABELS_ALONE.values()],
    ids=[*OF_LABELS, *OF_LABELS_ALONE],
)
DTYPES = [torch.uint8, torch.int8, torch.int16, torch.int32, torch.uint16]
CONTAINERS = [torch.Tensor.numpy, torch.Tensor.tolist, lambda y: y.numpy().astype(">i2"), lambda y: y.numpy()[::-1][::-1]]


@pytest.fixture(autouse=True)
def unchecked_types(monkeypatch):
    """Users run without the type checks of the tests, so the messages tested here are those that users see."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


def softmax(scores):
    return torch.as_tensor(np.asarray(scores)).double().softmax(1)


@every_function
def test_labels_of_any_integer_type_and_container_are_the_same_labels(metric):
    expected = metric(LABELS)
    for given in [LABELS.to(dtype) for dtype in DTYPES] + [container(LABELS) for container in CONTAINERS]:
        assert metric(given) == expected


def test_perfect_predictions_are_perfect_whatever_the_type_of_the_labels():
    for dtype in DTYPES:
        result = metrics.report(SCORES, LABELS.to(dtype), {"many": range(10), "few": range(10, 20)})
        assert (result.mean_recall, result.accuracy, result.groups["few"].recall) == (1, 1, 1)


@pytest.mark.parametrize("kind", [torch.Tensor.numpy, torch.Tensor.tolist, torch.Tensor.half, torch.Tensor.requires_grad_])
def test_scores_of_any_container_are_the_same_scores(kind):
    given, expected = kind((SCORES + HALF / 2).clone()), metrics.report(SCORES + HALF / 2, LABELS, {})
    found = metrics.report(given, LABELS, {})
    assert found.recalls == expected.recalls
    assert found.calibration_error == pytest.approx(expected.calibration_error, abs=1e-6)
    assert metrics.mean_recall(given, LABELS) == expected.mean_recall
    assert metrics.confusion_matrix(given, LABELS).diagonal().tolist() == [3] * 20


@every_function
@pytest.mark.parametrize("wrong", [-100, -2])
def test_images_of_no_class_are_refused(metric, wrong):
    labels = LABELS.clone()
    labels[7] = wrong
    with pytest.raises(
        ValueError, match=rf"needs class indices from 0( to 19)?( \(or -1\))? as `labels`; `labels\[7\]` is {wrong}"
    ):
        metric(labels)


@every_function
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda y: y.float(), "as integers; got torch.float32"),
        (lambda y: y > 3, "as integers; got torch.bool"),
        (lambda y: y[:, None], r"needs class indices of shape .* as `labels`; got torch.int64 of shape \(60, 1\)"),
        (lambda y: torch.eye(20, dtype=torch.int64)[y], r"got torch.int64 of shape \(60, 20\)"),
        (lambda y: ["a"] * 60, "a list of numbers; got list"),
        (lambda y: "0" * 60, "a list of numbers; got str"),
    ],
)
def test_labels_of_another_kind_are_refused(metric, change, said):
    with pytest.raises(ValueError, match=said):
        metric(change(LABELS))


@every_metric
def test_a_label_above_the_last_class_and_missing_labels_are_refused(metric):
    with pytest.raises(ValueError, match=r"from 0 to 19 as `labels`; `labels\[19\]` is 20"):
        metric(SCORES, LABELS + (LABELS == 19))
    with pytest.raises(ValueError, match=r"of shape \(60,\) as `labels`; got torch.int64 of shape \(59,\)"):
        metric(SCORES, LABELS[1:])


@every_metric
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_scores_that_are_no_numbers_are_refused(metric, value):
    scores = SCORES.clone()
    scores[4, 2] = value
    with pytest.raises(ValueError, match="row 4 has none"):
        metric(scores, LABELS)


@every_metric
def test_a_class_may_be_ruled_out(metric):
    scores = SCORES.clone()
    scores[0, 1:] = -torch.inf
    metric(scores, LABELS)


def test_logits_are_no_probabilities():
    for given in (SCORES, SCORES / 90, -SCORES, SCORES.sigmoid()):
        with pytest.raises(ValueError, match=r"needs probabilities as `probabilities`.*take `.softmax\(1\)`"):
            metrics.expected_calibration_error(given, LABELS)
    half = SCORES.softmax(1).half()
    assert metrics.expected_calibration_error(half, LABELS) == pytest.approx(0.0, abs=0.01)
    with pytest.raises(ValueError, match="`bins` must be a whole number of at least 1; got 0"):
        metrics.expected_calibration_error(half, LABELS, bins=0)


def test_predicted_classes_are_no_scores():
    with pytest.raises(ValueError, match=r"needs `scores` of shape \(B, C\).*; got torch.int64 of shape \(60,\)"):
        metrics.report(LABELS, LABELS, {})


@pytest.mark.parametrize("members", [[-1], [20], [0.5], ["a"], [True, False], [[0]], "01"])
def test_members_of_a_group_are_class_indices(members):
    with pytest.raises(ValueError, match="The group 'few' needs"):
        metrics.report(SCORES, LABELS, {"few": members})
    with pytest.raises(ValueError, match="must be a dict"):
        metrics.group_means(PRIOR, [members])


@pytest.mark.parametrize("members", [{3, 1}, [1, 3, 3], range(1, 4, 2), np.array([3, 1], dtype="uint8"), torch.tensor([3, 1])])
def test_members_may_be_given_in_any_form(members):
    recalls = torch.arange(5.0) / 10
    assert metrics.group_means(recalls, {"some": members}) == {"some": pytest.approx(0.2)}


@pytest.mark.parametrize("prior", [[1.0], [[0.5]] * 20, [float("nan")] * 20, [-1.0] + [1.0] * 19, [0.0] * 20])
def test_a_prior_that_is_none_is_refused(prior):
    for function in (lambda: metrics.accuracy_under_prior(PRIOR, prior), lambda: choosing.image_weights(LABELS, prior)):
        with pytest.raises(ValueError, match=r"prior|class indices|share"):
            function()


@pytest.mark.parametrize("sizes", [[60], [1] * 60, [7, 13, 40]])
def test_batches_add_up_to_the_whole(sizes):
    scores = torch.randn(60, 20, generator=torch.Generator().manual_seed(0))
    running = RunningResult(20)
    for rows, labels in zip(scores.split(sizes), LABELS.split(sizes), strict=True):
        running.add(rows, labels)
    whole = metrics.report(scores, LABELS, {"all": range(20)})
    found = result_of(running, {"all": range(20)})
    assert found.calibration_error == pytest.approx(whole.calibration_error, rel=1e-12)
    assert (found.recalls, found.accuracy, found.test_counts) == (whole.recalls, whole.accuracy, whole.test_counts)
    assert whole.calibration_error == pytest.approx(metrics.expected_calibration_error(scores.softmax(1), LABELS), rel=1e-12)


def test_a_report_of_many_classes_needs_no_matrix_of_them(monkeypatch):
    monkeypatch.setattr(metrics, "confusion_matrix", None)
    labels = torch.arange(0, 30_000, 1000)
    scores = torch.nn.functional.one_hot(labels, 30_000).float()
    assert metrics.report(scores, labels, {}).accuracy == 1


def test_metrics_leave_what_they_are_given_and_the_random_numbers(monkeypatch):
    scores, labels, state = SCORES.clone(), LABELS.clone(), torch.get_rng_state()
    for metric in OF_LABELS.values():
        metric(scores, labels)
    for metric in OF_LABELS_ALONE.values():
        metric(labels)
    assert torch.equal(scores, SCORES)
    assert torch.equal(labels, LABELS)
    assert torch.equal(torch.get_rng_state(), state)


def test_an_empty_list_of_labels_belongs_to_no_images():
    assert np.isnan(metrics.report(torch.zeros(0, 3), [], {"a": [0]}).mean_recall)
    assert choosing.folds_of([], 2, seed=0).tolist() == []


@pytest.mark.parametrize(
    "recalls", [[1, 0, 1], (1.0, 0.0, 1.0), np.array([1, 0, 1], dtype=np.uint8), torch.tensor([1.0, 0, 1]).half()]
)
def test_recalls_of_any_kind_are_the_same_recalls(recalls):
    assert metrics.group_means(recalls, {"a": [0, 1], "b": [2]}) == {"a": 0.5, "b": 1.0}
    found = metrics.group_results(recalls, [3, 1, 2], {"a": [0, 1]})["a"]
    assert (found.recall, found.classes, found.images) == (0.5, 2, 4)
    assert metrics.accuracy_under_prior(recalls, [1, 2, 1]) == 0.5


@pytest.mark.parametrize(
    "call",
    [
        lambda: metrics.group_means([100.0, 0.0], {"a": [0]}),
        lambda: metrics.group_results([[1.0, 0.0]], [1], {"a": [0]}),
        lambda: metrics.accuracy_under_prior([100.0, 50.0], [1, 1]),
        lambda: choosing.recall_interval([100.0, 50.0], [3, 4]),
    ],
)
def test_percentages_are_no_recalls(call):
    with pytest.raises(ValueError, match=r"needs shares from 0 to 1 of shape \(C,\) as `recalls`"):
        call()


@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.int16])
def test_sums_of_a_confusion_matrix_do_not_overflow(dtype):
    matrix = np.array([[200, 200], [0, 100]], dtype=np.uint8).astype(dtype) * dtype(300 if dtype == np.float16 else 1)
    assert metrics.per_class_recall(matrix).tolist() == [0.5, 1.0]
    assert metrics.accuracy(matrix) == pytest.approx(0.6)


@pytest.mark.parametrize("matrix", [[[-1, 2], [0, 2]], [[float("nan"), 2], [0, 2]], [[1, 2]]])
def test_a_matrix_that_counts_nothing_is_refused(matrix):
    for metric in (metrics.accuracy, metrics.per_class_recall):
        with pytest.raises(ValueError, match="needs a confusion matrix of shape"):
            metric(matrix)


def test_numbers_of_bins_and_draws_are_whole():
    with pytest.raises(ValueError, match=r"`bins` must be a whole number of at least 1; got 2.5"):
        metrics.expected_calibration_error([[0.5, 0.5]], [0], bins=2.5)
    with pytest.raises(ValueError, match="`draws` must be at least 1; got 0"):
        bootstrap.difference([[1, 0]], [[1, 1]], [0, 1], [1, 1], paired=True, draws=0)


def test_masked_arrays_are_refused_since_their_mask_would_be_lost():
    with pytest.raises(TypeError, match="got int64 of shape"):
        metrics.mean_recall(np.eye(3), np.ma.masked_array([0, 1, 2], mask=[False, True, False]))
