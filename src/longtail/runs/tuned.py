"""What `longtail tune` chose for a finished run, stored beside it: the strength of its rule, a temperature, class frequencies."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import torch

from longtail.errors import DamagedFile
from longtail.inference import InferenceRule, adapted, as_trained, logit_adjusted, retrained
from longtail.inference.adjusted import log_frequencies
from longtail.inference.fitting import function_of
from longtail.runs.folder import CHECKSUMS, RunFolder
from longtail.runs.seals import read_json, write_json

TUNED = "tuned.json"
MODEL = "model/model.safetensors"
VERSION = 1
AGAIN = "`longtail tune` writes it anew, and `longtail tune RUN --undo` removes it."


@dataclass(frozen=True)
class Tuned:
    """Values that were chosen on the validation images of a run.

    Args:
        prior: name of the class prior that was asked for: uniform, train, or the name of a file.
        frequencies: class frequencies (C,) that the tuned scores are meant for; None where all classes are alike.
        strength: the keyword of the run's rule that holds its strength, with the value that was chosen; empty where the rule was
            kept as it is.
        temperature: number that the scores are divided by.
        target: whether the rule is given the frequencies, or was kept with those that it was meant for.
        images: number of validation images.
        before, after: what was measured on them, the latter with values chosen for each fifth of the images on the others.
    """

    prior: str
    frequencies: tuple[float, ...] | None
    strength: Mapping[str, float]
    temperature: float
    target: bool
    images: int
    before: Mapping[str, float]
    after: Mapping[str, float]

    @property
    def sentence(self) -> str:
        """What was chosen, in a sentence."""
        return f"Tuned on {self.images:,} validation images for the class prior '{self.prior}': {self.values}."

    @property
    def values(self) -> str:
        """The values that were chosen, as "tau 0.9, temperature 1.31"."""
        strength = [f"{name} {value:g}" for name, value in self.strength.items()]
        return ", ".join([*(strength or ["rule kept"]), f"temperature {self.temperature:.3g}"])


def tuned_rule(
    rule: InferenceRule, strength: Mapping[str, float], temperature: float, frequencies: Sequence[float] | None, *, adjust: bool
) -> InferenceRule:
    """A rule with another strength, a temperature and class frequencies in use; logit adjustment takes the place of none.

    Args:
        rule: the fitted rule.
        strength: keyword of its strength with the value; empty to keep it.
        temperature: number that the scores are divided by.
        frequencies: class frequencies in use (C,); None where all classes are alike.
        adjust: whether the scores are adjusted to these frequencies.
    """
    own: Any = logit_adjusted if strength and function_of(rule) is as_trained else rule
    rule = partial(own, **strength) if strength else rule
    offset = None
    if adjust and takes_target(rule):
        rule = partial(rule, target=frequencies)
    elif adjust and frequencies is not None:
        offset = tuple((log_frequencies(frequencies, len(frequencies)) / temperature).tolist())
    return rule if offset is None and temperature == 1 else partial(adapted, rule=rule, temperature=temperature, offset=offset)


def takes_target(rule: InferenceRule) -> bool:
    """Whether the rule adds the log of class frequencies in use by itself, so that others take their place."""
    return function_of(rule) in (logit_adjusted, retrained)


def in_use(run: RunFolder, rule: InferenceRule, classes: int) -> tuple[InferenceRule, list[str]]:
    """The rule of a finished run with the values that were chosen for it, if any were, and a sentence on these.

    Raises:
        DamagedFile: tuned.json is damaged, or was written for another model.
    """
    tuned = read_tuned(run)
    if tuned is None:
        return rule, []
    frequencies = tuned.frequencies if tuned.target else None
    if frequencies is not None and len(frequencies) != classes:
        raise DamagedFile(f"'{run.folder / TUNED}' is for {len(frequencies)} classes; the run has {classes}. {AGAIN}")
    return tuned_rule(rule, tuned.strength, tuned.temperature, frequencies, adjust=tuned.target), [tuned.sentence]


def read_tuned(run: RunFolder) -> Tuned | None:
    """What was chosen for the run; None where nothing was.

    Raises:
        DamagedFile: tuned.json is damaged, or was written for other weights.
    """
    path = run.folder / TUNED
    if not path.exists():
        return None
    content = read_json(run.folder, TUNED)
    try:
        if content["version"] != VERSION or content["weights"] != weights_of(run):
            raise DamagedFile(f"'{path}' was written for other weights than the run has now. {AGAIN}")
        return _restored({each.name: content[each.name] for each in fields(Tuned)})
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, DamagedFile):
            raise
        raise DamagedFile(f"'{path}' is damaged: it does not say what was chosen. {AGAIN}") from error


def _restored(values: dict[str, Any]) -> Tuned:
    shares = values["frequencies"]
    values["frequencies"] = None if shares is None else tuple(map(float, shares))
    values |= {name: {str(k): float(v) for k, v in values[name].items()} for name in ("strength", "before", "after")}
    if not float(values["temperature"]) > 0 or not torch.tensor(shares or [1.0]).isfinite().all():
        raise ValueError(json.dumps(values))
    return Tuned(**values)


def write_tuned(run: RunFolder, tuned: Tuned) -> None:
    """Writes tuned.json, with the hash of the weights that the values are for; the caller holds the lock of the folder."""
    write_json(run.folder, TUNED, {"version": VERSION, "weights": weights_of(run), **vars(tuned)})


def undo(run: RunFolder) -> bool:
    """Deletes tuned.json, and says whether there was one; the caller holds the lock of the folder."""
    there = (run.folder / TUNED).exists()
    (run.folder / TUNED).unlink(missing_ok=True)
    return there


def weights_of(run: RunFolder) -> str:
    """Hash of the weights of a finished run; "" for runs of release 0.1.0, which stored none."""
    return run.checksums.get(MODEL, "") if (run.folder / CHECKSUMS).exists() else ""
