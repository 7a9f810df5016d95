"""Metrics of a classifier on long-tailed data, computed from a confusion matrix and from scores.

A class without test images is not evaluated: its recall is nan and it enters no mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from longtail.choosing import recall_interval
from longtail.results import GroupResult, SplitResult

Labels = Int[Tensor, " images"]
Scores = Float[Tensor, "images classes"]
Recalls = Float[Tensor, " classes"]
Counts = Int[Tensor, " classes"]
Groups = Mapping[str, Sequence[int]]


def report(scores: Scores, labels: Labels, groups: Groups) -> SplitResult:
    """Evaluates scores (M, C) against labels (M,), over all classes and per named group of class indices (`shot_groups`)."""
    confusion = confusion_matrix(scores, labels)
    recalls, test_counts = per_class_recall(confusion), confusion.sum(1)
    return SplitResult(
        mean_recall=nan_mean(recalls),
        accuracy=accuracy(confusion),
        calibration_error=expected_calibration_error(scores.softmax(1), labels),
        groups=group_results(recalls, test_counts, groups),
        recalls=tuple(recalls.tolist()),
        test_counts=tuple(test_counts.tolist()),
    )


def group_results(recalls: Recalls, test_counts: Counts, groups: Groups) -> dict[str, GroupResult]:
    """Result of each group from the recalls (C,) and test images (C,) of the classes, with an interval where these are few."""
    means = group_means(recalls, groups)
    results = {}
    for name, classes in groups.items():
        members = torch.tensor(sorted(classes), dtype=torch.long)
        counts = test_counts[members]
        result = GroupResult(means[name], len(counts), int((counts > 0).sum()), int(counts.sum()))
        few = result.wants_interval
        results[name] = replace(result, interval=recall_interval(recalls[members], counts)) if few else result
    return results


def group_means(recalls: Recalls, groups: Groups) -> dict[str, float]:
    """Mean recall over each group's evaluated classes, from the recalls (C,); nan if it has none."""
    return {name: nan_mean(recalls[sorted(classes)]) for name, classes in groups.items()}


def confusion_matrix(scores: Scores, labels: Labels) -> Int[Tensor, "classes classes"]:
    """Number of images of each pair of true class (row) and predicted class (column)."""
    classes = scores.shape[1]
    pairs = labels * classes + scores.argmax(1)
    return torch.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def accuracy(confusion: Int[Tensor, "classes classes"]) -> float:
    """Share of the images that are classified correctly, whatever their class."""
    return (confusion.diagonal().sum().double() / confusion.sum()).item()


def per_class_recall(confusion: Int[Tensor, "classes classes"]) -> Recalls:
    """Share of each class's images that are classified correctly; nan for a class without test images."""
    return confusion.diagonal().double() / confusion.sum(1).double()


def mean_recall(scores: Scores, labels: Labels) -> float:
    """Mean over the evaluated classes of their recall: the accuracy under a uniform class prior."""
    return nan_mean(per_class_recall(confusion_matrix(scores, labels)))


def accuracy_under_prior(recalls: Recalls, prior: Float[Tensor, " classes"]) -> float:
    """Expected accuracy where class j appears with probability prior_j, among the evaluated classes."""
    known = ~recalls.isnan()
    return ((recalls[known] * prior[known]).sum() / prior[known].sum()).item()


def expected_calibration_error(probabilities: Scores, labels: Labels, bins: int = 15, weights: Tensor | None = None) -> float:
    """sum_b |b| / M |accuracy_b - confidence_b| over right-closed bins of the confidence (Guo et al., ICML 2017, Eq. 3).

    With weights (M,), of which only ratios matter, an image counts as its weight, such as under a class prior.
    """
    confidence, predicted = probabilities.double().max(1)
    bin_of = (confidence * bins).ceil().long().clamp(1, bins) - 1
    share = torch.ones_like(confidence) if weights is None else weights.double()
    gap = ((predicted == labels).double() - confidence) * share
    return (torch.zeros(bins, dtype=torch.float64).index_add_(0, bin_of, gap).abs().sum() / share.sum()).item()


def open_f_measure(predicted: Labels, labels: Labels) -> float:
    """F-measure where -1 stands for images of no known class, both in the predictions and in the labels.

    F = 2 TP / (2 TP + FP + FN). TP: images of known classes that are classified correctly; FP: images of known classes that are
    classified wrongly, as -1 too; FN: images of no known class that are given a class. nan where all three are 0.

    Source: Liu et al., CVPR 2019 (OLTR), utils.py, which follows OpenMax; there 1e-12 is added to precision + recall.
    """
    known = labels >= 0
    right = (known & (predicted == labels)).sum()
    wrong, missed = (known & (predicted != labels)).sum(), (~known & (predicted >= 0)).sum()
    return (2 * right.double() / (2 * right + wrong + missed)).item()


def nan_mean(values: Tensor) -> float:
    """Mean of the values that are not nan; nan where there are none."""
    return values.nanmean().item()
