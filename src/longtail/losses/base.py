"""The contract of losses (`Loss`, `FeatureLoss`), and the means and checks that they share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal, TypeVar

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float, Int
from torch import Tensor, nn

from longtail.errors import UserError, WrongTypeError
from longtail.heads.base import Head, at_least_float32, mean_over_processes
from longtail.weighting import Counts, as_counts

Form = Literal["softmax", "sigmoid"]
Name = TypeVar("Name", bound=str)


class Loss(nn.Module):
    """A loss as the engine trains with it: built `Loss(class_counts, *, ..., weight=None)`, called `loss(logits, labels)`.

    A loss of your own derives from this class, hands `class_counts` and `weight` to `super().__init__` and writes `forward`,
    which is called under autocast and returns a scalar. What the engine does with each attribute:

    class_counts: buffer (C,), float64, training images per class. It is checked here and never changed.
    weight: buffer (C,), float64, weight of every image of a class. Each epoch begins with overwriting it in place by the stage's
        `reweight`, so a weight given at construction holds where the loss is used without a stage. `forward` applies it.
    scale: factor that `forward` puts on the logits, 1 where the loss has none. It becomes the `scale` of the head when the stage
        ends, so that the stored network gives the logits that the loss saw.
    requires_head: class that the head must have (the innermost one where heads wrap), None for any. Another head is refused
        when the stage begins.
    draws_random_numbers: whether `forward` draws. It then takes `generator=None` as a keyword and draws from it alone; steps
        hand it the epoch's generator, so that a resumed run draws the same numbers.
    reduced: method for what `forward` adds to its own buffers, so that all processes hold the same.
    feature_loss: name of the submodule under which a stage's loss on features is added; keep it free.

    Its parameters are trained, and named `loss.*` in `learning_rates`. Parameters and buffers are all that a checkpoint stores,
    so everything that `forward` changes is one of the two. A loss that contains others hands its `generator` on to them; the
    engine sets their `weight` too.

    Args:
        class_counts: training images per class (C,).
        weight: weight per class (C,). None: all one.

    Raises:
        UserError: a class has no images, or the weights are not one non-negative number per class with one above 0.

    >>> class SoftenedLoss(Loss):
    ...     def forward(self, logits, labels):
    ...         return mean_cross_entropy(at_least_float32(logits) / 2, labels, self.weight)
    >>> SoftenedLoss([100, 10, 1])(torch.tensor([[4.0, 2.0, 0.0]]), torch.tensor([0])).item()
    0.40760...
    """

    class_counts: Tensor
    weight: Tensor
    scale: float = 1.0
    requires_head: ClassVar[type[Head] | None] = None
    draws_random_numbers: ClassVar[bool] = False

    def __init__(self, class_counts: Counts, *, weight: Counts | None = None) -> None:
        super().__init__()
        counts = as_counts(class_counts)
        weights = torch.ones_like(counts) if weight is None else torch.as_tensor(weight, dtype=torch.float64)
        if weights.shape != counts.shape or bool((weights < 0).any()) or not bool(weights.sum() > 0):
            raise UserError(
                f"`weight` must hold one non-negative number per class, not all zero: expected shape {tuple(counts.shape)}, "
                f"got {tuple(weights.shape)}."
            )
        self.register_buffer("class_counts", counts)
        self.register_buffer("weight", weights.detach().clone())

    def reduced(self, increment: Tensor) -> Tensor:
        """The mean of an increment over all processes, each of which took the mean over its own batch; unchanged alone.

        With batches of one size and no weights this is what one process would add for the joined batch.
        """
        return mean_over_processes(increment)

    def class_indices(self, labels: Tensor) -> Tensor:
        """The labels (B,), refused where they are class probabilities."""
        if labels.is_floating_point():
            raise WrongTypeError(
                f"{type(self).__name__} needs class indices of shape (B,); got {labels.dtype} labels of shape "
                f"{tuple(labels.shape)}. For mixed labels call it once per label and mix the two losses (longtail.steps.mixup)."
            )
        return labels

    def above_zero(self, name: str, value: float) -> float:
        """A hyper-parameter, refused where it is not above 0."""
        if not value > 0:
            raise UserError(f"{type(self).__name__} needs `{name}` above 0; got {value}.")
        return value


class FeatureLoss(Loss):
    """A loss on features (B, D) instead of logits, called `loss(features, labels)`: the `feature_loss` of a stage.

    The engine builds it with the network's `feature_size` and adds it to the stage's loss as `loss.feature_loss`, where the step
    finds it. Its `weight` stays as it was built.

    Args:
        class_counts: training images per class (C,).
        feature_size: length D of a feature.
        weight: weight per class (C,). None: all one.
    """

    def __init__(self, class_counts: Counts, *, feature_size: int, weight: Counts | None = None) -> None:
        super().__init__(class_counts, weight=weight)
        self.feature_size = feature_size

    def checked_features(self, features: Tensor) -> Tensor:
        """The features, at least in float32, refused where they have another length than the loss was built for."""
        if features.shape[-1] != self.feature_size:
            raise UserError(
                f"{type(self).__name__} was built for features of length {self.feature_size}; got shape {tuple(features.shape)}."
            )
        return at_least_float32(features)


def weighted_mean(
    per_sample: Float[Tensor, " batch"], labels: Int[Tensor, " batch"], weight: Float[Tensor, " classes"]
) -> Float[Tensor, ""]:
    """sum_i w[y_i] l_i / sum_i w[y_i], torch's meaning of `weight`."""
    image_weight = weight.to(per_sample.dtype)[labels]
    return (image_weight * per_sample).sum() / image_weight.sum()


def mean_cross_entropy(logits: Float[Tensor, "batch classes"], labels: Tensor, weight: Tensor) -> Float[Tensor, ""]:
    """Weighted mean of the cross-entropy; labels are class indices (B,) or class probabilities (B, C)."""
    if not labels.is_floating_point():
        return weighted_mean(F.cross_entropy(logits, labels, reduction="none"), labels, weight)
    share = labels.to(logits.dtype)
    per_sample = -(share * logits.log_softmax(1)).sum(1)
    image_weight = (share * weight.to(logits.dtype)).sum(1)
    return (image_weight * per_sample).sum() / image_weight.sum()


def focal_terms(
    logits: Float[Tensor, "batch classes"], labels: Int[Tensor, " batch"], gamma: float, form: Form
) -> Float[Tensor, " batch"]:
    """Focal loss of every image, in one of its two forms."""
    if form == "softmax":
        cross_entropy = F.cross_entropy(logits, labels, reduction="none")
        return missed(cross_entropy) ** gamma * cross_entropy if gamma else cross_entropy
    signed = logits * (2 * F.one_hot(labels, logits.shape[1]) - 1)
    missing = -F.logsigmoid(signed)
    return (torch.exp(-gamma * (signed + missing)) * missing).sum(1)


def missed(cross_entropy: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
    """1 - p of the true class; kept above 0, where a root would have an infinite slope."""
    return (-torch.expm1(-cross_entropy)).clamp(min=torch.finfo(cross_entropy.dtype).tiny)


def known(kind: str, name: Name, names: Sequence[str]) -> Name:
    """`name`, refused where it is none of `names`."""
    if name not in names:
        raise UserError(f"There is no {kind} {name!r}; there are {', '.join(map(repr, names[:-1]))} and {names[-1]!r}.")
    return name
