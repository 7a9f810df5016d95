"""The table of classes: counts, precision, recall, F1, and the class that each is most often taken for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from longtail.reporting.answer import Answer, Array
from longtail.reporting.section import Cell, Section, Table

SHARES = ("precision", "recall", "F1")
CAPTION = (
    "precision is the share of the images predicted as a class that are of it, recall the share of its images that are found, F1 "
    "their harmonic mean; shares in percent. “Most confused with” is the class that its missed images were taken for most often."
)


def class_table(answers: Sequence[Answer]) -> Section:
    """Section of the table of classes: recalls of all answers, and everything about the last one; the others are in CSVs."""
    last, others = answers[-1], answers[:-1]
    columns, rows = _columns(last), class_rows(last)
    if others:
        columns = (
            "class",
            "group",
            "training images",
            "test images",
            *(f"recall {each.name}" for each in answers),
            *_of_last(last),
        )
        recalls = [each.report.test.recalls for each in others]
        pairs = zip(rows, zip(*recalls, strict=True), strict=True)
        rows = [(*row[:4], *(_known(recall) for recall in before), row[5], row[4], *row[6:]) for row, before in pairs]
    caption = f"The classes{f', and {last.name} in full' if others else ''}: {CAPTION}"
    percent = frozenset(name for name in columns if name.split(" ")[0] in SHARES)
    shown = Table("classes", caption, columns, rows, percent=percent, searchable=True)
    return Section("Every class", parts=(shown, *(_in_full(number, each) for number, each in enumerate(others, 1))))


def _in_full(number: int, answer: Answer) -> Table:
    """The table of one answer, for a CSV."""
    return Table(
        f"classes-{number}", f"The same table in full of {answer.name}.", _columns(answer), class_rows(answer), shown=False
    )


def _columns(answer: Answer) -> tuple[str, ...]:
    return ("class", "group", "training images", "test images", *SHARES, "most confused with", "images confused")


def _of_last(answer: Answer) -> tuple[str, ...]:
    return (f"precision {answer.name}", f"F1 {answer.name}", "most confused with", "images confused")


def class_rows(answer: Answer) -> list[tuple[Cell, ...]]:
    """One row per class: name, group, training and test images, precision, recall, F1, the class it is most confused with."""
    names, classes = answer.classes, len(answer.classes)
    precision, recall, f1 = class_shares(answer.labels, answer.predicted, classes)
    confused = most_confused(answer.labels, answer.predicted, classes)
    rows: list[tuple[Cell, ...]] = []
    for label, entry in enumerate(answer.report.classes):
        other, images = confused.get(label, (None, None))
        shares = (_known(share[label]) for share in (precision, recall, f1))
        images_of_test = answer.report.test.test_counts[label]
        name = None if other is None else names[other]
        rows.append((entry.name, entry.group, entry.train_images, images_of_test, *shares, name, images))
    return rows


def class_shares(labels: Array, predicted: Array, classes: int) -> tuple[Array, Array, Array]:
    """Precision, recall and F1 of each class (C,); nan where a share is of no images.

    F1 = 2 right / (images + predicted images), so it is 0 for a class that is never right and nan for one that never occurs.
    """
    right = np.bincount(labels[labels == predicted], minlength=classes)
    images, taken = np.bincount(labels, minlength=classes), np.bincount(predicted, minlength=classes)
    with np.errstate(invalid="ignore"):
        return right / taken, right / images, 2 * right / (images + taken)


def most_confused(labels: Array, predicted: Array, classes: int) -> dict[int, tuple[int, int]]:
    """The class that most missed images of each class were taken for, and how many; of equal ones the first."""
    wrong = labels != predicted
    pairs, images = np.unique(labels[wrong].astype(np.int64) * classes + predicted[wrong], return_counts=True)
    found: dict[int, tuple[int, int]] = {}
    for pair, count in zip(pairs.tolist(), images.tolist(), strict=True):
        label, other = divmod(pair, classes)
        if count > found.get(label, (0, 0))[1]:
            found[label] = (other, count)
    return found


def _known(share: float) -> float | None:
    return None if np.isnan(share) else float(share)
