"""The section on certainty: reliability diagrams, calibration errors, and what leaving out unsure images does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from longtail.reporting.answer import Answer, Array
from longtail.reporting.curves import Coverage, Reliability, certainty, coverage_curve, reliability
from longtail.reporting.overlays import looks_of, name_lines, panels, points
from longtail.reporting.plotting import GREY
from longtail.reporting.section import Cell, Drawing, Section, Table
from longtail.results import FEW_BELOW, percent, wilson

BARRED = 3  # answers up to which the bins have intervals
LEAST = 5  # images of a bin that is drawn without an interval
GRID = tuple(step / 100 for step in range(1, 101))
KEPT = 0.8
SUREST = f"surest {100 * KEPT:.0f} %"
HOW = (
    "In a reliability diagram, the images are gathered by the probability of the predicted class; points below the diagonal "
    "mean that fewer predictions are right than the probabilities say (too sure), points above it that more are. The "
    "calibration error (ECE) is the mean distance from the diagonal over the images.",
    "The second kind of curve leaves out the images with the lowest probabilities: to the left, only the surest ones are "
    "kept. Where all images of a class are left out, its recall enters the mean no longer.",
)
NO_FEW = "No test image belongs to a few-shot class, so that there is no diagram of these."


@dataclass(frozen=True)
class Certain:
    """An answer with the diagram of all its test images, that of the few-shot classes, and its accuracy by coverage."""

    answer: Answer
    every: Reliability
    few: Reliability
    coverage: Coverage


def calibration(answers: Sequence[Answer]) -> Section:
    """Section on whether the probabilities are justified, overall and for few-shot classes, and on leaving out unsure images."""
    found = [_certain(answer) for answer in answers]
    parts: list[Table | Drawing] = [_diagram(found, "every"), *_few(found), _coverage(found), _table(found)]
    missing = [] if len(parts) == 4 else [NO_FEW]
    return Section("How sure the predictions are", (*HOW, *_meant_for(answers), *map(_sentence, found), *missing), parts)


def _meant_for(answers: Sequence[Answer]) -> list[str]:
    """Sentence on probabilities that are meant for other class frequencies than the test images have."""
    prior = answers[0].prior
    if prior is None:
        return []
    return [
        f"The probabilities are those for the class prior '{prior}', and are judged here at the class frequencies of the test "
        "images; where these differ, they are meant for other images."
    ]


def _certain(answer: Answer) -> Certain:
    certain, right = certainty(answer.scores), answer.predicted == answer.labels
    few = np.array([entry.group == "few" for entry in answer.report.classes])[answer.labels]
    return Certain(
        answer,
        reliability(certain, right),
        reliability(certain[few], right[few]),
        coverage_curve(certain, right, answer.labels),
    )


def _few(found: Sequence[Certain]) -> list[Drawing]:
    return [_diagram(found, "few")] if any(each.few.images.any() for each in found) else []


def _sentence(each: Certain) -> str:
    every, few, test = each.every, each.few, each.answer.report.test
    told, right = percent(test.accuracy + every.excess, unit=" %"), percent(test.accuracy, unit=" %")
    overall = f"{each.answer.name}: the mean probability of the predicted classes is {told}, and {right} of them are right: "
    judged = f"the probabilities are {_direction(every)}, ECE {percent(test.calibration_error, unit=' %')}."
    rare = f" For few-shot classes they are {_direction(few)} (ECE {percent(few.error, unit=' %')})." if few.images.any() else ""
    kept = float(each.coverage.accuracy[each.coverage.at(KEPT)])
    left_out = f" Of the {SUREST} of the images, {percent(kept, unit=' %')} are classified correctly."
    return overall + judged + rare + left_out


def _direction(diagram: Reliability) -> str:
    if abs(diagram.excess) < 0.005:
        return "right on average (within half a point)"
    return f"too {'high' if diagram.excess > 0 else 'low'} by {points(diagram.excess)} points"


def _diagram(found: Sequence[Certain], which: str) -> Drawing:
    whose = "all test images" if which == "every" else f"the test images of few-shot classes{_limit(found[0].answer)}"
    bars = (
        " Bars are Wilson's 95 % intervals."
        if len(found) <= BARRED
        else f" Bins of fewer than {LEAST} images and intervals are in the CSV."
    )
    caption = (
        f"Reliability of {whose}: share of right predictions against their probability, and below it the images per bin.{bars}"
    )
    name = "reliability" if which == "every" else "reliability-few"
    columns = ("answer", "from", "to", "images", "mean probability", "accuracy", "low", "high")
    rows = [(each.answer.name, *row) for each in found for row in _bins(getattr(each, which))]
    numbers = Table(name, caption, columns, rows, shown=False)
    return Drawing(name, caption, _diagram_figure(found, which), numbers)


def _limit(answer: Answer) -> str:
    return (
        f" (fewer than {FEW_BELOW} training images)"
        if answer.report.group_rule == "shots"
        else " (the rarest third of the classes)"
    )


def _bins(diagram: Reliability) -> Iterator[tuple[Cell, ...]]:
    columns = zip(diagram.edges, diagram.edges[1:], diagram.images, diagram.certainty, diagram.accuracy, strict=False)
    for low, high, images, certain, accuracy in columns:
        known = (float(certain), float(accuracy), *wilson(accuracy, images)) if images else (None,) * 4
        yield float(low), float(high), int(images), *known


def _diagram_figure(found: Sequence[Certain], which: str) -> Any:
    figure, (shares, bins) = panels((3.0, 1.1))
    shares.plot([0, 100], [0, 100], color=GREY, linewidth=1, linestyle=(0, (2, 2)))
    for each, look in zip(found, looks_of([each.answer for each in found]).values(), strict=True):
        diagram: Reliability = getattr(each, which)
        held = diagram.images >= (1 if len(found) <= BARRED else LEAST)
        errors = _errors(diagram)[:, held] if len(found) <= BARRED else None
        shares.errorbar(100 * diagram.certainty[held], 100 * diagram.accuracy[held], yerr=errors, elinewidth=1, capsize=2, **look)
        stepped = {"color": look["color"], "linestyle": look["linestyle"], "linewidth": 1.4}
        bins.stairs(np.maximum(diagram.images, 0.5), 100 * diagram.edges, baseline=0.5, **stepped)
    shares.set(ylabel="right, in %", xlim=(0, 100), ylim=(-3, 103))
    bins.set(xlabel="probability of the predicted class, in %", ylabel="images", yscale="log")
    _count_images(bins, max(int(getattr(each, which).images.max()) for each in found))
    name_lines(figure, shares)
    return figure


def _count_images(axes: Any, most: int) -> None:
    """Ticks of a low logarithmic panel: powers of ten, or 1 and 3 where no bin has ten images."""
    ticks = [1, 3] if most < 10 else [10**power for power in range(len(str(most)))]
    axes.set_yticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.tick_params(axis="y", which="minor", left=False, labelleft=False)
    axes.set_ylim(0.7, 1.5 * most)


def _errors(diagram: Reliability) -> Array:
    """Lengths of the bars below and above each accuracy, in percent (2, B)."""
    ends = np.array([wilson(share, images) for share, images in zip(diagram.accuracy, diagram.images, strict=True)])
    lengths: Array = 100 * np.abs(ends.T - diagram.accuracy)
    return lengths


def _coverage(found: Sequence[Certain]) -> Drawing:
    caption = (
        "Accuracy and mean recall of the images that are kept, when those with the lowest probability of the predicted class are "
        "left out."
    )
    columns = ("answer", "coverage", "accuracy", "mean recall", "classes with images")
    rows = [(each.answer.name, *row) for each in found for row in _kept(each.coverage)]
    figure, (accuracy, recall) = panels((2.0, 2.0))
    for each, look in zip(found, looks_of([each.answer for each in found]).values(), strict=True):
        own = np.array([row[:3] for row in _kept(each.coverage)], dtype=float).T
        line = {**look, "marker": None}
        accuracy.plot(100 * own[0], 100 * own[1], **line)
        recall.plot(100 * own[0], 100 * own[2], **line)
    accuracy.set(ylabel="accuracy in %")
    recall.set(ylabel="mean recall in %", xlabel="images that are kept, in %", xlim=(0, 100))
    name_lines(figure, accuracy)
    return Drawing("coverage", caption, figure, Table("coverage", caption, columns, rows, shown=False))


def _kept(curve: Coverage) -> list[tuple[float, float, float, int]]:
    """Coverage, accuracy, mean recall and number of classes at each percent of the images."""
    indices = np.unique([curve.at(share) for share in GRID])
    columns = (curve.coverage, curve.accuracy, curve.mean_recall, curve.classes)
    return list(zip(*(column[indices].tolist() for column in columns), strict=True))


def _table(found: Sequence[Certain]) -> Table:
    kept = f"accuracy of the {SUREST}"
    columns = ("answer", "ECE", "ECE few-shot", "mean probability", "accuracy", kept, "area of accuracy", "area of mean recall")
    caption = (
        "Calibration errors (15 bins), and areas under the curves of accuracy and mean recall over the images that are kept."
    )
    rows = []
    for each in found:
        test, few, curve = each.answer.report.test, each.few, each.coverage
        shares = (
            test.calibration_error,
            few.error if few.images.any() else None,
            test.accuracy + each.every.excess,
            test.accuracy,
        )
        rows.append((each.answer.name, *shares, float(curve.accuracy[curve.at(KEPT)]), curve.area, curve.area_of_recall))
    return Table("calibration", caption, columns, rows, percent=frozenset(columns[1:]))
