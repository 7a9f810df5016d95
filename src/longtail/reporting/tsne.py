"""The figure of the embedding: test features of a few classes, laid out in the plane by t-SNE."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from longtail.reporting.answer import Answer
from longtail.reporting.outlook import unit_rows
from longtail.reporting.plotting import COLOURS, GREY, MARKERS, WIDTH, labelled, new_figure, plain
from longtail.reporting.section import Cell, Drawing, Table
from longtail.reporting.subset import asked_classes, shortened

Array = NDArray[Any]
MOST_IMAGES = 500  # of each class; a panel of four classes then takes seconds
PERPLEXITY = 30.0
ALIKE = 1e-6  # difference below which features are equal
CAPTION = (
    "t-SNE of the test images' features, scaled to unit length, of a few classes (training images in brackets); each panel is a "
    "run. Which images lie together means something; sizes of groups and distances between them do not."
)


def embedding_figure(answers: Sequence[Answer], asked: Sequence[str]) -> Drawing:
    """Draws the features of a few classes in the plane, one panel for each answer.

    Args:
        asked: names of the classes; ("auto",) for four with about 500, 200, 100 and 50 training images, or of spread counts.

    Raises:
        UserError: a class is unknown or has no test images.

    Source: Figures 1 and 3 of Li, Cheung, Lu, CVPR 2022; van der Maaten and Hinton, JMLR 2008 (scikit-learn's TSNE).
    """
    first = answers[0]
    counts = first.report.class_counts
    labels = asked_classes(asked, first.classes, counts, [count > 0 for count in first.report.test.test_counts])
    shown = np.concatenate([np.flatnonzero(first.labels == label)[:MOST_IMAGES] for label in labels])
    columns = min(len(answers), 2)
    lines = -(-len(answers) // columns)
    figure = new_figure(WIDTH, 2.7 * lines + 0.7)
    rows: list[tuple[Cell, ...]] = []
    for place, answer in enumerate(answers):
        axes = figure.add_subplot(lines, columns, place + 1, facecolor="none")
        points = laid_out(answer.features[shown])
        _draw(axes, answer, points, answer.labels[shown], labels)
        names = [answer.classes[label] for label in answer.labels[shown]]
        rows += [(answer.name, int(image), name, *map(float, xy)) for image, name, xy in zip(shown, names, points, strict=True)]
    handles, texts = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, texts, loc="outside upper left", ncols=2, frameon=False, fontsize=9, labelcolor=GREY)
    table = Table("embedding", CAPTION, ("run", "test image", "class", "x", "y"), rows, shown=False)
    return Drawing("embedding", CAPTION, figure, table)


def laid_out(features: Array) -> Array:
    """Places (M, 2) in the plane of features (M, D) of unit length, by t-SNE from a start by PCA and with a fixed seed.

    Fewer than four images, and those whose features are all alike, lie in a row.

    The perplexity is 30, but at most a third of the other images, since it is a number of neighbours. One thread computes, so
    that the places do not depend on the number of threads; for so few images more of them are slower.
    """
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    unit = unit_rows(features)
    if len(unit) < 4 or np.ptp(unit, axis=0).max() < ALIKE:
        return np.column_stack([np.arange(len(unit)), np.zeros(len(unit))])
    start = "pca" if min(unit.shape) >= 2 else "random"
    layout = TSNE(perplexity=min(PERPLEXITY, (len(unit) - 1) / 3), init=start, random_state=0)
    with threadpool_limits(1):
        places: Array = layout.fit_transform(unit)
    return places


def _draw(axes: Any, answer: Answer, points: Array, labels: Array, shown: Sequence[int]) -> None:
    counts = answer.report.class_counts
    names = shortened([answer.classes[label] for label in shown])
    for place, label in enumerate(shown):
        own = points[labels == label]
        style = {"color": COLOURS[place % len(COLOURS)], "marker": MARKERS[place % len(MARKERS)]}
        name = labelled(f"{names[place]} ({counts[label]:,})")
        axes.scatter(*own.T, s=12, alpha=0.75, linewidths=0, **style, label=name)
    axes.set(xticks=[], yticks=[])
    axes.set_title(plain(answer.name), color=GREY, fontsize=10)
    for spine in axes.spines.values():
        spine.set(color=GREY, alpha=0.5)
