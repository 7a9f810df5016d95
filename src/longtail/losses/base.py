"""The contract of losses (`Loss`, `FeatureLoss`), and the weighted means and the checks of arguments that losses share."""

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
    """Base class of losses: built as `Loss(class_counts, *, ..., weight=None)`, called as `loss(logits, labels)`.

    A loss of your own derives from this class, passes `class_counts` and `weight` to `super().__init__` and implements
    `forward`, which is called under autocast and returns a scalar. The engine uses the attributes as follows:

    class_counts: buffer (C,), float64, training images per class. It is checked here and never changed.
    weight: buffer (C,), float64, weight of every image of a class. At the beginning of each epoch the engine overwrites it in
        place with the weights of the stage's `reweight`, so a weight given at construction takes effect only where the loss is
        used without a stage. `forward` applies it, cast to the logits' type: `self.weight.to(logits.dtype)`.
    scale: factor by which `forward` multiplies the logits, 1 where the loss has none. It becomes the `scale` of the head when
        the stage ends, so that the stored network gives the logits that the loss was computed from.
    requires_head: class that the head must be an instance of (the innermost head where heads wrap each other), None for any.
        Any other head is refused when the stage begins.
    draws_random_numbers: whether `forward` draws random numbers. If so, it takes `generator=None` as a keyword and draws from
        that generator alone; training steps pass it the epoch's generator, so that a resumed run draws the same numbers.
    balances: whether the plain logits of a network that was trained with it are meant for classes that are all alike in
        frequency; if not, they are for the frequencies in which the stage draws and weights the classes. No step reads it: it
        tells `longtail predict --prior` what to adjust.
    reduced: method that averages over all processes what `forward` adds to its own buffers, so that the buffers stay equal in
        all processes.
    feature_loss: name of the submodule under which a stage's loss on features is added; use it for nothing else.

    The parameters of the loss are trained, under the names `loss.*` in `learning_rates`. A checkpoint stores parameters and
    buffers only, so everything that `forward` changes must be one of the two. A loss that contains other losses passes its
    `generator` on to them; the engine sets their `weight` too.

    Args:
        class_counts: training images per class (C,).
        weight: weight per class (C,). None: all one.

    Raises:
        UserError: a class has no images, or `weight` is not one non-negative number per class, at least one of them above 0.

    >>> class SoftenedLoss(Loss):
    ...     scale = 0.5
    ...     def forward(self, logits, labels):
    ...         return mean_cross_entropy(self.scale * at_least_float32(logits), labels, self.weight)
    >>> SoftenedLoss([100, 10, 1])(torch.tensor([[4.0, 2.0, 0.0]]), torch.tensor([0])).item()
    0.40760...
    """

    class_counts: Tensor
    weight: Tensor
    scale: float = 1.0
    requires_head: ClassVar[type[Head] | None] = None
    draws_random_numbers: ClassVar[bool] = False
    balances: ClassVar[bool] = False

    def __init__(self, class_counts: Counts, *, weight: Counts | None = None) -> None:
        super().__init__()
        counts = as_counts(class_counts)
        weights = torch.ones_like(counts) if weight is None else torch.as_tensor(weight, dtype=torch.float64)
        if weights.shape != counts.shape or bool((weights < 0).any()) or not bool(weights.sum() > 0):
            span = f" with values from {weights.min():g} to {weights.max():g}" if weights.numel() else ""
            raise UserError(
                f"`weight` must hold one non-negative number per class, not all zero: expected shape {tuple(counts.shape)}, "
                f"got {tuple(weights.shape)}{span}."
            )
        self.register_buffer("class_counts", counts)
        self.register_buffer("weight", weights.detach().clone())

    def reduced(self, increment: Tensor) -> Tensor:
        """The mean of an increment over all processes, each of which took the mean over its own batch; unchanged in one process.

        With batches of equal size and no weights this is the increment that one process would add for the joined batch.
        """
        return mean_over_processes(increment)

    def class_indices(self, labels: Tensor) -> Tensor:
        """Returns the labels (B,); raises an error if they are class probabilities."""
        if labels.is_floating_point():
            raise WrongTypeError(
                f"{type(self).__name__} needs class indices of shape (B,); got {labels.dtype} labels of shape "
                f"{tuple(labels.shape)}. For mixed labels, call the loss once per label and mix the two values, as in "
                f"longtail.steps.mixup."
            )
        return labels

    def above_zero(self, name: str, value: float) -> float:
        """Returns the value of the hyper-parameter `name`; raises an error if it is not above 0."""
        if not value > 0:
            raise UserError(f"{type(self).__name__} needs `{name}` above 0; got {value}.")
        return value


class FeatureLoss(Loss):
    """Base class of losses on features (B, D) instead of logits, called as `loss(features, labels)`.

    The `feature_loss` of a stage is such a loss. The engine builds it with the length of the network's feature vectors as
    `feature_size` and adds it to the stage's loss as `loss.feature_loss`, where the training step finds it. Its `weight` keeps
    the value given at construction.

    Args:
        class_counts: training images per class (C,).
        feature_size: length D of a feature vector.
        weight: weight per class (C,). None: all one.
    """

    def __init__(self, class_counts: Counts, *, feature_size: int, weight: Counts | None = None) -> None:
        super().__init__(class_counts, weight=weight)
        self.feature_size = feature_size

    def checked_features(self, features: Tensor) -> Tensor:
        """Returns the features, in float32 at least; raises an error if their length is not `feature_size`."""
        if features.shape[-1] != self.feature_size:
            raise UserError(
                f"{type(self).__name__} was built for features of length {self.feature_size}; got shape {tuple(features.shape)}."
            )
        return at_least_float32(features)


def weighted_mean(
    per_sample: Float[Tensor, " batch"], labels: Int[Tensor, " batch"], weight: Float[Tensor, " classes"]
) -> Float[Tensor, ""]:
    """Weighted mean sum_i w[y_i] l_i / sum_i w[y_i], as torch's losses define it for `weight`."""
    image_weight = weight.to(per_sample.dtype)[labels]
    return (image_weight * per_sample).sum() / image_weight.sum()


def mean_cross_entropy(
    logits: Float[Tensor, "batch classes"], labels: Tensor, weight: Tensor, *, smoothing: float = 0.0
) -> Float[Tensor, ""]:
    """Weighted mean of the cross-entropy; labels are class indices (B,) or class probabilities (B, C).

    With label smoothing eps the target of class j is (1 - eps) share_j + eps / C (Szegedy et al., CVPR 2016, Sec. 7).
    """
    if not labels.is_floating_point():
        per_sample = F.cross_entropy(logits, labels, reduction="none", label_smoothing=smoothing)
        return weighted_mean(per_sample, labels, weight)
    share = labels.to(logits.dtype)
    per_sample = F.cross_entropy(logits, share, reduction="none", label_smoothing=smoothing)
    image_weight = (share * weight.to(logits.dtype)).sum(1)
    return (image_weight * per_sample).sum() / image_weight.sum()


def checked_smoothing(smoothing: float) -> float:
    """Returns the label smoothing; raises an error if it is no share below 1."""
    if not 0 <= smoothing < 1:
        raise UserError(f"`smoothing` is a share, at least 0 and below 1; got {smoothing}.")
    return smoothing


def focal_terms(
    logits: Float[Tensor, "batch classes"], labels: Int[Tensor, " batch"], gamma: float, form: Form
) -> Float[Tensor, " batch"]:
    """Focal loss of every image, in one of its two forms."""
    if form == "softmax":
        cross_entropy = F.cross_entropy(logits, labels, reduction="none")
        return one_minus_p(cross_entropy) ** gamma * cross_entropy if gamma else cross_entropy
    signed = logits * (2 * F.one_hot(labels, logits.shape[1]) - 1)
    binary_cross_entropy = -F.logsigmoid(signed)
    return (torch.exp(-gamma * (signed + binary_cross_entropy)) * binary_cross_entropy).sum(1)


def one_minus_p(cross_entropy: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
    """1 - p with p the probability of the true class; kept above 0, where the gradient of a root would be infinite."""
    return (-torch.expm1(-cross_entropy)).clamp(min=torch.finfo(cross_entropy.dtype).tiny)


def known(kind: str, name: Name, names: Sequence[str]) -> Name:
    """Returns `name`; raises an error if it is not one of `names`."""
    if name not in names:
        raise UserError(f"There is no {kind} {name!r}; there are {', '.join(map(repr, names[:-1]))} and {names[-1]!r}.")
    return name
