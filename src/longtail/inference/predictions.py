"""The contract of post hoc rules: what a rule gets, one forward pass over a set of images, and what it returns, scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from jaxtyping import Float, Int
from torch import Tensor

Scores = Float[Tensor, "images classes"]

InferenceRule = Callable[..., Scores]
"""A post hoc rule: `rule(predictions) -> scores (M, C)`, with every other argument a keyword that has a default.

* It gets the `Predictions` on M images and returns one score per image and class, on the device and of the type of the logits.
  The highest score decides; the softmax of an image's scores is what is shown as its probabilities, so logits stay logits.
* It is pure: equal predictions give equal scores, it draws no random numbers, and it changes none of the tensors it gets, since
  the same predictions are used to fit it, to evaluate it and to be stored.
* M may be 1, and the labels are then -1: a rule does not look at `predictions.labels`. What fits it may, on its own split.
* Its keywords are its hyper-parameters: those that have a value are part of the experiment's hash, so they are numbers, texts,
  truth values or functions. Fix them with `functools.partial`.
* A rule that has to learn something from a split declares that with `fitted_on`. What it learned is fixed as its keywords and
  stored with the run: tensors in model/model.safetensors as `inference.KEYWORD`, the rest in model/config.json.
  `longtail.load` restores the fitted rule from there; one that lies in a file of the user's own with `trust_code=True`.
"""

Reference = Literal["train", "val", "test"]
"""Name of the split that a rule is fitted on."""


@dataclass(frozen=True)
class Predictions:
    """One forward pass over a set of images: all that a post hoc rule gets.

    Args:
        features: (M, D), what the head saw, float32.
        logits: (M, C), float32, calibrated by the head's scale.
        labels: (M,), class indices; -1 where the class is not known.
        class_counts: TRAINING images per class (C,), float64, whatever the images of the pass are.
        head: the head's state: `weight` (C, D), and `bias` (C,), `class_scale` (C,), `scale` () where it has them; a head that
            wraps another has the names of the one inside as `inner.weight` and so on.
    """

    features: Float[Tensor, "images features"]
    logits: Scores
    labels: Int[Tensor, " images"]
    class_counts: Float[Tensor, " classes"]
    head: Mapping[str, Tensor] = field(default_factory=dict)


def as_trained(predictions: Predictions) -> Scores:
    """The logits as they are."""
    return predictions.logits
