"""Chooses the strength of a finished run's rule and the temperature of its scores on its validation images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from longtail.bootstrap import Difference
from longtail.choosing import Prior
from longtail.data.priors import read_prior
from longtail.errors import MissingFileError, UserError
from longtail.inference import InferenceRule, Predictions, as_trained, fitted, logit_adjusted, rebalanced
from longtail.inference.adjusted import as_frequencies, log_frequencies
from longtail.inference.fitting import function_of, keywords_of
from longtail.runs.card import CARD, model_card
from longtail.runs.code import needs_trust
from longtail.runs.devices import chosen_device
from longtail.runs.files import encoded
from longtail.runs.folder import CHECKSUMS
from longtail.runs.frequencies import STRENGTH, recorded_frequencies, trained_frequencies
from longtail.runs.held_out import Kept, kept
from longtail.runs.judging import judged_again, regrouped_report
from longtail.runs.layout import Folder, chosen_run
from longtail.runs.model_reading import read_model
from longtail.runs.report import RunReport, read_report
from longtail.runs.run import Run
from longtail.runs.seals import sha256, write_json
from longtail.runs.tuned import Tuned, read_tuned, undo, weights_of, write_tuned
from longtail.spec.description import parameters_of
from longtail.workflow.trials import LOGITS_ALONE
from longtail.workflow.tuned_values import Grid, Problem, chosen_values
from longtail.workflow.validation import Place, validation_predictions, validation_rows

OWN = "that of its rule"  # the class prior of a rule that was given class frequencies
TO_TWO = tuple(step / 10 for step in range(21))
AROUND_ZERO = tuple(step / 10 for step in range(-10, 11))
TO_FOUR = tuple(step / 10 for step in range(41))


@dataclass(frozen=True)
class Tuning:
    """What was chosen for a run, and what changed.

    Args:
        folder: the run folder.
        tuned: the values that were chosen.
        gain: difference of the accuracies under the prior on the validation images, after and before, with its interval.
        kept: whether the predictions on them are those that a comparison keeps of the network that it compared.
        before, after: results on the stored test predictions; None where the run stored none.
    """

    folder: Path
    tuned: Tuned
    gain: Difference
    kept: bool
    before: RunReport | None
    after: RunReport | None


def tune(
    run: Folder,
    data: str | Path | None = None,
    *,
    prior: str | None = None,
    root: str | Path | None = None,
    outside: bool = False,
    device: str | torch.device = "auto",
    trust_code: bool = False,
) -> Tuning:
    """Chooses the strength of the run's rule and a temperature on its validation images, and stores them beside the run.

    The strength (tau of logit adjustment, tau-normalisation and prediction re-balancing, alpha of TDE) is the most usual one that
    the best under the class prior does not beat by more than one standard error; plain scores get logit adjustment. Then scores
    are divided by the temperature with the lowest negative log-likelihood, images weighing as the prior says. Each is kept as it
    was where, chosen for each fifth of the images on the other four, it makes that number worse. Test images are looked at once
    afterwards, to report the result.
    `longtail.load`, `predict`, `evaluate`, `compare` and `export` use the values; `untune` removes them.

    Args:
        run: folder of the run or its result, or folder of a comparison, of which the chosen run is tuned; where that was trained
            again on all images, on what the compared network said of the validation images.
        data: the folder or CSV that it was trained on; not needed for named settings.
        prior: class frequencies in use: uniform, train, or a CSV label,share; None for those of the rule, else uniform.
        root: folder that holds the data of named settings; $LONGTAIL_DATA or ./data if not given.
        outside: whether a CSV may name files outside its folder.
        device: where the network computes: auto, cpu or cuda.
        trust_code: run the user's own code that the run was trained with, if the model needs any.

    Raises:
        UserError: the run has no validation images, or they are not where they are said to be; there is no such prior.
    """
    kind, asked = chosen_device(device), Path(run).expanduser()
    own = Run(chosen_run(asked))
    report = read_report(own.folder)
    model, config, rule = read_model(own, trust_code=trust_code)
    weights = weights_of(own)
    below, sources = (None if path is None else Path(path).expanduser() for path in (data, root))
    place = Place(below, sources, outside)
    shares, name = _wanted(rule, prior, config)
    place.check()
    of_compared = _kept(asked, own, rule)
    val = of_compared.predictions if of_compared else validation_predictions(own, model.eval().to(kind), config, place)
    if not bool(shares[val.labels].sum() > 0):
        raise UserError(f"The class prior '{name}' gives no share to any class that has validation images.")
    target = None if bool((shares == shares[0]).all()) else tuple(shares.tolist())
    problem = _problem(own, rule, val, shares, target, report)
    if of_compared is not None and of_compared.scored:
        problem = _of_scores(problem)
    tuned, gain = chosen_values(problem, name)
    with own.locked():
        own.forget()
        if weights_of(own) != weights:
            raise UserError(f"'{own.folder}' was trained anew while it was tuned; tune it again.")
        write_tuned(own, tuned)
        _write_card(own, report, config)
    return Tuning(own.folder, tuned, gain, of_compared is not None, *_on_test_images(own, trust_code=trust_code))


def untune(run: Folder) -> bool:
    """Removes what `tune` stored for a run, and says whether there was anything."""
    own = Run(chosen_run(Path(run).expanduser()))
    report = read_report(own.folder)
    with own.locked():
        there = undo(own)
        if there:
            _write_card(own, report, own.read_json("model/config.json")["longtail"])
    return there


def _kept(folder: Path, run: Run, rule: InferenceRule) -> Kept | None:
    """What a comparison keeps of its validation images where its run was trained again on all images; else None."""
    found = kept(folder)
    lacking = found is None and folder != run.folder and not validation_rows(run)
    if lacking or (found is not None and not found.scored and function_of(rule) not in LOGITS_ALONE):
        raise UserError(
            f"'{folder}' does not hold what its network said of the validation images, as one of an earlier version; `fresh` "
            f"makes it anew."
        )
    return found


def _wanted(rule: InferenceRule, prior: str | None, config: Mapping[str, Any]) -> tuple[Prior, str]:
    """The class frequencies in use (C,), and their name."""
    given = keywords_of(rule).get("target")
    if prior is None and given is not None:
        return as_frequencies(given, len(config["classes"])), OWN
    return read_prior(prior or "uniform", config["classes"], config["class_counts"]), prior or "uniform"


def _problem(
    run: Run, rule: InferenceRule, val: Predictions, prior: Prior, target: tuple[float, ...] | None, report: RunReport
) -> Problem:
    function = function_of(rule)
    if function is rebalanced:  # the run's sums are over its test images
        rule = fitted(partial(rebalanced, tau=parameters_of(rule)["tau"], source="val"), val)
    present = recorded_frequencies(run.record, report.class_counts)
    keyword = STRENGTH.get(function, "tau" if function is as_trained and present.shares is not None else "")
    grid, usual = _grid(run, function, report) if keyword else ((0.0,), 0.0)
    if keyword and function not in (as_trained, logit_adjusted):
        usual = float(parameters_of(rule)[keyword])
    return Problem(rule, val, prior, target, keyword, grid, usual, present)


def _of_scores(problem: Problem) -> Problem:
    """The problem on scores that are kept in place of logits, which have no strength any more, but the rule's frequencies."""
    rule, val, target = as_trained, problem.val, keywords_of(problem.rule).get("target")
    if target is not None:
        rule = partial(logit_adjusted, tau=0.0, target=target)
        val = replace(val, logits=val.logits - log_frequencies(target, val.logits.shape[1]).to(val.logits))
    return replace(problem, rule=rule, val=val, keyword="", grid=(0.0,), usual=0.0)


def _grid(run: Run, function: Any, report: RunReport) -> tuple[Grid, float]:
    """Strengths to choose among, and the usual one: around 0 for networks that were trained to give equal frequencies."""
    if function not in (as_trained, logit_adjusted):
        return (TO_TWO if STRENGTH[function] == "tau" else TO_FOUR), 1.0
    try:
        trained = trained_frequencies(run.record, report.class_counts).shares
    except UserError:
        trained = None
    balanced = trained is not None and bool((trained == trained[0]).all())
    return (AROUND_ZERO, 0.0) if balanced else (TO_TWO, 1.0)


def _on_test_images(run: Run, *, trust_code: bool) -> tuple[RunReport | None, RunReport | None]:
    """Results before and after on the predictions that are stored; None where there are none."""
    try:
        before = regrouped_report(run.folder, groups=read_report(run.folder).group_rule)
        return before, judged_again(run.folder, groups=before.group_rule, trust_code=trust_code).report
    except MissingFileError:
        return None, None


def _write_card(run: Run, report: RunReport, config: Mapping[str, Any]) -> None:
    """Writes the model card anew with what was chosen, and its checksum; runs of release 0.1.0 have none."""
    if CARD not in run.checksums:
        return
    tuned = read_tuned(run)
    said = "" if tuned is None else tuned.sentence
    card = encoded(model_card(report, run.record, size=config["size"], own_code=needs_trust(run.folder), tuned=said))
    files = {**run.checksums, CARD: sha256(card)}
    run.write(CARD, card)
    write_json(run.folder, CHECKSUMS, {"experiment": run.record["experiment"], "files": files})
    run.__dict__.pop("checksums", None)
