"""Metrics of a classifier on long-tailed data, computed from counts of its predictions and from scores.

A class without test images is not evaluated: its recall is nan and it enters no mean. Scores and labels may be tensors, arrays or
lists, and labels integers of any type; those of images that are in no class, such as -1 or -100, are refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from longtail.arguments import Numbers, as_labels, as_probabilities, as_rows, as_shares, as_tensor, as_vector, described, exact
from longtail.choosing import recall_interval
from longtail.errors import UserError
from longtail.results import GroupResult, SplitResult
from longtail.running import BINS, RunningResult, calibration_gaps
from longtail.weighting import as_image_weights

Recalls = Float[Tensor, " classes"]
Groups = Mapping[str, Sequence[int]]
ROWS = 4096  # images whose probabilities are in memory at once


def report(scores: Numbers, labels: Numbers, groups: Groups) -> SplitResult:
    """Evaluates scores (M, C) against labels (M,), over all classes and per named group of class indices.

    `longtail.data.groups.shot_groups` gives groups by training images.

    Raises:
        UserError: shapes do not fit, a label or a member of a group is no class index, or a score is nan.
    """
    scores, labels = as_scored("report", scores, labels)
    running = RunningResult(scores.shape[1])
    for rows, truth in zip(scores.split(ROWS), labels.split(ROWS), strict=True):
        running.add(rows, truth)
    return result_of(running, groups)


def result_of(running: RunningResult, groups: Groups) -> SplitResult:
    """The result on images that were given in batches, over all classes and per group."""
    recalls = running.hits.double() / running.counts.double()
    return SplitResult(
        mean_recall=nan_mean(recalls),
        accuracy=(running.hits.sum().double() / running.counts.sum()).item(),
        calibration_error=running.calibration_error,
        groups=group_results(recalls, running.counts, groups),
        recalls=tuple(recalls.tolist()),
        test_counts=tuple(running.counts.tolist()),
    )


def group_results(recalls: Numbers, test_counts: Numbers, groups: Groups) -> dict[str, GroupResult]:
    """Result of each group from the recalls (C,) and test images (C,) of the classes, with an interval where these are few."""
    recalls = as_shares("group_results", recalls, name="recalls")
    test_counts = as_vector("group_results", test_counts, length=len(recalls), name="test_counts").cpu()
    means = group_means(recalls, groups)
    results = {}
    for name, members in _members(groups, len(recalls)).items():
        counts = test_counts[members]
        result = GroupResult(means[name], len(counts), int((counts > 0).sum()), int(counts.sum()))
        few = result.wants_interval
        results[name] = replace(result, interval=recall_interval(recalls[members], counts)) if few else result
    return results


def group_means(recalls: Numbers, groups: Groups) -> dict[str, float]:
    """Mean recall over each group's evaluated classes, from the recalls (C,); nan if it has none."""
    recalls = as_shares("group_means", recalls, name="recalls")
    return {name: nan_mean(recalls[members]) for name, members in _members(groups, len(recalls)).items()}


def _members(groups: Groups, classes: int) -> dict[str, Tensor]:
    """The class indices of each group in ascending order, each once."""
    if not isinstance(groups, Mapping):
        raise UserError(f"`groups` must be a dict from names to class indices, as `shot_groups` gives; got {described(groups)}.")
    each = {name: list(inside) if isinstance(inside, (set, frozenset)) else inside for name, inside in groups.items()}
    return {
        name: torch.tensor(
            sorted(set(as_labels(f"The group '{name}'", inside, classes=classes, name="groups").tolist())), dtype=torch.long
        )
        for name, inside in each.items()
    }


def confusion_matrix(scores: Numbers, labels: Numbers) -> Int[Tensor, "classes classes"]:
    """Number of images of each pair of true class (row) and predicted class (column)."""
    scores, labels = as_scored("confusion_matrix", scores, labels)
    classes = scores.shape[1]
    pairs = labels * classes + scores.argmax(1)
    return torch.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def accuracy(confusion: Numbers) -> float:
    """Share of the images that are classified correctly, whatever their class."""
    counts = _square("accuracy", confusion)
    return (counts.diagonal().sum().double() / counts.sum()).item()


def per_class_recall(confusion: Numbers) -> Recalls:
    """Share of each class's images that are classified correctly; nan for a class without test images."""
    counts = _square("per_class_recall", confusion)
    return counts.diagonal().double() / counts.sum(1).double()


def _square(owner: str, confusion: Numbers) -> Tensor:
    given = exact(as_tensor(owner, confusion, "confusion")).cpu()
    if given.ndim != 2 or given.shape[0] != given.shape[1] or not bool((given.isfinite() & (given >= 0)).all()):
        raise UserError(
            f"{owner} needs a confusion matrix of shape (C, C), none below 0, as `confusion_matrix` gives; got "
            f"{described(confusion)}."
        )
    return given


def mean_recall(scores: Numbers, labels: Numbers) -> float:
    """Mean over the evaluated classes of their recall: the accuracy under a uniform class prior."""
    scores, labels = as_scored("mean_recall", scores, labels)
    hits = torch.bincount(labels[scores.argmax(1) == labels], minlength=scores.shape[1])
    return nan_mean(hits.double() / torch.bincount(labels, minlength=scores.shape[1]).double())


def accuracy_under_prior(recalls: Numbers, prior: Numbers) -> float:
    """Expected accuracy where class j appears with probability prior_j, among the evaluated classes.

    Raises:
        UserError: the prior is not one finite number per class, none below 0 and one of an evaluated class above it.
    """
    each = as_shares("accuracy_under_prior", recalls, name="recalls")
    share = exact(as_vector("accuracy_under_prior", prior, length=len(each), name="prior")).cpu()
    known = ~each.isnan()
    if not bool(share.isfinite().all() and (share >= 0).all() and share[known].sum() > 0):
        raise UserError("`prior` must be finite numbers, none below 0, and above 0 for a class that was evaluated.")
    return ((each[known] * share[known]).sum() / share[known].sum()).item()


def expected_calibration_error(
    probabilities: Numbers, labels: Numbers, bins: int = BINS, weights: Numbers | None = None
) -> float:
    """sum_b |b| / M |accuracy_b - confidence_b| over right-closed bins of the confidence (Guo et al., ICML 2017, Eq. 3).

    With weights (M,), of which only ratios matter, an image counts as its weight, such as under a class prior.

    Raises:
        UserError: the rows are no probabilities that sum to 1 (of logits, take `.softmax(1)`), there is no bin, or the weights
            are not one finite number per image, none below 0 and one above it.
    """
    if bins < 1 or bins != int(bins):
        raise UserError(f"`bins` must be a whole number of at least 1; got {bins}.")
    owner = "expected_calibration_error"
    probabilities, labels = as_scored(owner, probabilities, labels, name="probabilities")
    probabilities = as_probabilities(owner, probabilities, name="probabilities")
    share = torch.ones(len(labels)) if weights is None else as_image_weights(owner, weights, len(labels)).cpu()
    return (calibration_gaps(probabilities, labels, int(bins), weights=share).abs().sum() / share.sum().double()).item()


def open_f_measure(predicted: Numbers, labels: Numbers) -> float:
    """F-measure where -1 stands for images of no known class, both in the predictions and in the labels.

    F = 2 TP / (2 TP + FP + FN). TP: images of known classes that are classified correctly; FP: images of known classes that are
    classified wrongly, as -1 too; FN: images of no known class that are given a class. nan where all three are 0.

    Source: Liu et al., CVPR 2019 (OLTR), utils.py, which follows OpenMax; there 1e-12 is added to precision + recall.
    """
    truth = as_labels("open_f_measure", labels, also=(-1,)).cpu()
    given = as_labels("open_f_measure", predicted, images=len(truth), also=(-1,), name="predicted").cpu()
    known = truth >= 0
    right = (known & (given == truth)).sum()
    wrong, missed = (known & (given != truth)).sum(), (~known & (given >= 0)).sum()
    return (2 * right.double() / (2 * right + wrong + missed)).item()


def as_scored(owner: str, scores: Numbers, labels: Numbers, *, name: str = "scores") -> tuple[Tensor, Tensor]:
    """The scores (M, C) of floating-point type and the labels (M,) as int64, both on the CPU, where they are checked.

    Raises:
        WrongTypeError: scores are no real numbers, or labels no integers.
        UserError: shapes do not fit, a label is no class index, or an image has no largest score, since one is nan or infinite.
    """
    rows = as_rows(owner, scores, name=name).detach().cpu()
    rows = rows if rows.dtype == torch.float64 else rows.float()
    truth = as_labels(owner, labels, classes=rows.shape[1], images=len(rows), on_cpu=True)
    broken = ~rows.amax(1).isfinite()
    if bool(broken.any()):
        raise UserError(
            f"{owner} needs `{name}` with a finite largest value for every image; row {int(broken.nonzero()[0])} has none."
        )
    return rows, truth


def nan_mean(values: Tensor) -> float:
    """Mean of the values that are not nan; nan where there are none."""
    return values.nanmean().item()
