"""What a rule is given: one forward pass over a set of images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from jaxtyping import Float, Int
from torch import Tensor

from longtail.errors import UserError

Scores = Float[Tensor, "images classes"]
InferenceRule = Callable[..., Scores]
Reference = Literal["train", "val", "test"]


@dataclass(frozen=True)
class Predictions:
    """One forward pass over a set of images.

    Args:
        features: (M, D), what the head saw.
        logits: (M, C), calibrated by the head's scale.
        labels: (M,), class indices; -1 where the class is not known.
        class_counts: TRAINING images per class (C,).
        head: the head's state: `weight` (C, D), and `bias` (C,), `class_scale` (C,), `scale` () where it has them.
    """

    features: Float[Tensor, "images features"]
    logits: Scores
    labels: Int[Tensor, " images"]
    class_counts: Float[Tensor, " classes"]
    head: Mapping[str, Tensor] = field(default_factory=dict)


def as_trained(predictions: Predictions, *, reference: Predictions | None = None) -> Scores:
    """The logits as they are."""
    return predictions.logits


def given(reference: Predictions | None, rule: str, split: Reference) -> Predictions:
    """The reference, or what has to be passed.

    Raises:
        UserError: there is none.
    """
    if reference is None:
        raise UserError(f"{rule} has to be fitted: pass reference=, the predictions on the {split} images.")
    return reference
