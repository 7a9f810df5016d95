"""Choosing among classifiers on validation images: paired bootstrap, the one-standard-error rule, intervals of recall.

All functions weigh classes by a prior, the class frequencies in use; under a uniform prior a classifier's accuracy is its mean
recall. Of classes with few images each image weighs much, so that a mean recall is known only as well as the accuracy on
n = 1 / sum_j (prior_j^2 / n_j) images, drawn class by class (`effective_images`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from longtail.arguments import Numbers, as_hits, as_labels, as_shares, as_tensor, as_vector, exact
from longtail.errors import UserError
from longtail.results import wilson

PARTS = 5
Prior = Numbers
Labels = Numbers


@dataclass(frozen=True)
class Comparison:
    """A candidate beside the best one, on the same validation images.

    Args:
        recall: accuracy under the prior, a share.
        interval: its 95 % interval, `wilson` at the effective number of images.
        behind: recall of the best candidate minus that of this one.
        standard_error: bootstrap standard error of `behind`, from paired draws.
    """

    recall: float
    interval: tuple[float, float]
    behind: float
    standard_error: float

    @property
    def cannot_be_told_apart(self) -> bool:
        """Whether the best candidate is better by at most one standard error of the paired difference."""
        return self.behind <= self.standard_error


def image_weights(labels: Labels, prior: Prior) -> Float[Tensor, " images"]:
    """Weight of each image, prior_j / n_j of its class, scaled to sum 1; a class without images is left out.

    Raises:
        UserError: no class with images has a share of the prior, a label is no class index, or the prior is not finite.
    """
    shares, classes = _shares_and_labels("image_weights", prior, labels)
    counts = torch.bincount(classes, minlength=len(shares)).double()
    weights = (shares / counts.clamp(min=1))[classes]
    if not bool(weights.sum() > 0):
        raise UserError("Images of a class with a share of the prior are needed; there are none.")
    return weights / weights.sum()


def _shares_and_labels(owner: str, prior: Prior, labels: Labels) -> tuple[Tensor, Tensor]:
    """The prior (C,) in float64 and the labels (M,) in int64, both on the CPU."""
    shares = exact(as_tensor(owner, prior, "prior")).cpu()
    if shares.ndim != 1 or not bool(shares.isfinite().all() and (shares >= 0).all()):
        raise UserError("`prior` must be one finite number per class, none below 0.")
    return shares, as_labels(owner, labels, classes=len(shares), on_cpu=True)


def effective_images(labels: Labels, prior: Prior) -> float:
    """Number of images of a simple draw that shows the accuracy under the prior as exactly: 1 / sum_i w_i^2 (Kish, 1965)."""
    return float(1 / (image_weights(labels, prior) ** 2).sum())


def compared(hits: Numbers, labels: Labels, prior: Prior, *, draws: int = 2000) -> list[Comparison]:
    """Compares candidates by the accuracy under the prior, with a paired bootstrap over images.

    In each draw, n images (`effective_images`) are drawn with replacement, each with its weight, the same for all candidates; a
    class with a single image is thus in some draws and not in others. The variance of one more image of the largest weight, on
    which two candidates differ in one way as likely as in the other, is added to that of the draws where they differ at all
    (Agresti and Min, 2005, add a half to each cell), so that no single image tells two candidates apart.

    Args:
        hits: whether each candidate classifies each image correctly (candidates, images), truth values or 0 and 1.
        labels: class of each image; a class without images enters nothing.
        prior: class frequencies in use; only ratios matter.
        draws: number of bootstrap draws.

    Raises:
        UserError: there is no candidate, shapes do not fit, no class with images has a share of the prior, or there are fewer
            than two draws.
    """
    if not len(hits):
        raise UserError("There is no candidate to compare.")
    if draws < 2:
        raise UserError(f"`draws` must be at least 2, since they have no standard error otherwise; got {draws}.")
    hits = as_hits("compared", hits, rows="candidates", images=len(labels))
    weights, images = image_weights(labels, prior), effective_images(labels, prior)
    generator = torch.Generator().manual_seed(0)
    size = max(round(images), 1)
    drawn = torch.multinomial(weights, draws * size, replacement=True, generator=generator).reshape(draws, size)
    recalls = hits.double() @ weights
    ahead = hits[recalls.argmax()].double() - hits.double()
    variances = torch.stack([each[drawn].mean(1).var(correction=1) for each in ahead])
    errors = (variances + one_more_image(weights)).sqrt() * ahead.any(1)
    return [
        Comparison(float(recall), wilson(float(recall), images), float(recalls.max() - recall), float(error))
        for recall, error in zip(recalls, errors, strict=True)
    ]


def one_standard_error(comparisons: Sequence[Comparison], costs: Sequence[float], unlikely: Sequence[int] | None = None) -> int:
    """Index of the cheapest candidate that the best one does not beat by more than one standard error (Breiman et al., 1984).

    Of equally cheap candidates it is the one most expected to be ahead, then the one with the higher recall, then the first.

    Args:
        comparisons: the candidates beside the best one; there must be one at least.
        costs: cost of each candidate.
        unlikely: place of each candidate in the order in which they are expected before any image is seen, 0 for the one that is
            expected ahead; None where nothing is known.
    """
    unlikely = [0] * len(costs) if unlikely is None else unlikely
    close = [index for index, comparison in enumerate(comparisons) if comparison.cannot_be_told_apart]
    return min(close, key=lambda index: (costs[index], unlikely[index], -comparisons[index].recall, index))


@dataclass(frozen=True)
class Strengths:
    """Strengths chosen among a grid, as indices into it.

    Args:
        best: the one chosen on all images.
        of_parts: the one chosen for each part of the images, on the other parts.
        part: part of each image (M,).
    """

    best: int
    of_parts: Int[Tensor, " parts"]
    part: Int[Tensor, " images"]

    @property
    def of_images(self) -> Int[Tensor, " images"]:
        """The one chosen for each image without it and the other images of its part."""
        return self.of_parts[self.part]


def chosen_strengths(hits: Numbers, labels: Labels, prior: Prior, odd: Sequence[float]) -> Strengths:
    """Chooses the most usual strength that the best one does not beat by more than one standard error, under the prior.

    It is chosen for each fifth of the images on the other four as well, so that its own choice does not favour a result.

    Args:
        hits: whether each image is classified correctly at each strength of the grid (grid, images), truth values or 0 and 1.
        labels: class of each image.
        prior: class frequencies in use; only ratios matter.
        odd: how unusual each strength is, 0 for the usual one, which is chosen where no class with images has a share.

    Raises:
        UserError: shapes do not fit, a label is no class index, or the prior is not finite.
    """
    shares, labels = _shares_and_labels("chosen_strengths", prior, labels)
    hits = as_hits("chosen_strengths", hits, rows=len(odd), images=len(labels))

    def best(shown: Tensor) -> int:
        if not bool(shares[labels[shown]].sum() > 0):
            return min(range(len(odd)), key=odd.__getitem__)
        behind, errors = behind_the_best(hits[:, shown].double(), image_weights(labels[shown], shares))
        close: list[int] = torch.nonzero(behind <= errors).flatten().tolist()
        return min(close, key=lambda index: (odd[index], round(float(behind[index]), 12)))

    part = folds_of(labels, PARTS, seed=0)
    of_parts = torch.tensor([best(part != number) for number in range(PARTS)])
    return Strengths(best(part >= 0), of_parts, part)


def one_more_image(weights: Tensor) -> Tensor:
    """Variance of an image of the largest weight on which two candidates differ in one way as likely as in the other."""
    return weights.max() ** 2


def behind_the_best(hits: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """How far each row of hits is behind the best one, and its standard error, one more image (`compared`) included."""
    recalls = hits @ weights
    behind, ahead = recalls.max() - recalls, hits[recalls.argmax()] - hits
    return behind, ((ahead - behind[:, None]) ** 2 @ weights**2 + one_more_image(weights)).sqrt()


def recall_interval(recalls: Numbers, counts: Numbers) -> tuple[float, float]:
    """95 % interval of the mean recall over the classes that have images: `wilson` at the effective number of images."""
    recalls = as_shares("recall_interval", recalls, name="recalls")
    counts = exact(as_vector("recall_interval", counts, length=len(recalls), name="counts")).cpu()
    known = counts > 0
    if not bool(known.any()):
        return 0.0, 1.0
    images = float(known.sum()) ** 2 / float((1 / counts[known].double()).sum())
    return wilson(float(recalls[known].double().mean()), images)


def folds_of(labels: Labels, folds: int, *, seed: int) -> Int[Tensor, " images"]:
    """Fold of each image, from 0: the images are dealt out one by one, class after class, beginning with a random fold.

    So two folds differ by at most one image, in all and in each class. A class of fewer images than folds has none in some folds;
    the rare classes that follow each other are dealt to different ones.
    """
    if folds < 1:
        raise UserError(f"`folds` must be at least 1; got {folds}.")
    labels = as_labels("folds_of", labels, on_cpu=True)
    generator = torch.Generator().manual_seed(seed)
    shuffled = torch.randperm(len(labels), generator=generator)
    by_class = shuffled[labels[shuffled].argsort(stable=True)]
    begin = int(torch.randint(folds, (1,), generator=generator))
    fold = torch.empty_like(labels)
    fold[by_class] = (begin + torch.arange(len(labels))) % folds
    return fold
