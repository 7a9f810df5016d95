"""The figure of the clouds' sizes: how wide the noise on the logits of each class was in training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from longtail.reporting.answer import Answer
from longtail.reporting.losses import Array, cloud_sigmas, clouded_losses, unit_of
from longtail.reporting.plotting import counted, legend, mark, new_axes, new_figure, plain
from longtail.reporting.section import Drawing, Table

MARKED = 50  # number of classes up to which each has a marker
LINES = ("-", "--", "-.", ":")
CAPTION = (
    "Size of the cloud of each class against its training images: the standard deviation of the Gaussian that the noise on the "
    "cosine between a feature and the class is drawn from (for the angular form: on the angle, in radians), from the losses of "
    "the runs' own stages. The noise is its absolute value, whose own standard deviation is 0.6 times that."
)


def cloud_figure(answers: Sequence[Answer]) -> Drawing | None:
    """Draws the standard deviation of each class's noise against its training images; None where no run has clouds.

    Stages of a run with the same clouds are one line.
    """
    curves = [(answer, *curve) for answer in answers for curve in _curves(answer)]
    if not curves:
        return None
    figure = new_figure()
    axes = new_axes(figure, xlabel="training images of the class", ylabel="size of the cloud", xscale="log")
    for place, (answer, name, sigmas, _, _) in enumerate(curves):
        counts = np.asarray(answer.report.class_counts)
        order = np.argsort(counts, kind="stable")
        style = {**mark(place), "linestyle": LINES[place % len(LINES)]} | ({} if len(counts) <= MARKED else {"marker": ""})
        axes.plot(counts[order], sigmas[order], **style, label=plain(name))
    counted(axes.xaxis)
    legend(axes)
    columns = ("run", "class", "training images", "standard deviation of the Gaussian", "unit", "scale of the logits")
    rows = [
        (name, class_name, images, float(sigma), unit, scale)
        for answer, name, sigmas, unit, scale in curves
        for class_name, images, sigma in zip(answer.classes, answer.report.class_counts, sigmas, strict=True)
    ]
    return Drawing("clouds", CAPTION, figure, Table("clouds", CAPTION, columns, rows, shown=False))


def _curves(answer: Answer) -> Iterator[tuple[str, Array, str, float]]:
    """Name, sizes (C,), unit and scale of the clouds of each stage of a run; a stage with those of one before is left out."""
    seen = list[Array]()
    for number, loss in clouded_losses(answer):
        sigmas = cloud_sigmas(loss)
        if any(np.array_equal(sigmas, before) for before in seen):
            continue
        seen.append(sigmas)
        stage = f", stage {number}" if number > 1 else ""
        yield f"{answer.name}{stage}", sigmas, unit_of(loss), float(loss.scale)
