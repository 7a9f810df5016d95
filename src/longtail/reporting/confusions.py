"""The section on confused classes: the pairs that are confused most, and of few classes the whole confusion matrix."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from longtail.reporting.answer import Answer, Array
from longtail.reporting.plotting import FONT, GREY, new_axes, new_figure, plain
from longtail.reporting.section import Cell, Drawing, Section, Table
from longtail.reporting.subset import shortened
from longtail.results import counted, percent, wilson

PAIRS = 30
LARGEST = 50  # classes up to which the matrix is drawn
BY_NAME = 20  # classes up to which columns have names
WRITTEN = 12  # classes up to which the shares are written into the matrix
NAME = 18  # characters of a class's name beside the matrix
RIGHT, WRONG = "#1f7fbf", "#d55e00"
Pair = tuple[int, int]
HOW = (
    "A pair of classes is confused in one direction: images of the true class are taken for the predicted one. The first "
    "table has the pairs with the most images, which are mostly common classes; the second has those with the largest share "
    "of the class's images, ranked by the lower end of Wilson's 95 % interval, so that one image of one does not come first."
)


def confusions(answers: Sequence[Answer]) -> Section:
    """Section on the pairs of classes that are confused most, by images and by share of the class, with the matrix."""
    found = {answer.name: confused_pairs(answer.labels, answer.predicted) for answer in answers}
    if not any(found.values()):
        return Section("What is confused", [f"No test image of {', '.join(found)} is classified wrongly."])
    test_counts = answers[0].report.test.test_counts
    matrices = [_matrix(answer, index) for index, answer in enumerate(answers, 1)] if len(test_counts) <= LARGEST else []
    parts: list[Table | Drawing] = [*matrices, _by_images(answers, found), _by_share(answers, found), _every_pair(answers, found)]
    return Section("What is confused", [HOW, *_sentences(answers, found)], parts)


def confused_pairs(labels: Array, predicted: Array) -> dict[Pair, int]:
    """Number of images of each pair (true class, predicted class) that differ and occur, from labels and predictions (M,)."""
    wrong = labels != predicted
    pairs, images = np.unique(np.stack([labels[wrong], predicted[wrong]]), axis=1, return_counts=True)
    return {(int(true), int(other)): int(number) for (true, other), number in zip(pairs.T, images, strict=True)}


def row_shares(labels: Array, predicted: Array, order: Array) -> Array:
    """Confusion matrix with rows that sum to 1, classes in `order` (C,): row of the true class, column of the predicted one.

    The row of a class without images is nan.
    """
    classes = len(order)
    matrix = np.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)
    images = matrix.sum(1, keepdims=True)
    shares: Array = (matrix / np.where(images > 0, images, np.nan))[np.ix_(order, order)]
    return shares


def _sentences(answers: Sequence[Answer], found: Mapping[str, Mapping[Pair, int]]) -> Iterator[str]:
    for answer in answers:
        pairs, classes = found[answer.name], answer.classes
        if pairs:
            true, other = max(pairs, key=lambda pair: (pairs[pair], pairs[pair] / answer.report.test.test_counts[pair[0]]))
            alike = sum(images == pairs[true, other] for images in pairs.values()) - 1
            also = f", and as often in {counted(alike, 'other pair')}" if alike else ""
            images, of = pairs[true, other], answer.report.test.test_counts[true]
            wrong = sum(pairs.values())
            yield (
                f"{answer.name}: {wrong:,} of {counted(len(answer.labels), 'test image')} {'is' if wrong == 1 else 'are'} taken "
                f"for another class; most often '{classes[true]}' for '{classes[other]}', {images:,} of {counted(of, 'image')} "
                f"({percent(images / of, unit=' %')}){also}."
            )


def _by_images(answers: Sequence[Answer], found: Mapping[str, Mapping[Pair, int]]) -> Table:
    images = {pair: max(own.get(pair, 0) for own in found.values()) for own in found.values() for pair in own}
    chosen = sorted(images, key=lambda pair: (-images[pair], pair))[:PAIRS]
    caption = f"The {_pairs(len(chosen))} of classes with the most confused test images."
    rows = _rows(answers[0], chosen, lambda pair: [own.get(pair, 0) for own in found.values()])
    return Table("confused-pairs", caption, _columns("images", found), rows)


def _by_share(answers: Sequence[Answer], found: Mapping[str, Mapping[Pair, int]]) -> Table:
    of = answers[0].report.test.test_counts
    lower = {
        p: max(wilson(own.get(p, 0) / of[p[0]], of[p[0]])[0] for own in found.values()) for each in found.values() for p in each
    }
    chosen = sorted(lower, key=lambda pair: (-lower[pair], pair))[:PAIRS]
    caption = f"The {_pairs(len(chosen))} of classes with the largest share of the true class's test images."
    rows = _rows(answers[0], chosen, lambda pair: [own.get(pair, 0) / of[pair[0]] for own in found.values()])
    columns = _columns("share of the class", found)
    return Table("confused-shares", caption, columns, rows, percent=frozenset(columns[2:-2]))


def _pairs(number: int) -> str:
    return "pair" if number == 1 else f"{number} pairs"


def _columns(what: str, names: Mapping[str, Any]) -> tuple[str, ...]:
    own = (what,) if len(names) == 1 else tuple(f"{name}: {what}" for name in names)
    return ("true class", "predicted class", *own, "training images", "test images")


def _rows(answer: Answer, pairs: Iterable[Pair], cells: Callable[[Pair], Sequence[Cell]]) -> list[tuple[Cell, ...]]:
    """A row per pair: the names of its classes, its cells, and the training and test images of the true class."""
    names, counts, test_counts = answer.classes, answer.report.class_counts, answer.report.test.test_counts
    return [(names[true], names[other], *cells((true, other)), counts[true], test_counts[true]) for true, other in pairs]


def _every_pair(answers: Sequence[Answer], found: Mapping[str, Mapping[Pair, int]]) -> Table:
    columns = ("answer", "true class", "predicted class", "images", "share of the class", "training images", "test images")
    of, rows = answers[0].report.test.test_counts, []
    for answer, own in zip(answers, found.values(), strict=True):
        cells = {pair: (images, images / of[pair[0]]) for pair, images in own.items()}
        rows += [(answer.name, *row) for row in _rows(answer, own, cells.__getitem__)]
    return Table("confusions", "All pairs of classes that are confused.", columns, rows, shown=False)


def _matrix(answer: Answer, index: int) -> Drawing:
    """The matrix of an answer, which is its `index`-th."""
    order = np.argsort(-np.array(answer.report.class_counts), kind="stable")
    shares, names = row_shares(answer.labels, answer.predicted, order), [answer.classes[j] for j in order]
    caption = (
        f"Confusion matrix of {answer.name}: shares of each true class (row) that are taken for each class (column), classes "
        f"with the most training images first; columns are {_columns_of(len(names))}. Blue is right, orange wrong; grey rows "
        "have no test images."
    )
    rows = [
        (name, *(None if np.isnan(share) else float(share) for share in row)) for name, row in zip(names, shares, strict=True)
    ]
    numbers = Table(f"confusion-{index}", caption, ("true class", *names), rows, shown=False)
    return Drawing(f"confusion-{index}", caption, _matrix_figure(shares, names), numbers)


def _matrix_figure(shares: Array, names: Sequence[str]) -> Any:
    classes, size = len(names), FONT - 1 if len(names) <= 30 else FONT - 3
    short = list(map(plain, shortened(names, NAME)))
    figure = new_figure(height=max(2.4, 0.9 + classes * max(0.135, min(0.36, 4 / classes))))
    axes = new_axes(figure, xlabel="predicted class", ylabel="true class")
    axes.imshow(_tints(shares), interpolation="nearest", aspect="auto")
    axes.grid(visible=False)
    if classes <= BY_NAME:
        axes.set_yticks(range(classes), short, fontsize=size)
        axes.set_xticks(range(classes), short, fontsize=size, rotation=90)
    else:
        axes.set(xlabel="predicted class, by its place from above")
        numbered = [f"{name} ({place})" for place, name in enumerate(short, 1)]
        axes.set_yticks(range(classes), numbered, fontsize=size)
        axes.set_xticks(range(4, classes, 5), [f"({place})" for place in range(5, classes + 1, 5)], fontsize=size)
    if classes <= WRITTEN:
        _write_shares(axes, shares)
    return figure


def _columns_of(classes: int) -> str:
    return "in the same order" if classes <= BY_NAME else "the classes by their place, which stands behind each name"


def _write_shares(axes: Any, shares: Array) -> None:
    """Writes the shares in percent into the cells, white with a dark rim, which can be read on every tint."""
    from matplotlib.patheffects import withStroke

    rim = [withStroke(linewidth=2, foreground="#3a3a3a")]
    for (row, column), share in np.ndenumerate(np.round(100 * shares)):
        if share > 0:
            axes.text(column, row, f"{share:.0f}", ha="center", va="center", color="white", fontsize=FONT, path_effects=rim)


def _tints(shares: Array) -> Array:
    """Colours of the cells (C, C, 4), transparent where the share is 0, so that they can be seen on white and on black."""
    from matplotlib.colors import to_rgb

    right = np.eye(len(shares), dtype=bool)[..., None]
    tints = np.concatenate([np.where(right, to_rgb(RIGHT), to_rgb(WRONG)), np.sqrt(shares)[..., None]], axis=2)
    tints[np.isnan(shares)] = (*to_rgb(GREY), 0.3)
    return tints
