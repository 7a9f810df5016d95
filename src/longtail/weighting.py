"""Image weights per class: one vocabulary for re-weighting the loss and re-sampling the data.

A rule is a function `(class_counts, progress) -> weights (C,)`. Weight j applies to every IMAGE of class j, in the loss
or in sampling, so sampling draws class j with probability n_j w_j / sum_k n_k w_k. Only ratios of weights matter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from longtail.arguments import Numbers, as_tensor, as_vector, described, exact, has_values
from longtail.errors import UserError, WrongTypeError

Counts = Any  # numbers per class in the order of the class indices: a list, an array, a tensor, or a dict by class index
Weights = Float[Tensor, " classes"]
Rule = Callable[..., Weights]


@dataclass(frozen=True)
class Progress:
    """Progress of a stage: it is in `epoch` of `epochs` and `step` of `steps`; epochs and steps are counted from 0."""

    epoch: int = 0
    epochs: int = 1
    step: int = 0
    steps: int = 1

    @property
    def fraction(self) -> float:
        """Fraction of the stage that is completed, in [0, 1)."""
        return (self.epoch + self.step / self.steps) / self.epochs

    def of(self, epochs: int) -> Progress:
        """The same epoch and step in a stage of so many epochs."""
        there = copy(self)
        object.__setattr__(there, "epochs", epochs)
        return there


def as_counts(class_counts: Counts) -> Weights:
    """Returns the training images per class as a new float64 vector (C,); raises an error if a class has none.

    Args:
        class_counts: one number per class, in the order of the class indices; or a dict or Counter whose keys are the indices.

    Raises:
        WrongTypeError: they are no numbers, or the keys are no class indices.
        UserError: the vector is empty, not one-dimensional, not finite, or a count is not positive (the class is named).
    """
    given = as_tensor("A loss or rule", in_order("class_counts", class_counts), "class_counts")
    if given.is_complex() or given.dtype == torch.bool:
        raise WrongTypeError(f"class_counts must be real numbers; got {described(given)}.")
    counts = exact(given).detach().clone()
    if counts.ndim != 1 or len(counts) == 0:
        raise UserError(f"class_counts must be a vector with one count per class; got shape {tuple(counts.shape)}.")
    if not has_values(counts):
        return counts
    empty = torch.nonzero(~(counts > 0) | ~torch.isfinite(counts)).flatten().tolist()
    if empty:
        raise UserError(
            f"class_counts[{empty[0]}] is {counts[empty[0]].item():g}, but every class needs at least one training image "
            f"(classes without images: {empty[:10]}). Remove those classes from the counts and from the head."
        )
    return counts


def as_weights(weight: Counts, classes: int) -> Weights:
    """Returns weights per class as a float64 vector (C,); raises an error unless they are finite, none below 0, one above it."""
    return _checked_weights(as_vector("A loss", in_order("weight", weight), length=classes, name="weight"), "weight", "class")


def as_image_weights(owner: str, weights: Numbers, images: int) -> Float[Tensor, " images"]:
    """Returns weights per image as a float64 vector (M,); raises an error unless they are finite, none below 0, one above it."""
    return _checked_weights(as_vector(owner, weights, length=images, name="weights", of="image"), "weights", "image")


def _checked_weights(given: Tensor, name: str, of: str) -> Tensor:
    weights = exact(given).detach()
    if bool((weights < 0).any()) or not bool(weights.sum() > 0) or not bool(weights.isfinite().all()):
        values = f" with values from {weights.min():g} to {weights.max():g}" if len(weights) else ""
        raise UserError(
            f"`{name}` must hold one non-negative number per {of}, finite and not all zero: got {len(weights)}{values}."
        )
    return weights


def in_order(name: str, values: Counts) -> Any:
    """The values of a dict or Counter in the order of its keys, which have to be the class indices; anything else unchanged."""
    if not isinstance(values, Mapping):
        return values
    classes = range(len(values))
    if any(isinstance(key, bool) for key in values) or set(values) != set(classes):
        raise WrongTypeError(
            f"`{name}` is a {type(values).__name__} whose keys are not the class indices 0 to {max(len(values) - 1, 0)}, so the "
            f"order of the classes is not known: give a list, such as [{name}[name] for name in classes]."
        )
    return [values[label] for label in classes]


def uniform(class_counts: Counts, progress: Progress | None = None) -> Weights:
    """Gives every image the same weight (instance-balanced). Sampling with it is a permutation, without replacement."""
    return torch.ones_like(as_counts(class_counts))


def power(class_counts: Counts, progress: Progress | None = None, *, exponent: float = -1.0) -> Weights:
    """n ** exponent: class-balanced at -1, square-root at -1/2. The decoupling paper's q is 1 + exponent.

    >>> power([100, 25], exponent=-0.5).tolist()
    [0.1, 0.2]
    """
    return as_counts(class_counts) ** exponent


def effective_number(class_counts: Counts, progress: Progress | None = None, *, beta: float = 0.9999) -> Weights:
    """(1 - beta) / (1 - beta ** n): one over the effective number of images (Cui et al., CVPR 2019, Eq. 2)."""
    return _inverse_effective_number(as_counts(class_counts), torch.tensor(beta, dtype=torch.float64))


def class_based_effective_number(
    class_counts: Counts, progress: Progress | None = None, *, a: float = 0.999, b: float = 0.0009
) -> Weights:
    """CBEN: the effective number with a beta per class, beta_j = a + b d_j, d_j = log(n_max / n_j) / max_k log(n_max / n_k).

    Sampler of the second stage of GCL (Li et al., CVPR 2022). The defaults are the paper's; the released code has a=0.9999,
    b=1e-5, which is nearly class-balanced.
    """
    counts = as_counts(class_counts)
    return _inverse_effective_number(counts, a + b * relative_rarity(counts))


def progressive(class_counts: Counts, progress: Progress | None = None) -> Weights:
    """(1 - t) / N + t / (C n): from instance- to class-balanced (Kang et al., ICLR 2020, Eq. 3).

    t = epoch / (epochs - 1), which stays at 1 in epochs beyond the last.
    """
    counts = as_counts(class_counts)
    progress = progress or Progress()
    t = min(progress.epoch / max(progress.epochs - 1, 1), 1)
    return (1 - t) / counts.sum() + t / (len(counts) * counts)


def reverse(class_counts: Counts, progress: Progress | None = None) -> Weights:
    """n ** -2: class probability proportional to 1 / n, the reversed sampler of BBN (Zhou et al., CVPR 2020, Eq. 4)."""
    return as_counts(class_counts) ** -2


def deferred(class_counts: Counts, progress: Progress | None = None, *, rule: Rule, start: float = 0.8) -> Weights:
    """`uniform` at first, then `rule` after the fraction `start` of the epochs (LDAM-DRW, Cao et al., NeurIPS 2019)."""
    progress = progress or Progress()
    begun = progress.epoch >= start * progress.epochs - 1e-9
    return rule(class_counts, progress) if begun else uniform(class_counts, progress)


def relative_rarity(counts: Weights) -> Weights:
    """log(n_max / n) scaled to [0, 1]: 0 for the largest class, 1 for the rarest, 0 everywhere on balanced counts."""
    return scaled_to_one((counts.max() / counts).log())


def scaled_to_one(sizes: Weights) -> Weights:
    """Divides the sizes by their maximum; a vector of zeros is returned unchanged."""
    largest = sizes.max()
    return sizes / torch.where(largest > 0, largest, 1)


def _inverse_effective_number(counts: Weights, beta: Tensor) -> Weights:
    if has_values(beta) and not bool(((beta >= 0) & (beta < 1)).all()):
        raise UserError(f"An effective number needs beta in [0, 1); got {beta.min().item():g} to {beta.max().item():g}.")
    return (1 - beta) / -torch.expm1(counts * beta.log())
