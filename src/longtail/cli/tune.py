"""The command that tunes a finished run, and what it prints."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from rich.table import Table

from longtail.cli.options import in_flags
from longtail.cli.show import console, say, text
from longtail.cli.tables import result_table
from longtail.data.priors import said_of_no_share
from longtail.inference.calibrated import HIGHEST, LOWEST
from longtail.results import percent
from longtail.runs.report import read_report
from longtail.workflow.tuning import OWN, Tuning, tune, untune


def run_tune(folder: Path, data: Path | None, **how: Any) -> None:
    """Tunes the run, and prints what was chosen, what it changes on validation images, and the result on the test images."""
    found = tune(folder, data, **how)
    say(text(in_flags(found.tuned.sentence)))
    if left := _without_a_share(found):
        say(text(left))
    if found.kept:
        unread = "No image is read" + (f", and '{text(data)}' is not needed." if data is not None else ".")
        say(f"The run was trained again on all images: these are predictions of the network that auto compared. {unread}")
    say(_validation_table(found))
    say(_gain(found))
    for sentence in _said_of_probabilities(found):
        say(text(sentence))
    if found.before is not None and found.after is not None:
        say(result_table({"as trained": found.before, "tuned": found.after}))
    console.print(f"Run folder: [bold]{text(folder)}[/bold]", highlight=False, soft_wrap=True)
    say(text(f"predict, evaluate, compare and export use these values; longtail tune {folder} --undo removes them."))


def _without_a_share(found: Tuning) -> str:
    """Sentence on the classes that the tuned scores never name; "" where there are none."""
    shares = found.tuned.frequencies if found.tuned.target else None
    if shares is None:
        return ""
    classes = [entry.name for entry in read_report(found.folder).classes]
    return said_of_no_share(found.tuned.prior, classes, torch.tensor(shares))


def run_undo(folder: Path) -> None:
    """Removes what was chosen for a run."""
    said = "is again as it was trained" if untune(folder) else "was not tuned; nothing is changed"
    say(text(f"'{folder}' {said}."))


def _validation_table(found: Tuning) -> Table:
    title = "validation images; after: with values chosen for each fifth on the others"
    title += "; before: with the strength that auto chose on all of them" * found.kept
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for heading in ("before", "after"):
        table.add_column(heading, justify="right")
    before, after = found.tuned.before, found.tuned.after
    table.add_row(text(_measure(found)), percent(before["accuracy"], unit=" %"), percent(after["accuracy"], unit=" %"))
    table.add_row("negative log-likelihood", f"{before['nll']:.3f}", f"{after['nll']:.3f}")
    errors = (percent(each["calibration_error"], unit=" %") for each in (before, after))
    table.add_row("calibration error (ECE)", *errors)
    return table


def _said_of_probabilities(found: Tuning) -> Iterator[str]:
    """Sentences on the class frequencies for which probabilities are judged, and on what did not become better."""
    of = f"the class prior '{found.tuned.prior}'" if found.tuned.target else "the class frequencies that its scores are meant for"
    yield f"Likelihood and calibration error of validation images are under {of}; those of test images have each count the same."
    if not 1.1 * LOWEST < found.tuned.temperature < 0.9 * HIGHEST:
        yield "The temperature is at the end of its range, so that the probabilities are not to be trusted."
    before, after = ((each.test.calibration_error if each else math.nan) for each in (found.before, found.after))
    if after > before:
        yield f"On the test images the calibration error rises, from {percent(before, unit=' %')} to {percent(after, unit=' %')}."


def _measure(found: Tuning) -> str:
    prior = found.tuned.prior
    if prior == "uniform":
        return "mean recall"
    return "accuracy for the frequencies of its rule" if prior == OWN else f"accuracy under {Path(prior).name}"


def _gain(found: Tuning) -> str:
    gain = found.gain
    noise = ", within noise" if gain.within_noise else ""
    kept = "" if found.tuned.strength or found.tuned.target else " The rule is kept: no other strength did better."
    before, after = (found.tuned.before["nll"], found.tuned.after["nll"])
    doubt = " These images show no gain, and the probabilities fit them less well: --undo may be the better choice."
    worse = doubt if gain.within_noise and after > before and not kept else ""
    ends = f"{100 * gain.low:+.1f} to {100 * gain.high:+.1f}"
    return f"Gain: {100 * gain.value:+.1f} points, 95 % interval {ends}{noise}.{kept}{worse}"
