"""The section of a report with the images themselves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from longtail.data.splits import Data
from longtail.errors import UserError
from longtail.reporting.answer import Answer
from longtail.reporting.copies import equal_files, nearly_equal
from longtail.reporting.copies_gallery import gallery_of_copies
from longtail.reporting.galleries import Array, Exhibits, gallery_of_errors, gallery_of_suspects
from longtail.reporting.originals import Originals, originals_of
from longtail.reporting.outlook import NOTHING, Outlook, Watch, outlook_of_test, outlook_of_training
from longtail.reporting.section import Gallery, Section
from longtail.reporting.suspects import sure_from, suspected
from longtail.reporting.tail_gallery import gallery_of_tail
from longtail.reporting.thumbnails import Thumbnails
from longtail.results import counted
from longtail.runs.serving import load

TITLE = "Images"
MOST_LOOKED_AT = 5_000  # training images
SEEN = (
    "The network was trained on the labels of the training images and has learned many wrong ones by heart: those it still "
    "contradicts are shown, and those that it has learned are missing."
)


def pictures(
    answers: Sequence[Answer],
    folder: Path | None = None,
    *,
    data: Data | None = None,
    outside: bool = False,
    device: str = "auto",
    trust_code: bool = False,
    most: int = MOST_LOOKED_AT,
    watch: Watch | None = None,
) -> Section:
    """The images themselves, of the last answer; a section without parts where it is not known where the images are.

    Args:
        folder: folder of the images, or the CSV that lists them; for CIFAR the folder with the official files.
        data: the images as the run was given them; None where they are not at hand.
        outside: whether files outside the folder may be opened, as a CSV may name.
        device: where the network looks at the training images: auto, cpu or cuda.
        trust_code: run the user's own code that the run was trained with, if the network needs any.
        most: number of training images above which as many are drawn, evenly from all classes.
        watch: called with (number of training images seen, number of all).
    """
    answer = answers[-1]
    originals = originals_of(answer, folder, data=data, outside=outside)
    if originals is None or not originals.rows:
        return Section(TITLE)
    test, (training, why) = outlook_of_test(answer, originals.rows), _training(answer, originals, device, trust_code, most, watch)
    exhibits = Exhibits(answer.name, answer.classes, Thumbnails(originals))
    parts = [part for part in _galleries(answer, exhibits, test, training) if any(shown for _, shown in part.rows)]
    said = [*_sentences(exhibits, training, most), *why] if parts or originals.unread else []
    return Section(TITLE, said, parts)


def _training(
    answer: Answer, originals: Originals, device: str, trust_code: bool, most: int, watch: Watch | None
) -> tuple[Outlook, list[str]]:
    """The outlook on the training images; nothing, and why, where the network cannot be loaded."""
    try:
        predictor = load(answer.folder, device=device, trust_code=trust_code)
    except UserError as error:
        return NOTHING, [f"The training images were not looked at. {error}"]
    return outlook_of_training(predictor, originals, limit=most, watch=watch), []


def _galleries(answer: Answer, exhibits: Exhibits, test: Outlook, training: Outlook) -> Iterator[Gallery]:
    yield gallery_of_errors(exhibits, test)
    yield gallery_of_tail(exhibits, answer, test, training)
    yield gallery_of_suspects(exhibits, list(_suspects(test, training, len(answer.classes))))
    originals = exhibits.thumbnails.originals
    yield gallery_of_copies(exhibits, equal_files(originals.rows), nearly_equal(test, training, exhibits.thumbnails.grey))


def _suspects(test: Outlook, training: Outlook, classes: int) -> Iterator[tuple[str, Outlook, Array]]:
    """Heading, images and indices of the suspected ones; validation images, as test images, were not trained on."""
    for name, outlook in {"test": test, "validation": training.of_split("val"), "training": training.of_split("train")}.items():
        found = suspected(outlook, sure_from(outlook, classes))
        if len(found):
            yield f"Suspected labels, {name} images", outlook, found


def _sentences(exhibits: Exhibits, training: Outlook, most: int) -> Iterator[str]:
    originals, name = exhibits.thumbnails.originals, exhibits.name
    every = sum(row.split != "test" for row in originals.rows)
    yield f"Images of the run {name}."
    if len(training.rows):
        drawn = ", drawn evenly from all classes" if every > most else ", the others cannot be opened"
        share = "each" if len(training.rows) == every else f"{len(training.rows):,} of {every:,}{drawn},"
        yield f"Its network looked at the training and validation images ({share} in one view). {SEEN}"
    if originals.unread:
        unread = len(originals.unread)
        were = "1 image that was looked for is" if unread == 1 else f"{unread:,} images that were looked for are"
        yield f"{were} missing or changed, or cannot be opened, and left out."
    if exhibits.thumbnails.refused:
        refused = exhibits.thumbnails.refused
        yield f"{counted(refused, 'picture')} {'is' if refused == 1 else 'are'} left out, so that the report stays small."
