"""Reads labelled images for a run's classifier: its scores, what was left out, and which images the run was trained on."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from longtail.data.class_names import in_known_form, meant, said_of_known_form
from longtail.data.collection import Listing
from longtail.data.contrast import said_of_faded
from longtail.data.folder import said_of_corrupt
from longtail.data.listing import list_images, said_of_unlisted, unlisted
from longtail.data.reading import Decoded, read_all
from longtail.data.walking import some
from longtail.errors import BadFolder, CorruptImage, UserError
from longtail.metrics import as_scored
from longtail.results import counted
from longtail.running import RunningResult
from longtail.runs.folder import RunFolder
from longtail.runs.locks import Note
from longtail.runs.model_config import square_of
from longtail.runs.serving import Predictor

BATCH = 256
LEARNED = {"train", "val"}


@dataclass(frozen=True)
class Scored:
    """What was found on labelled images.

    Args:
        running: counts of what was recognised, for `longtail.metrics.result_of`.
        adjusted: the same with the offset added to the scores; None without an offset.
        digests: hash of the content of each image that can be read.
        said: sentences for the user on what was left out.
    """

    running: RunningResult
    adjusted: RunningResult | None
    digests: list[str]
    said: tuple[str, ...]


def listed_for(path: Path, classes: Sequence[str], *, missing_ok: bool, outside: bool, note: Note) -> Listing:
    """The labelled images of a folder or CSV, of its test split alone where it has splits, under the classes of a run.

    A class whose name is equal to one of the run's but for its Unicode form is that class.

    Raises:
        BadFolder: there are no test images, or a class is not one of `classes`.
    """
    whole = list_images(path, missing_ok=missing_ok, outside=outside)
    for said in (*whole.notes, *said_of_unlisted(unlisted(whole))):
        note(said)
    listing = whole.of_split("test")
    if not whole.files:
        raise BadFolder(f"'{path}' has no labelled images; expected one folder per class, or a CSV path,label.")
    if not listing.files:
        folder = f"Give a folder of classes, such as '{path / Path(whole.files[0]).parts[0]}'"
        instead = "Leave out the column split" if whole.csv else folder
        raise BadFolder(f"'{path}' has images for {', '.join(sorted(set(whole.splits or ())))} and none for test. {instead}.")
    renamed = in_known_form(listing.labels, set(classes))
    if renamed:
        note(said_of_known_form(renamed))
        listing = replace(listing, labels=tuple(renamed.get(name, name) for name in listing.labels))
    _refuse_unknown(listing, classes, path)
    return listing


def _refuse_unknown(listing: Listing, classes: Sequence[str], path: Path) -> None:
    unknown = sorted(set(listing.labels) - set(classes))
    if not unknown:
        return
    known, hint = some(f"'{name}'" for name in classes), meant(unknown[0], classes)
    what = f"'{path}' has the class '{unknown[0]}', which the run does not know; it knows {known}.{hint}"
    remedy = (
        "Give its images the name of a class of the run, or take their lines out"
        if listing.csv
        else ("Give its folder the name of a class of the run, or take it out")
    )
    raise BadFolder(f"{what} {remedy}.")


def scored_images(
    predictor: Predictor,
    root: Path,
    files: Sequence[str],
    labels: Tensor,
    *,
    views: int,
    skip_corrupt: bool,
    offset: Tensor | None,
) -> Scored:
    """What the predictor recognises on image files (N,) of these classes, read in batches, and with an offset (C,) to its scores.

    Raises:
        BadFolder: no file can be read.
        CorruptImage: a file cannot be read, and `skip_corrupt` is False.
    """
    kept, digests, corrupt, faded = list[int](), list[str](), list[str](), list[str]()

    def readable() -> Iterator[Tensor]:
        for index, image in enumerate(read_all(root, files, **square_of(predictor.config))):
            if isinstance(image, Decoded):
                kept.append(index)
                digests.append(image.digest)
                faded.extend([files[index]] * image.faded)
                yield image.pixels
            elif skip_corrupt:
                corrupt.append(files[index])
            else:
                raise CorruptImage(said_of_corrupt({files[index]: image}))

    running, adjusted = RunningResult(len(predictor.classes)), RunningResult(len(predictor.classes))
    for batch in _batches(readable()):
        rows = predictor.scores(torch.stack(batch), views=views)
        truth = labels[kept[-len(batch) :]]
        running.add(*as_scored("evaluate", rows, truth))
        if offset is not None:
            adjusted.add(rows + offset.to(rows), truth)
    if not kept:
        raise BadFolder(f"None of the {counted(len(files), 'file')} in '{root}' could be read as an image.")
    left = f"Left out {counted(len(corrupt), 'file')} that cannot be read: {some(corrupt)}" if corrupt else ""
    said = tuple(filter(None, (left, said_of_faded(faded) if faded else "")))
    return Scored(running, None if offset is None else adjusted, digests, said)


def _batches(pixels: Iterator[Tensor]) -> Iterator[list[Tensor]]:
    waiting = list[Tensor]()
    for image in pixels:
        waiting.append(image)
        if len(waiting) == BATCH:
            yield waiting
            waiting = []
    if waiting:
        yield waiting


def said_of_training_images(run: Path, digests: Collection[str]) -> tuple[str, ...]:
    """A sentence where images, given by the hashes of their content, are among those that a run was trained or chosen on."""
    try:
        content = RunFolder(run).read("split.csv").decode(errors="surrogateescape")
    except UserError:
        return ()  # a run without the list of its images is judged all the same
    rows = csv.DictReader(io.StringIO(content, newline=""))
    learned = {row["content"] for row in rows if row.get("split") in LEARNED and row.get("content")}
    known = sum(digest in learned for digest in digests)
    if not known:
        return ()
    what = (
        f"{known:,} of {counted(len(digests), 'image')} {'is' if known == 1 else 'are'} among those that the run was trained on"
    )
    instead = "Without the folder, `longtail evaluate` reads the results on the run's own test images"
    return (f"{what}, so these results look better than they are. {instead}.",)
