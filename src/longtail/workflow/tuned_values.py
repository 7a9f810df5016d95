"""Chooses the strength of a rule and a temperature on validation images, and measures them on images they were not chosen on."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from longtail.bootstrap import Difference, difference
from longtail.choosing import Prior, Strengths, chosen_strengths, image_weights
from longtail.inference import InferenceRule, Predictions
from longtail.inference.calibrated import best_temperature
from longtail.metrics import expected_calibration_error
from longtail.runs.frequencies import Frequencies
from longtail.runs.tuned import Tuned, takes_target, tuned_rule

Grid = tuple[float, ...]


@dataclass(frozen=True)
class Problem:
    """What is tuned: a rule on validation images, for a class prior.

    Args:
        rule: the run's fitted rule, as it is applied to validation images.
        val: predictions on them.
        prior: class frequencies in use (C,).
        target: the same for rules that add their log; None where all classes are alike.
        keyword: the keyword of the rule's strength; "" where it has none.
        grid: strengths to choose among.
        usual: the one that is chosen among equal ones.
        present: class frequencies that the scores are meant for as they are.
    """

    rule: InferenceRule
    val: Predictions
    prior: Prior
    target: tuple[float, ...] | None
    keyword: str
    grid: Grid
    usual: float
    present: Frequencies

    def scores(self, strength: float | None) -> Tensor:
        """Scores (M, C) at a strength, adjusted to the prior; None for the run's own, as they are."""
        if strength is None:
            return self.rule(self.val)
        given = {self.keyword: strength} if self.keyword else {}
        return tuned_rule(self.rule, given, 1.0, self.target, adjust=True)(self.val)

    def hits(self, scores: Tensor) -> Tensor:
        """Whether each image is classified correctly (M,)."""
        return scores.argmax(1) == self.val.labels


def chosen_values(problem: Problem, name: str) -> tuple[Tuned, Difference]:
    """Chooses strength and temperature, and measures them with values that were chosen on other images."""
    val, present = problem.val, problem.scores(None)
    strengths, adjusted = _strengths(problem)
    hits = [problem.hits(each)[None] for each in (present, adjusted)]
    weights = image_weights(val.labels, problem.prior)
    adjust = _may_adjust(problem) and bool((hits[1].double() @ weights) >= (hits[0].double() @ weights))
    best = problem.grid[strengths.best] if adjust else None
    after = adjusted if adjust else present
    meant = problem.prior if adjust or problem.present.shares is None else problem.present.shares
    meant = meant if bool(meant[val.labels].sum() > 0) else problem.prior
    temperature, cooled = _temperature(problem, best, after, meant, strengths, adjust=adjust)
    strength = {problem.keyword: best} if best is not None and problem.keyword else {}
    numbers = [_measured(scores, val.labels, problem.prior, meant) for scores in (present, cooled)]
    frequencies = problem.target if adjust else None
    tuned = Tuned(name, frequencies, strength, temperature, adjust, len(val.labels), *numbers)
    gain = difference(hits[0], problem.hits(after)[None], val.labels, problem.prior, paired=True)
    return tuned, gain


def _may_adjust(problem: Problem) -> bool:
    """Whether the scores can be meant for the prior: by the rule, or since they are meant for equal frequencies now."""
    known = problem.present.shares
    equal = known is not None and bool((known == known[0]).all())
    by_rule = bool(problem.keyword) or takes_target(problem.rule)
    return by_rule or (equal and (problem.target is None or problem.present.probabilities))


def _strengths(problem: Problem) -> tuple[Strengths, Tensor]:
    """The strengths, and the scores (M, C) of each image at the strength that was chosen without it."""
    labels, odd = problem.val.labels, [abs(each - problem.usual) for each in problem.grid]
    if not _may_adjust(problem):
        every = torch.stack([problem.hits(problem.scores(None))])
        return chosen_strengths(every, labels, problem.prior, odd), problem.scores(None)
    every = torch.stack([problem.hits(problem.scores(each)) for each in problem.grid])
    strengths = chosen_strengths(every, labels, problem.prior, odd)
    scores = problem.scores(problem.usual).clone()
    for index in sorted(set(strengths.of_parts.tolist())):
        shown = strengths.of_images == index
        scores[shown] = problem.scores(problem.grid[index])[shown]
    return strengths, scores


def _temperature(
    problem: Problem, best: float | None, scores: Tensor, meant: Prior, strengths: Strengths, *, adjust: bool
) -> tuple[float, Tensor]:
    """The temperature for the scores at the best strength, and the scores (M, C) at temperatures that were chosen without them.

    Args:
        scores: scores of each image at the strength that was chosen without it.
        meant: class frequencies that the scores are meant for, as which images weigh.
    """
    labels, cooled = problem.val.labels, scores.clone()
    for part, index in enumerate(strengths.of_parts.tolist()):
        shown, others = strengths.part == part, strengths.part != part
        if bool(shown.any()) and bool(meant[labels[others]].sum() > 0):
            there = problem.scores(problem.grid[index]) if adjust else scores
            cooled[shown] = scores[shown] / _fitted_temperature(problem.val, there, others, meant)
    if _likelihood(cooled, labels, meant) > _likelihood(scores, labels, meant):
        return 1.0, scores
    return _fitted_temperature(problem.val, problem.scores(best), torch.ones_like(labels, dtype=torch.bool), meant), cooled


def _fitted_temperature(val: Predictions, scores: Tensor, shown: Tensor, meant: Prior) -> float:
    labels = val.labels[shown]
    some = replace(val, features=val.features[shown], logits=scores[shown], labels=labels)
    return best_temperature(some, image_weights(labels, meant))


def _likelihood(scores: Tensor, labels: Tensor, prior: Prior) -> float:
    """Mean negative log-likelihood of the labels, images weighing as the prior says."""
    return float(F.cross_entropy(scores.double(), labels, reduction="none") @ image_weights(labels, prior))


def _measured(scores: Tensor, labels: Tensor, prior: Prior, meant: Prior) -> dict[str, float]:
    """Accuracy under the prior; log-likelihood and calibration error under the frequencies that the scores are meant for."""
    right = (scores.argmax(1) == labels).double()
    return {
        "accuracy": float(right @ image_weights(labels, prior)),
        "nll": _likelihood(scores, labels, meant),
        "calibration_error": expected_calibration_error(scores.softmax(1), labels, weights=image_weights(labels, meant)),
    }
