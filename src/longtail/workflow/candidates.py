"""What `auto` chooses among: networks, and the results of each way in which one is read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Tensor

from longtail.choosing import Comparison, Prior, chosen_strengths
from longtail.engine.evaluation import ForwardPasses
from longtail.errors import UserError
from longtail.inference import InferenceRule
from longtail.spec.description import parameters_of
from longtail.workflow.readings import READINGS
from longtail.workflow.readings import Reading as Reading
from longtail.workflow.resolve import recipe_function

Hits = Bool[Tensor, " images"]
RuleAt = Callable[[float | None], InferenceRule]


@dataclass(frozen=True)
class Tried:
    """A reading on validation images: whether it is right on each, and the strength that was chosen for it."""

    reading: Reading
    hits: Hits
    tau: float | None = None


@dataclass(frozen=True)
class Candidate:
    """A reading with its result on the validation images, and its cost in passes over the training images."""

    reading: Reading
    tau: float | None
    cost: float
    result: Comparison


def readings_of(names: str) -> dict[str, tuple[Reading, ...]]:
    """The readings of the candidates in a list such as ce,la; any recipe is a candidate under its own name.

    Raises:
        UserError: the list is empty, or there is no such candidate or recipe.
    """
    wanted = list(dict.fromkeys(name.strip() for name in names.split(",") if name.strip()))
    if not wanted:
        raise UserError(f"`candidates` names none; give a list such as {','.join(READINGS)}.")
    return {name: READINGS[name] if name in READINGS else (_of_method(name),) for name in wanted}


def _of_method(name: str) -> Reading:
    """The reading of any recipe, as it is."""
    return Reading(name, name, targets="target" in parameters_of(recipe_function(name)))


def tried(
    reading: Reading, rule: Callable[[float | None], InferenceRule], passes: Sequence[ForwardPasses], prior: Prior
) -> Tried:
    """Reads the networks of all folds on their validation images, which are pooled.

    A strength is chosen for each fifth of the images on the other four, so that its own choice does not favour the reading; the
    strength that is kept is chosen on all of them.

    Args:
        rule: gives the inference rule for a strength.
        passes: the network of each fold, with its validation images.
        prior: class frequencies in use.
    """
    val = [each.over("val") for each in passes]
    labels = torch.cat([predictions.labels for predictions in val])

    def right(tau: float | None) -> Hits:
        scores = [each.fit(rule(tau), to="val")(predictions) for each, predictions in zip(passes, val, strict=True)]
        return torch.cat([each.argmax(1) for each in scores]) == labels

    if not reading.grid:
        return Tried(reading, right(None))
    every = torch.stack([right(tau) for tau in reading.grid])
    strengths = chosen_strengths(every, labels, prior, [abs(tau - reading.usual) for tau in reading.grid])
    return Tried(reading, every[strengths.of_images, torch.arange(len(labels))], reading.grid[strengths.best])
