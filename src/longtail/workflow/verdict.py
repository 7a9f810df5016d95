"""Sentences on the choice of a method: what was chosen and how surely, what rare classes gained, and what common ones paid."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from longtail.bootstrap import Difference, difference
from longtail.choosing import image_weights, recall_interval
from longtail.data.groups import shot_groups
from longtail.data.imbalance import imbalance_factor
from longtail.data.splits import Data
from longtail.reporting.gathering import OF_TEST
from longtail.results import GROUPS, percent
from longtail.runs.judging import accuracy_under
from longtail.runs.report import RunReport
from longtail.workflow.candidates import Candidate, Tried
from longtail.workflow.request import Request
from longtail.workflow.trials import Trials

NO_TAIL = 3.0
FEW_IMAGES = 500


def verdict(
    every: Sequence[Tried], candidates: Sequence[Candidate], chosen: int, trials: Trials, saved: Sequence[float]
) -> list[str]:
    """Sentences on the choice, on rare and common classes, and on why re-balancing does not pay where it does not.

    Args:
        every: hits of each candidate on the validation images.
        candidates: the candidates, in the same order.
        chosen: index of the one that was chosen.
        trials: the validation images, and what was asked for.
        saved: what is saved by not taking each candidate (`weighing.saved_costs`).
    """
    labels, data, request = trials.labels, trials.data, trials.request
    said = [_choice(candidates, chosen, saved, _measured(request.class_prior, labels, data))]
    plain = next((index for index, candidate in enumerate(candidates) if candidate.reading.method == "ce"), None)
    if plain is not None and plain != chosen:
        said += _against_cross_entropy(every[plain].hits, every[chosen].hits, labels, data, request)
    elif plain is not None:
        said.append(_why_not(candidates, labels, data, request))
    else:
        said.append("What rare classes gain is seen beside cross-entropy: give it as one of the `candidates`, ce.")
    return said


def on_test_images(report: RunReport, prior: str) -> str:
    """Sentence on the result of the chosen method on the test images.

    Args:
        prior: name of the class frequencies in use.
    """
    interval = recall_interval(torch.tensor(report.test.recalls), torch.tensor(report.test.test_counts))
    evaluated = _of_classes(sum(count > 0 for count in report.test.test_counts), len(report.test.test_counts))
    images, recall = f"{report.images['test']:,} test images{evaluated}", _with(report.test.mean_recall, interval)
    in_use = "" if prior == "uniform" else f", {_measure(prior)} {percent(accuracy_under(report, prior))} %"
    return f"On the {images}{OF_TEST}mean recall {recall}{in_use}."


def _measured(prior: str, labels: Tensor, data: Data) -> str:
    """The measure and the validation images, in words."""
    of_classes = _of_classes(len(labels.unique()), len(data.classes))  # type: ignore[no-untyped-call]
    return f"{_measure(prior)} on {len(labels):,} validation images{of_classes}"


def _of_classes(shown: int, classes: int) -> str:
    return "" if shown == classes else f" of {shown} of the {classes} classes"


def _measure(prior: str) -> str:
    return "mean recall" if prior == "uniform" else f"expected accuracy under the class prior '{prior}'"


def _choice(candidates: Sequence[Candidate], chosen: int, saved: Sequence[float], measured: str) -> str:
    """What was chosen, what was measured of it, and how surely it is better than the next.

    Args:
        measured: the measure and the images, in words.
    """
    mine = candidates[chosen]
    strength = "" if mine.tau is None else f" ({mine.reading.keyword} {mine.tau:g})"
    recall = _with(mine.result.recall, mine.result.interval)
    begin = f"Chosen: {mine.reading.name}{strength}, {recall} {measured}"
    if len(candidates) == 1:
        return f"{begin}."
    if mine.result.behind > 0:
        index = min(range(len(candidates)), key=lambda index: candidates[index].result.behind)
        best, cheaper = candidates[index], saved[chosen] < saved[index]
        gap = f"{100 * mine.result.behind:.1f} ± {100 * mine.result.standard_error:.1f} points"
        why = "the cheaper is kept" if cheaper else "the chosen one is expected to be ahead on other images"
        close = f"which these images cannot tell from chance; {why}"
        return f"{begin}. {_capital(best.reading.name)} is {gap} ahead, {close}."
    others = [candidate for index, candidate in enumerate(candidates) if index != chosen]
    second = min(others, key=lambda candidate: candidate.result.behind)
    gap = f"{100 * second.result.behind:.1f} ± {100 * second.result.standard_error:.1f} points"
    if second.result.cannot_be_told_apart:
        return f"{begin}. The next, {second.reading.name}, is {gap} behind: these images cannot tell the two apart."
    return f"{begin}, {gap} ahead of the next, {second.reading.name}."


def _against_cross_entropy(plain: Tensor, chosen: Tensor, labels: Tensor, data: Data, request: Request) -> list[str]:
    """Recall of each group of classes on the validation images, with cross-entropy and with the chosen method; what is unsure."""
    groups = {**shot_groups(data.class_counts, rule=request.groups), "all": range(len(data.classes))}
    parts, gain = [], None
    for name in (*reversed(GROUPS), "all"):
        own = torch.zeros(len(data.classes)).index_fill_(0, torch.tensor(sorted(groups[name]), dtype=torch.long), 1)
        if bool(own[labels].any()):
            weights = image_weights(labels, own)
            before, after = (percent(float(hits.double() @ weights)) for hits in (plain, chosen))
            gain = difference(plain[None], chosen[None], labels, own, paired=True)
            parts.append(f"{name} {before} to {after} ({_points(gain)})")
    said = [f"Mean recall on these images in %, from cross-entropy to the chosen method: {'; '.join(parts)}."]
    unsure = gain is not None and gain.within_noise and request.class_prior == "uniform"
    return [*said, f"That difference over all classes cannot be told from chance.{_more(labels)}"] if unsure else said


def _points(gain: Difference) -> str:
    """A difference of two recalls in points, with its 95 % interval."""
    value, low, high = (round(100 * each, 1) + 0.0 for each in (gain.value, gain.low, gain.high))  # no -0.0
    return f"{value:+.1f} [{low:.1f}, {high:.1f}]"


def _more(labels: Tensor) -> str:
    """Sentence on what would make a choice surer, with a space before it; "" where there are many validation images."""
    return " More validation images (`val`, `folds`) would tell." if len(labels) < FEW_IMAGES else ""


def _why_not(candidates: Sequence[Candidate], labels: Tensor, data: Data, request: Request) -> str:
    """Why re-balancing does not pay here."""
    begin = "Re-balancing does not pay here:"
    if request.class_prior == "train":
        return f"{begin} in use the classes come as often as in training."
    ratio = imbalance_factor(data.class_counts)
    if ratio < NO_TAIL:
        return f"{begin} the largest class has only {ratio:.1f} times as many training images as the smallest."
    ahead = max((c.result.recall for c in candidates if c.reading.method != "ce"), default=0.0)
    plain = next(c for c in candidates if c.reading.method == "ce")
    if ahead > plain.result.recall:
        return f"{begin} its gain on {len(labels):,} validation images cannot be told from chance.{_more(labels)}"
    return f"{begin} no other candidate has a higher recall on the validation images."


def _with(share: float, interval: tuple[float, float]) -> str:
    return f"{percent(share)} [{percent(interval[0])}, {percent(interval[1])}] %"


def _capital(name: str) -> str:
    return name[:1].upper() + name[1:]
