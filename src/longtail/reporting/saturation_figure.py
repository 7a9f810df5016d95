"""The figure of softmax saturation: a panel for each loss of the runs shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from longtail.reporting.answer import Answer
from longtail.reporting.losses import Clouded, clouded_losses, stages_of
from longtail.reporting.plotting import COLOURS, GREY, MARKERS, WIDTH, labelled, legend, new_figure, plain, restyle
from longtail.reporting.saturation import clouded_gradient, median_difference, plain_gradient
from longtail.reporting.section import Cell, Drawing, Table
from longtail.reporting.subset import shortened, spread_classes
from longtail.results import counted

Array = NDArray[Any]
MOST_PANELS = 4
PLAIN = "longtail.losses.CrossEntropyLoss"
POINTS = 121
LOWEST, HIGHEST = -5.0, 15.0  # logit differences that are drawn
CAPTION = (
    "Gradient p - 1 of the true class's logit against its difference to the logit of the largest other class, as if there were "
    "these two classes alone. Dashed: cross-entropy. Lines: the mean over the noise of the run's own clouds, for classes of "
    "several counts. Markers: difference of the class's median test image to its nearest other class; at an edge, it lies beyond."
)


@dataclass(frozen=True)
class _Panel:
    """A run, and its loss where it has clouds.

    Args:
        title: name of the run, with the number of the stage of the loss.
        factor: factor from the run's logits to those of the loss; nan where they have no common scale.
    """

    title: str
    answer: Answer
    loss: Clouded | None = None
    factor: float = 1.0

    @property
    def differences(self) -> Array:
        """Logit differences (K,) that are drawn; two cosines from 0 to 1 are no farther apart than the scale of the loss."""
        edge = np.inf if self.loss is None else self.loss.scale
        return np.linspace(max(LOWEST, -edge), min(HIGHEST, edge), POINTS)

    def gradient(self, differences: Array, label: int) -> Array:
        """The gradient of the class `label` beside the largest other class, (K,)."""
        counts = self.answer.report.class_counts
        rival = max((other for other in range(len(counts)) if other != label), key=counts.__getitem__)
        if self.loss is None:
            return plain_gradient(differences)
        return clouded_gradient(self.loss, differences, label=label, rival=rival)


def saturation_figure(answers: Sequence[Answer]) -> Drawing:
    """Draws the gradient of the true class's logit against the logit difference, with and without the runs' clouds.

    Runs of the same loss share a panel, which shows the first of them; there are at most four panels.

    Source: Li, Cheung, Lu, CVPR 2022, Eq. 2 and 3.
    """
    panels = _panels(answers)
    figure = new_figure(WIDTH, 3.1 * len(panels) + 0.3)
    rows: list[tuple[Cell, ...]] = []
    for axes, panel in zip(figure.subplots(len(panels), 1, squeeze=False)[:, 0], panels, strict=True):
        rows += [(panel.title, *row) for row in _draw(axes, panel)]
    columns = ("run", "class", "training images", "logit difference", "gradient", "what")
    return Drawing("saturation", CAPTION, figure, Table("saturation", CAPTION, columns, rows, shown=False))


def _panels(answers: Sequence[Answer]) -> list[_Panel]:
    found: dict[str, _Panel] = {}
    for answer in answers:
        stages, clouded = stages_of(answer), list(clouded_losses(answer))
        shown = clouded[0][0] if clouded else len(stages)
        found.setdefault(repr(stages[shown - 1]["loss"]) if stages else "", _panel(answer, clouded))
    return list(found.values())[:MOST_PANELS]


def _panel(answer: Answer, clouded: Sequence[tuple[int, Clouded]]) -> _Panel:
    if not clouded:
        losses = {stage["loss"].get("call") for stage in stages_of(answer)}
        own = "" if losses <= {PLAIN} else ": gradient of cross-entropy, not of its own loss"
        return _Panel(answer.name + own, answer)
    (number, loss), (last, scaled) = clouded[0], clouded[-1]
    factor = loss.scale / scaled.scale if last == len(stages_of(answer)) else np.nan
    stage = f", stage {number}" if len(stages_of(answer)) > 1 else ""
    return _Panel(answer.name + stage, answer, loss, factor)


def _draw(axes: Any, panel: _Panel) -> list[tuple[Cell, ...]]:
    """Draws one panel, and returns its rows for the CSV: points of the curves, and the differences of the median images."""
    answer, differences = panel.answer, panel.differences
    counts, rows = answer.report.class_counts, list[tuple[Cell, ...]]()
    axes.plot(differences, plain_gradient(differences), color=GREY, linestyle="--", label="cross-entropy", zorder=3)
    chosen = spread_classes(counts)
    names = shortened([answer.classes[label] for label in chosen], 18)
    for place, label in enumerate(chosen):
        curve = panel.gradient(differences, label)
        median = panel.factor * median_difference(answer.logits, answer.labels, label)
        shown = np.clip(median, differences[0], differences[-1])
        name = f"{names[place]}, {counted(counts[label], 'image')}"
        line = "none" if panel.loss is None else "-"
        style: dict[str, Any] = {"color": COLOURS[place], "label": labelled(name), "linestyle": line}
        if not np.isnan(shown):
            style |= {"marker": MARKERS[place], "markevery": [int(np.abs(differences - shown).argmin())], **_ring(place)}
        if panel.loss is not None or not np.isnan(shown):
            axes.plot(differences, curve, **style)
        class_cells = (answer.classes[label], counts[label])
        rows += [(*class_cells, float(x), float(y), "curve") for x, y in zip(differences, curve, strict=True)]
        rows.append((*class_cells, None if np.isnan(median) else median, None, "median test image"))
    _dress(axes, panel.title)
    return rows


def _ring(place: int) -> dict[str, Any]:
    """Look of a marker by its place: hollow, each within the one before, so that none hides another."""
    return {"fillstyle": "none", "markeredgewidth": 1.8, "markersize": 14 - 3 * place, "clip_on": False}


def _dress(axes: Any, title: str) -> None:
    axes.set(facecolor="none", xlabel="logit difference, without noise", ylabel="gradient p - 1", ylim=(-1.03, 0.03))
    axes.set_title(plain(title), color=GREY, fontsize=11, loc="left")
    restyle(axes)
    legend(axes, loc="lower right")
