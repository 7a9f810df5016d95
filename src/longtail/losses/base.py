"""The contract of losses (`Loss`, `FeatureLoss`), and the checks of arguments that losses share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, TypeVar

import torch
from torch import Tensor

from longtail.arguments import IGNORED, Numbers, as_labels, as_probabilities, as_rows, as_tensor, described
from longtail.errors import UserError, WrongTypeError
from longtail.heads.base import Head, PreciseModule, at_least_float32, needs_tensor
from longtail.losses.means import Form as Form
from longtail.losses.means import mean_cross_entropy as mean_cross_entropy
from longtail.losses.means import weighted_mean as weighted_mean
from longtail.losses.ranges import needs_cosines
from longtail.together import mean_over_processes
from longtail.weighting import Counts, as_counts, as_weights

Name = TypeVar("Name", bound=str)


class Loss(PreciseModule):
    """Base class of losses: built as `Loss(class_counts, *, ..., weight=None)`, called as `loss(logits, labels)`.

    A loss of your own derives from this class, passes `class_counts` and `weight` to `super().__init__` and implements
    `forward`, which is called under autocast, begins with `logits, labels = self.checked(logits, labels)` and returns a scalar.
    The engine uses the attributes as follows:

    class_counts: buffer (C,), float64 (float32 on devices without), training images per class, checked here and never changed.
    weight: buffer (C,), of the same type, weight of every image of a class. At the beginning of each epoch the engine overwrites
        it in place with the weights of the stage's `reweight`, so a weight given at construction takes effect only where the loss
        is used without a stage. `forward` applies it, cast to the logits' type: `self.weight.to(logits.dtype)`.
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
    learning: whether `forward` may change the loss's own buffers: in training mode, where gradients are recorded. In evaluation
        mode it draws no random numbers either.
    ignores: whether images with the label -100 are left out, as by torch's losses; else it is refused where it can be read.
    takes_cosines: whether the logits are cosines, which the loss scales; of others it warns once (`range`), unless the loss is
        trained by the engine, which checks the head.
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
    ...         logits, labels = self.checked(logits, labels)
    ...         return mean_cross_entropy(self.scale * logits, labels, self.weight)
    >>> SoftenedLoss([100, 10, 1])(torch.tensor([[4.0, 2.0, 0.0]]), torch.tensor([0])).item()
    0.40760...
    """

    class_counts: Tensor
    weight: Tensor
    scale: float = 1.0
    requires_head: ClassVar[type[Head] | None] = None
    draws_random_numbers: ClassVar[bool] = False
    balances: ClassVar[bool] = False
    takes_cosines: ClassVar[bool] = False
    ignores: ClassVar[bool] = True

    def __init__(self, class_counts: Counts, *, weight: Counts | None = None) -> None:
        super().__init__()
        counts = as_counts(class_counts)
        weights = torch.ones_like(counts) if weight is None else as_weights(weight, len(counts))
        self.register_buffer("class_counts", counts)
        self.register_buffer("weight", weights.detach().clone())
        self.range = needs_cosines(type(self).__name__) if self.takes_cosines else None

    def reduced(self, increment: Tensor) -> Tensor:
        """The mean of an increment over all processes, each of which took the mean over its own batch; unchanged in one process.

        With batches of equal size and no weights this is the increment that one process would add for the joined batch.
        """
        return mean_over_processes(increment)

    def checked(self, logits: Tensor, labels: Numbers, *, shares: bool = False) -> tuple[Tensor, Tensor]:
        """The logits (B, C) in float32 at least, and the labels (B,) as int64, of which -100 stands for an image to ignore.

        Args:
            logits: logits of the network, one per class of `class_counts`.
            labels: class indices, as a tensor, an array or a list of integers of any type.
            shares: whether the labels may be class probabilities (B, C) instead, which are then returned.

        Raises:
            WrongTypeError: the logits are no tensor, or the labels no integers.
            UserError: a shape does not fit, a label is no class index (checked on the CPU; a GPU stops by itself), or loss and
                logits are on different devices.
        """
        name, classes = type(self).__name__, len(self.class_counts)
        logits = as_rows(name, needs_tensor(name, logits, "logits"), columns=classes, name="logits")
        self.check_device(logits)
        if self.range is not None:
            self.range.look_at(logits)
        given = as_tensor(name, labels, "labels")
        if shares and given.is_floating_point() and given.ndim > 1:
            probabilities = as_probabilities(name, given, columns=classes, rows=len(logits), name="labels")
            return at_least_float32(logits), self._beside(probabilities, labels, logits)
        return at_least_float32(logits), self._beside(self.class_indices(labels, len(logits)), labels, logits)

    def class_indices(self, labels: Numbers, images: int | None = None) -> Tensor:
        """Returns the labels (B,) as int64; raises an error if they are no class indices."""
        name = type(self).__name__
        given = as_tensor(name, labels, "labels")
        if given.is_floating_point() and given.ndim == 2:
            raise WrongTypeError(
                f"{name} needs class indices of shape (B,); got {given.dtype} labels of shape {tuple(given.shape)}. For mixed "
                f"labels, call the loss once per label and mix the two values, as in longtail.steps.mixup."
            )
        also = (IGNORED,) if self.ignores else ()
        return as_labels(name, labels, classes=len(self.class_counts), images=images, also=also)

    def check_device(self, values: Tensor) -> None:
        """Refuses values on another device than the loss."""
        if values.device != self.weight.device:
            here, there = self.weight.device, values.device
            raise UserError(f"{type(self).__name__} is on {here} and its input on {there}; move the loss with `.to('{there}')`.")

    def _beside(self, given: Tensor, labels: Numbers, logits: Tensor) -> Tensor:
        """The labels on the device of the logits, where they came as an array or a list; a tensor has to be there already."""
        if isinstance(labels, Tensor) and given.device != logits.device:
            raise UserError(
                f"{type(self).__name__} got logits on {logits.device} and labels on {given.device}; move one of them."
            )
        return given.to(logits.device)

    def above_zero(self, name: str, value: float) -> float:
        """Returns the value of the hyper-parameter `name`; raises an error if it is no finite number above 0."""
        if self.at_least(-math.inf, name, value) <= 0:
            raise UserError(f"{type(self).__name__} needs `{name}` above 0; got {value}.")
        return value

    def at_least(self, least: float, name: str, value: float) -> float:
        """Returns the value of the hyper-parameter `name`; raises an error if it is no finite number, or below `least`."""
        try:
            number = math.nan if isinstance(value, str) else float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not math.isfinite(number) or number < least:
            wanted = "a finite number" if least == -math.inf else f"a finite number of at least {least:g}"
            raise UserError(f"{type(self).__name__} needs {wanted} as `{name}`; got {value!r}.")
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

    def checked(self, features: Tensor, labels: Numbers, *, shares: bool = False) -> tuple[Tensor, Tensor]:
        """The features (B, D) in float32 at least, and the labels (B,) as int64, checked as by `Loss.checked`."""
        features = self.checked_features(features)
        if self.range is not None:
            self.range.look_at(features)
        return features, self._beside(self.class_indices(labels, len(features)), labels, features)

    def checked_features(self, features: Tensor) -> Tensor:
        """Returns the features, in float32 at least; raises an error if they are not of shape (B, `feature_size`)."""
        name = type(self).__name__
        if needs_tensor(name, features, "features").ndim != 2 or features.shape[1] != self.feature_size:
            raise UserError(f"{name} was built for features of length {self.feature_size}; got {described(features)}.")
        self.check_device(features)
        return at_least_float32(as_rows(name, features, name="features", of="feature"))


def checked_smoothing(smoothing: float) -> float:
    """Returns the label smoothing; raises an error if it is no share below 1."""
    if not 0 <= smoothing < 1:
        raise UserError(f"`smoothing` is a share, at least 0 and below 1; got {smoothing}.")
    return smoothing


def known(kind: str, name: Name, names: Sequence[str]) -> Name:
    """Returns `name`; raises an error if it is not one of `names`."""
    if name not in names:
        raise UserError(f"There is no {kind} {name!r}; there are {', '.join(map(repr, names[:-1]))} and {names[-1]!r}.")
    return name
