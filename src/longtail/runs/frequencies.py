"""Class frequencies that the scores of a run are meant for, and what adjusts them to others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from longtail.data.priors import read_prior, said_of_no_share
from longtail.errors import UserError
from longtail.inference import (
    as_trained,
    deconfounded,
    logit_adjusted,
    nearest_class_mean,
    rebalanced,
    retrained,
    tau_normalised,
    temperature_scaled,
)
from longtail.inference.adjusted import as_frequencies, log_frequencies
from longtail.inference.fitting import function_of, keywords_of
from longtail.runs.folder import RunFolder
from longtail.runs.tuned import read_tuned
from longtail.spec.description import parameters_of
from longtail.spec.parts import RULE, restore
from longtail.weighting import Progress, as_counts

STRENGTH = {logit_adjusted: "tau", rebalanced: "tau", tau_normalised: "tau", deconfounded: "alpha"}
NO_PROBABILITIES = (tau_normalised, nearest_class_mean)
AS_IN_TRAINING, BALANCED = 0.75, 0.25
Shares = Float[Tensor, " classes"]


@dataclass(frozen=True)
class Frequencies:
    """Class frequencies that scores are meant for.

    Args:
        shares: share of each class (C,), with sum 1; None where it cannot be known.
        words: the frequencies in words, with the reason.
        probabilities: whether the softmax of the scores is a probability, so that the log of other frequencies may be added.
    """

    shares: Shares | None
    words: str
    probabilities: bool = True


def frequencies_of(run: RunFolder, counts: Sequence[int]) -> Frequencies:
    """The class frequencies that the scores of a finished run are meant for: those it was tuned for, else by rule and training.

    Args:
        run: the run, whose record is read.
        counts: training images per class (C,).
    """
    tuned = read_tuned(run)
    if tuned is None:
        return recorded_frequencies(run.record, counts)
    if not tuned.target:
        return replace(recorded_frequencies(run.record, counts), probabilities=True)
    shares = torch.ones(len(counts)) if tuned.frequencies is None else torch.tensor(tuned.frequencies, dtype=torch.float64)
    return Frequencies(_scaled(shares), f"the class prior '{tuned.prior}' as it was when the run was tuned for it")


def recorded_frequencies(record: Mapping[str, Any], counts: Sequence[int]) -> Frequencies:
    """The class frequencies that scores are meant for, by the inference rule and the last stage of the record.

    A rule with a `target` is for that; one that removes the training frequencies, at whatever strength, is for equal ones.
    """
    try:
        rule = restore(record["recipe"]["inference"], RULE)
        function, keywords = function_of(rule), keywords_of(rule)
        equal = _scaled(torch.ones(len(counts)))
        if keywords.get("target") is not None:
            return Frequencies(as_frequencies(keywords["target"], len(counts)), "the class frequencies that its rule was given")
        if function in NO_PROBABILITIES:
            return Frequencies(equal, f"equal frequencies, as {function.__name__} gives them", probabilities=False)
        if function is retrained or (function in STRENGTH and parameters_of(rule)[STRENGTH[function]] != 0):
            return Frequencies(equal, f"equal frequencies, as {function.__name__} gives them")
        if function in (as_trained, temperature_scaled, *STRENGTH):
            return trained_frequencies(record, counts)
    except (UserError, KeyError, TypeError, IndexError, AttributeError):
        pass  # the user's own code, which is not run for this
    return Frequencies(None, "frequencies that cannot be known: the run is made of a user's own rule, loss or draw")


def trained_frequencies(record: Mapping[str, Any], counts: Sequence[int]) -> Frequencies:
    """The class frequencies that the network's logits are meant for, by the loss, the draw and the weights of its last stage.

    A loss that balances the classes makes them equal, as does a second draw. Otherwise they are those in which images of each
    class are drawn, times their weight, at the end of the stage: q_j = n_j r_j w_j. Where q rises as n does, or hardly
    changes with it (the slope of log q against log n is at least 3/4, or at most 1/4), they are the training frequencies, or
    equal ones.

    Raises:
        UserError: the stage is made of parts of a user's own.
    """
    stage, images = record["recipe"]["stages"][-1], as_counts(counts)
    loss, end = restore(stage["loss"]), Progress(stage["epochs"] - 1, stage["epochs"])
    name = function_of(loss).__name__
    balances = getattr(function_of(loss), "balances", False) and parameters_of(loss).get("tau") != 0
    if balances or stage["companion"] is not None:
        return Frequencies(
            _scaled(torch.ones(len(counts))), f"equal frequencies, as {name if balances else 'two draws'} made them"
        )
    drawn = _scaled(images * restore(stage["resample"])(images, end) * restore(stage["reweight"])(images, end))
    rise = images.log() - images.log().mean()
    slope = float((drawn.log() * rise).sum() / rise.square().sum()) if float(rise.abs().max()) > 0 else 1.0
    if slope <= BALANCED:
        return Frequencies(_scaled(torch.ones(len(counts))), "equal frequencies, in which the classes were drawn and weighted")
    if slope >= AS_IN_TRAINING:
        return Frequencies(_scaled(images), f"the training frequencies, as {name} learned them")
    return Frequencies(
        drawn, "frequencies between the training ones and equal ones, in which the classes were drawn and weighted"
    )


@dataclass(frozen=True)
class Shift:
    """What is added to scores so that they are meant for other class frequencies (C,), and a sentence on it."""

    offset: Tensor
    sentence: str


def shift_to(
    run: RunFolder, prior: str, classes: Sequence[str], counts: Sequence[int], *, of_prior: Sequence[int] | None = None
) -> Shift:
    """What adjusts the scores of a finished run to a class prior: the log of its frequencies less that of the present ones.

    Args:
        prior: "uniform", "train", or a CSV with the header label,share.
        classes: names of the classes (C,).
        counts: training images per class (C,).
        of_prior: images per class (C,) that "train" means, as those of another run; `counts` if not given.

    Raises:
        UserError: there is no such prior, or the present frequencies cannot be known, or the scores are no log-probabilities.
    """
    wanted, present = read_prior(prior, classes, counts if of_prior is None else of_prior), frequencies_of(run, counts)
    begin = f"The scores of '{run.folder}' cannot be adjusted to the class prior '{prior}'"
    if present.shares is None:
        raise UserError(f"{begin}, since they are meant for {present.words}.")
    if not present.probabilities:
        raise UserError(f"{begin}: they are no log-probabilities. `longtail tune {run.folder} DATA` makes them some.")
    offset = log_frequencies(wanted.tolist(), len(wanted)) - log_frequencies(present.shares.tolist(), len(wanted))
    said = f"Scores are adjusted to the class prior '{prior}'; the run's own are meant for {present.words}."
    if float(offset.abs().max()) < 1e-9:
        offset = offset * 0
        said = f"The scores are meant for the class prior '{prior}' already ({present.words}); they stay as they are."
    return Shift(offset, " ".join(filter(None, (said, said_of_no_share(prior, classes, wanted)))))


def _scaled(shares: Tensor) -> Tensor:
    return shares.double() / shares.sum()
