"""The gallery of the rare classes that are recognised worst, beside the training images that look most like their test images."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from longtail.reporting.answer import Answer
from longtail.reporting.copies import nearest
from longtail.reporting.galleries import Array, Exhibits
from longtail.reporting.originals import Row
from longtail.reporting.outlook import Outlook
from longtail.reporting.section import Cell, Gallery, Picture, Table
from longtail.results import counted

SHOWN_CLASSES, SHOWN_IMAGES, NEIGHBOURS = 6, 4, 2
CAPTION = (
    "Few-shot classes, then medium ones, of the lowest recall: test images from the one that the network is farthest from "
    "recognising to the nearest, each followed by the training images whose features are nearest to it (cosine)."
)
COLUMNS = ("test image", "class", "predicted class", "probability", "training image", "its class", "cosine")


def gallery_of_tail(exhibits: Exhibits, answer: Answer, test: Outlook, training: Outlook) -> Gallery:
    """Test images of the worst rare classes, each followed by its nearest training images.

    Args:
        training: training and validation images, of which the training images are shown; none where their features are unknown.
    """
    learned = training.of_split("train")
    rows, cells = list[tuple[str, list[Picture]]](), list[tuple[Cell, ...]]()
    for label in worst_rare_classes(answer):
        pictures = list[Picture | None]()
        for image in spread(np.flatnonzero(test.labels == label), test.own):
            pictures.append(exhibits.picture(test, image))
            for row, cosine in _neighbours(test, learned, image):
                pictures.append(_neighbour(exhibits, row, cosine))
                cells.append(_cells(exhibits, test, image, row, cosine))
        rows.append((heading(answer, label), [picture for picture in pictures if picture is not None]))
    return Gallery("tail", CAPTION, rows, Table("tail", CAPTION, COLUMNS, cells, shown=False))


def worst_rare_classes(answer: Answer) -> list[int]:
    """Labels of the few-shot classes of the lowest recall, then of the medium ones; classes without test images are left out."""
    test, group = answer.report.test, [entry.group for entry in answer.report.classes]
    rare = [label for label in range(len(group)) if group[label] != "many" and test.test_counts[label]]
    return sorted(rare, key=lambda label: (group[label] != "few", test.recalls[label]))[:SHOWN_CLASSES]


def spread(images: Array, own: Array) -> list[int]:
    """A few of the images at equal steps of their ranking by the probability of their class, both ends among them.

    Args:
        images: indices of the images to choose from.
        own: probability of the true class of all images (M,).
    """
    ranked = images[np.argsort(own[images], kind="stable")]
    places = np.linspace(0, len(ranked) - 1, min(SHOWN_IMAGES, len(ranked))).round().astype(int)
    return [int(image) for image in ranked[places]]


def _neighbours(test: Outlook, training: Outlook, image: int) -> Iterator[tuple[Row, float]]:
    if len(training.rows):
        indices, cosines = nearest(test.features[[image]], training.features, NEIGHBOURS)
        yield from ((training.rows[index], float(cosine)) for index, cosine in zip(indices[0], cosines[0], strict=True))


def _neighbour(exhibits: Exhibits, row: Row, cosine: float) -> Picture | None:
    return exhibits.thumbnails.picture(
        row, f"training: {exhibits.classes[row.label]} (cosine {shown_cosine(cosine)}); {row.file}"
    )


def shown_cosine(cosine: float) -> str:
    """A cosine with two decimals, with four or six where fewer would read 1.00 although it is less."""
    texts = [f"{cosine:.{decimals}f}" for decimals in (2, 4, 6)]
    return next((text for text in texts if float(text) < 1), texts[0])


def heading(answer: Answer, label: int) -> str:
    """What is said of a class: its group, its training images, and how many of its test images are right."""
    entry, count = answer.report.classes[label], answer.report.test.test_counts[label]
    right = round(answer.report.test.recalls[label] * count)
    learned, tested = counted(entry.train_images, "training image"), counted(count, "test image")
    return f"{entry.name} ({entry.group}): {learned}, {right:,} of {tested} right"


def _cells(exhibits: Exhibits, test: Outlook, image: int, row: Row, cosine: float) -> tuple[Cell, ...]:
    own = test.rows[image]
    judged = exhibits.classes[int(test.predicted[image])], float(test.top[image])
    return own.file, exhibits.classes[own.label], *judged, row.file, exhibits.classes[row.label], cosine
