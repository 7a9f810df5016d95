"""Paired bootstrap over test images: how much better one method is than another, with a 95 % interval, over seeds as well.

A test image's outcome is how much more often the second method is right on it than the first, between -1 and 1: with one run of
each it is -1, 0 or 1. Test images are drawn class by class, as many of each class as there are (a stratified bootstrap). Three
additions keep intervals honest where images are few, since a class with one image would never vary:

* an image is drawn from its own class with the share n_j / (n_j + 1), else from all classes, as if each class had one more image;
* two more images, on which one method alone is right, once the one and once the other, are drawn in place of any with the share
  2 / (n + 2), n being the effective number of images: the idea of the interval of Bonett and Price (2012), by which no interval
  has the width zero;
* deviations of a class are enlarged by (1 - n_j / (n_j + 1)^2)^-1/2, so that their variance is s^2 / n_j on the average.

Seeds are too few to be drawn: of three, a bootstrap sees two thirds of their variance. Their part of an interval is Student's,
t s / sqrt(S) for S seeds with the standard deviation s, and the two parts are added as independent errors are. Where one method
has a single run, its seeds are taken to vary as those of the other do.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from longtail.arguments import Numbers, as_hits, as_labels
from longtail.choosing import Labels, Prior, effective_images, image_weights
from longtail.errors import UserError
from longtail.results import Z95

Hits = Numbers  # truth values (seeds, images)
Outcomes = Float[Tensor, " images"]
T95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)  # quantiles of Student's t at 97.5 %, from 1 degree on
AT_ONCE = 2**22  # numbers that are drawn in one step
DRAWS = 2000


@dataclass(frozen=True)
class Difference:
    """How much better the second method is than the first, as a share, with the ends of its 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def within_noise(self) -> bool:
        """Whether the interval holds 0, so that the images and seeds at hand do not tell the two methods apart."""
        return self.low <= 0 <= self.high


def difference(first: Hits, second: Hits, labels: Labels, prior: Prior, *, paired: bool, draws: int = DRAWS) -> Difference:
    """Difference of the accuracies under a prior of two methods, by the bootstrap of this module.

    Args:
        first, second: whether each run of a method, one per seed, classifies each image correctly.
        labels: class of each image (M,); a class without images or without a share of the prior enters nothing.
        prior: class frequencies (C,); equal ones for a mean recall. With a single class it is the accuracy on the images.
        paired: whether the runs of the two methods have the same seeds, in the same order.
        draws: number of bootstrap draws.

    Raises:
        UserError: shapes do not fit, a label is no class index, no class with images has a share of the prior, or there is no
            draw.
    """
    if draws < 1:
        raise UserError(f"`draws` must be at least 1; got {draws}.")
    weights = image_weights(labels, prior)
    labels, hits = _checked("difference", first, second, labels, paired=paired)
    used = weights > 0
    weights, labels, hits = weights[used], labels[used], [each[:, used] for each in hits]
    outcomes = hits[1].mean(0) - hits[0].mean(0)
    sign = _orientation(outcomes)
    value = float(sign * outcomes @ weights)
    images = effective_images(labels, prior)
    low, high = _quantiles(_deviations(sign * outcomes, labels, weights, images, draws))
    if not bool(outcomes.any()):  # nothing tells the methods apart, so neither may the draws
        low, high = -max(-low, high), max(-low, high)
    seeds = float(_seed_margin(hits[0] @ weights, hits[1] @ weights, paired=paired))
    return _interval(value, value * images / (images + 2), low, high, seeds, sign)


def class_differences(first: Hits, second: Hits, labels: Labels, classes: int, *, paired: bool) -> list[Difference | None]:
    """Difference of the recalls of each class (C,), None for a class without images; arguments as for `difference`.

    Of one class the interval is that of Bonett and Price (2012): with two more images, on which one method alone is right, the
    mean m and the variance v of the outcomes give m -+ 1.96 sqrt(v / (n + 2)).
    """
    labels, hits = _checked("class_differences", first, second, labels, paired=paired, classes=classes)
    counts = torch.bincount(labels, minlength=classes).double()
    recalls = [_sums(each, labels, classes) / counts for each in hits]
    outcomes = (hits[1].mean(0) - hits[0].mean(0))[None]
    sums, squares = (_sums(values, labels, classes)[0] for values in (outcomes, outcomes**2))
    means, values = sums / (counts + 2), sums / counts
    margins = Z95 * (((squares + 2) / (counts + 2) - means**2) / (counts + 2)).sqrt()
    seeds = _seed_margin(*recalls, paired=paired).expand(classes)
    columns = zip(counts.tolist(), values.tolist(), means.tolist(), margins.tolist(), seeds.tolist(), strict=True)
    return [_interval(value, mean, -half, half, seed, 1) if n else None for n, value, mean, half, seed in columns]


def _checked(
    owner: str, first: Hits, second: Hits, labels: Labels, *, paired: bool, classes: int | None = None
) -> tuple[Tensor, list[Tensor]]:
    """The labels (M,), and the hits of both methods (seeds, M) as float64, all on the CPU."""
    classes_of = as_labels(owner, labels, classes=classes, on_cpu=True)
    named = (("first", first), ("second", second))
    hits = [as_hits(owner, each, rows="seeds", images=len(classes_of), name=name).double() for name, each in named]
    if not all(map(len, hits)) or (paired and len(hits[0]) != len(hits[1])):
        raise UserError(
            f"{owner} needs a run of each method at least, and as many of both where they are `paired`; got {len(hits[0])} and "
            f"{len(hits[1])}."
        )
    return classes_of, hits


def _orientation(outcomes: Outcomes) -> int:
    """1, or -1 where the first method is better, so that draws do not depend on which of the two comes first."""
    told = outcomes.sum() if float(outcomes.sum()) else outcomes[outcomes != 0][:1].sum()
    return -1 if float(told) < 0 else 1


def _deviations(outcomes: Outcomes, labels: Labels, weights: Tensor, images: float, draws: int) -> Tensor:
    """Deviations of the weighted mean outcome in bootstrap draws (draws,). Classes that are alike are drawn as one."""
    values, kind = torch.unique(torch.cat([outcomes, outcomes.new_tensor([-1.0, 1.0])]), return_inverse=True)
    further, kind = torch.bincount(kind[-2:], minlength=len(values)), kind[:-2]
    _, group = torch.unique(labels, return_inverse=True)
    counts = torch.bincount(group)[:, None].double()
    seen = torch.bincount(group * len(values) + kind, minlength=len(counts) * len(values)).reshape(len(counts), -1).double()
    shares = torch.zeros(len(counts), dtype=torch.float64).index_add_(0, group, weights)[:, None]
    every = (shares * seen / counts).sum(0)
    enlarged = shares * (1 - counts / (counts + 1) ** 2) ** -0.5 / counts
    rows, alike = torch.unique(torch.cat([enlarged, counts, seen], 1), dim=0, return_counts=True)
    enlarged, counts, seen = rows[:, 0], rows[:, 1], rows[:, 2:]
    chances = (images * (seen + every) / (counts + 1)[:, None] + further) / (images + 2)
    generator = torch.Generator().manual_seed(0)
    size = max(AT_ONCE // len(rows), 1)
    parts = [_drawn(chances, values, counts * alike, min(size, draws - begin), generator) for begin in range(0, draws, size)]
    deviations: Tensor = torch.cat(parts) @ enlarged
    return deviations


def _drawn(chances: Tensor, values: Tensor, numbers: Tensor, draws: int, generator: torch.Generator) -> Tensor:
    """Sums of outcomes drawn with their chances (R, K), so many for each row (R,), less the expected sums: (draws, R)."""
    left, rest = numbers.expand(draws, -1).clone(), torch.ones(len(numbers), dtype=torch.float64)
    sums = -(numbers * (chances @ values)).expand(draws, -1)
    for chance, value in zip(chances.T[:-1], values[:-1], strict=True):
        taken = torch.binomial(left, (chance / rest).clamp(0, 1).expand(draws, -1), generator=generator)
        sums, left, rest = sums + value * taken, left - taken, (rest - chance).clamp(min=1e-300)
    return sums + values[-1] * left


def _quantiles(deviations: Tensor) -> tuple[float, float]:
    low, high = torch.quantile(deviations, torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return low, high


def _seed_margin(first: Float[Tensor, " *values"], second: Float[Tensor, " *values"], *, paired: bool) -> Tensor:
    """Half the width of the interval that comes from the seeds, from the value of each run (seeds, ...); 0 for single runs.

    With the same seeds, runs are compared seed by seed, since methods may share a first stage; else the variances are added, and
    the degrees of freedom are those of the method with fewer seeds. A single run has the variance of the other method's runs.
    """
    parts = [second - first] if paired else [first, second]
    known = [part for part in parts if len(part) > 1]
    if not known:
        return torch.zeros(first.shape[1:], dtype=torch.float64)
    degrees = min(len(part) for part in known) - 1
    quantile: float = T95[degrees - 1] if degrees <= len(T95) else Z95 + 2.7 / degrees
    variances = [(part if len(part) > 1 else known[0]).var(0) / len(part) for part in parts]
    return torch.sqrt(torch.stack(variances).sum(0)) * quantile


def _interval(value: float, centre: float, low: float, high: float, seeds: float, sign: int) -> Difference:
    """The interval around the centre, widened by the seeds' part; it holds the value and ends at -1 and 1."""
    ends = max(min(centre - math.hypot(low, seeds), value), -1.0), min(max(centre + math.hypot(high, seeds), value), 1.0)
    first, last = sorted(sign * end for end in ends)
    return Difference(sign * value, first, last)


def _sums(values: Float[Tensor, "rows images"], labels: Int[Tensor, " images"], classes: int) -> Float[Tensor, "rows classes"]:
    return values.new_zeros(len(values), classes).index_add_(1, labels, values)
