"""The contract of post hoc rules: a rule gets the `Predictions` of one forward pass over a set of images and returns scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from longtail.arguments import as_labels, as_rows, in_a_program
from longtail.errors import UserError
from longtail.weighting import as_counts

Scores = Float[Tensor, "images classes"]

InferenceRule = Callable[..., Scores]
"""A post hoc rule: `rule(predictions) -> scores (M, C)`, with every other argument a keyword that has a default.

* It gets the `Predictions` on M images and returns one score per image and class, with the device and the dtype of the logits.
  The class with the highest score is predicted; the softmax of an image's scores is reported as its probabilities, so a rule
  returns scores on the scale of logits, not probabilities.
* It is pure: equal predictions give equal scores, it draws no random numbers, and it changes none of the tensors it gets, since
  the same predictions are used to fit and to evaluate the rule and are then stored.
* M may be 1, and the label is then -1: a rule does not look at `predictions.labels`. The function that fits it may, on its split.
* Its keywords are its hyper-parameters: those that have a value are part of the experiment's hash, so they are numbers, strings,
  booleans or functions. Fix them with `functools.partial`.
* A rule that has to learn something from a split declares that with `fitted_on`. The learned values become keywords of the rule
  and are stored with the run: tensors in model/model.safetensors as `inference.KEYWORD`, the rest in model/config.json.
  `longtail.load` restores the fitted rule from there; a rule from a file of the user's own needs `trust_code=True`.
"""

Reference = Literal["train", "val", "test"]
"""Name of the split that a rule is fitted on."""


@dataclass(frozen=True)
class Predictions:
    """Results of one forward pass over a set of images, the only input of a post hoc rule.

    Args:
        features: features (M, D) that the head was given, float32.
        logits: logits (M, C) of the head, float32, calibrated by the head's scale.
        labels: class indices (M,), integers of any type; -1 where the class is not known.
        class_counts: TRAINING images per class (C,), float64, whichever images the forward pass is over.
        head: the head's state: `weight` (C, D), and `bias` (C,), `class_scale` (C,), `scale` () where it has them; a head that
            wraps another has the tensors of the inner head as `inner.weight` and so on.
    """

    features: Float[Tensor, "images features"]
    logits: Scores
    labels: Int[Tensor, " images"]
    class_counts: Float[Tensor, " classes"]
    head: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Brings all fields into the forms above, from tensors, arrays or lists.

        Raises:
            UserError: a shape does not fit the others, or a label is neither a class index nor -1.
        """
        if in_a_program():
            return
        logits = in_float(as_rows("Predictions", self.logits, name="logits"))
        images, classes = logits.shape
        features = in_float(as_rows("Predictions", self.features, rows=images, name="features", of="feature"))
        labels = as_labels("Predictions", self.labels, classes=classes, images=images, also=(-1,))
        counts = as_counts(self.class_counts)
        if len(counts) != classes:
            raise UserError(f"Predictions needs one count for each of {classes} classes as `class_counts`; got {len(counts)}.")
        for name, value in (("features", features), ("logits", logits), ("labels", labels), ("class_counts", counts)):
            object.__setattr__(self, name, value)


def images_per_class(rule: str, train: Predictions) -> Int[Tensor, " classes"]:
    """Number of images of each class among those that a rule is fitted on.

    Raises:
        UserError: a class has none, so that nothing is known about it.
    """
    counts = torch.bincount(train.labels, minlength=train.logits.shape[1])
    absent = torch.nonzero(counts == 0).flatten().tolist()
    if absent:
        raise UserError(f"{rule} is fitted on images of every class; there are none of the classes {absent[:10]}.")
    return counts


def in_float(values: Tensor) -> Tensor:
    """Values in half precision as float32; float32 and float64 unchanged."""
    return values if values.dtype == torch.float64 else values.float()


def in_full_precision(predictions: Predictions) -> torch.autocast:
    """A context in which products have the precision of their factors, where the caller computes under autocast."""
    return torch.autocast(predictions.logits.device.type, enabled=False)


def like(values: Tensor, other: Tensor) -> Tensor:
    """The values in the type and on the device of another tensor, converted before they are moved to a device without float64."""
    return values.to(other.dtype).to(other.device)


def as_trained(predictions: Predictions) -> Scores:
    """Returns the logits unchanged."""
    return predictions.logits
