"""How good a classifier is on a long tail: everything from a confusion matrix and the stored scores.

A class without test images is not evaluated: its recall is nan and it enters no mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

Labels = Int[Tensor, " images"]
Scores = Float[Tensor, "images classes"]
Recalls = Float[Tensor, " classes"]


@dataclass(frozen=True)
class GroupResult:
    """Mean recall over the evaluated classes of one group, with its bootstrap interval where its test images are few."""

    recall: float
    classes: int
    evaluated_classes: int
    images: int
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Report:
    """What one set of scores is worth. All rates are shares in [0, 1]; nan where nothing could be evaluated."""

    mean_recall: float
    accuracy: float
    calibration_error: float
    groups: Mapping[str, GroupResult]
    recalls: tuple[float, ...]
    test_counts: tuple[int, ...]


def report(scores: Scores, labels: Labels, groups: Mapping[str, Sequence[int]]) -> Report:
    """Judges scores (M, C) against labels (M,), with class indices gathered in named groups (`shot_groups`)."""
    confusion = confusion_matrix(scores, labels)
    recalls = per_class_recall(confusion)
    return Report(
        mean_recall=nan_mean(recalls),
        accuracy=accuracy(confusion),
        calibration_error=expected_calibration_error(scores.softmax(1), labels),
        groups={name: _group_result(scores, labels, list(classes)) for name, classes in groups.items()},
        recalls=tuple(recalls.tolist()),
        test_counts=tuple(confusion.sum(1).tolist()),
    )


def confusion_matrix(scores: Scores, labels: Labels) -> Int[Tensor, "classes classes"]:
    """Row: true class, column: predicted class."""
    classes = scores.shape[1]
    pairs = labels * classes + scores.argmax(1)
    return torch.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def accuracy(confusion: Int[Tensor, "classes classes"]) -> float:
    """Share of the images that are right, whatever their class."""
    return (confusion.diagonal().sum().double() / confusion.sum()).item()


def per_class_recall(confusion: Int[Tensor, "classes classes"]) -> Recalls:
    """Share of each class's images that are right; nan for a class without test images."""
    return confusion.diagonal().double() / confusion.sum(1).double()


def mean_recall(scores: Scores, labels: Labels) -> float:
    """Mean over the evaluated classes of their recall: the accuracy under a uniform class prior."""
    return nan_mean(per_class_recall(confusion_matrix(scores, labels)))


def accuracy_under_prior(recalls: Recalls, prior: Float[Tensor, " classes"]) -> float:
    """Expected accuracy where class j appears with probability prior_j, among the evaluated classes."""
    known = ~recalls.isnan()
    return ((recalls[known] * prior[known]).sum() / prior[known].sum()).item()


def expected_calibration_error(probabilities: Scores, labels: Labels, bins: int = 15) -> float:
    """sum_b |b| / M |accuracy_b - confidence_b| over right-closed bins of the confidence (Guo et al., ICML 2017, Eq. 3)."""
    confidence, predicted = probabilities.double().max(1)
    bin_of = (confidence * bins).ceil().long().clamp(1, bins) - 1
    gap = (predicted == labels).double() - confidence
    return (torch.zeros(bins, dtype=torch.float64).index_add_(0, bin_of, gap).abs().sum() / len(labels)).item()


def open_f_measure(predicted: Labels, labels: Labels) -> float:
    """F-measure where -1 stands for images of no known class, both in the predictions and in the labels.

    F = 2 TP / (2 TP + FP + FN): TP, known images that are right; FP, known images that are wrong, -1 among the predictions
    included; FN, unknown images that are given a class. nan without either.

    Source: Liu et al., CVPR 2019 (OLTR), utils.py, which follows OpenMax; there 1e-12 is added to precision + recall.
    """
    known = labels >= 0
    right = (known & (predicted == labels)).sum()
    wrong, missed = (known & (predicted != labels)).sum(), (~known & (predicted >= 0)).sum()
    return (2 * right.double() / (2 * right + wrong + missed)).item()


def nan_mean(values: Tensor) -> float:
    """Mean of the values that are not nan; nan where there are none."""
    return values.nanmean().item()


def _group_result(scores: Scores, labels: Labels, classes: list[int]) -> GroupResult:
    inside = torch.isin(labels, torch.tensor(classes, dtype=labels.dtype))
    hits = (scores.argmax(1) == labels)[inside].double()
    member = torch.searchsorted(torch.tensor(sorted(classes)), labels[inside])
    images, right = _per_class(torch.ones_like(hits), member, len(classes)), _per_class(hits, member, len(classes))
    few_images = 0 < len(hits) < 100
    return GroupResult(
        recall=nan_mean(right / images),
        classes=len(classes),
        evaluated_classes=int((images > 0).sum()),
        images=len(hits),
        interval=_bootstrap(hits, member, len(classes)) if few_images else None,
    )


def _per_class(values: Tensor, member: Tensor, classes: int) -> Tensor:
    return torch.zeros(classes, dtype=torch.float64).index_add_(0, member, values)


def _bootstrap(hits: Tensor, member: Tensor, classes: int, draws: int = 1000) -> tuple[float, float]:
    """95 % percentile interval of the group's mean recall, its test images drawn again with replacement."""
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randint(len(hits), (draws, len(hits)), generator=generator)
    images, right = torch.zeros(draws, classes, dtype=torch.float64), torch.zeros(draws, classes, dtype=torch.float64)
    images.scatter_add_(1, member[drawn], torch.ones_like(hits)[drawn])
    right.scatter_add_(1, member[drawn], hits[drawn])
    low, high = (right / images).nanmean(1).quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return low, high
