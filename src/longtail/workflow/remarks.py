"""Sentences on the data that a request trains on, which are said before training."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from longtail.data.contrast import said_of_faded
from longtail.data.copies import said_of_copies, said_of_two_labels
from longtail.data.priors import read_prior, said_of_no_share
from longtail.data.splits import Data
from longtail.data.walking import some
from longtail.results import counted
from longtail.runs.siblings import changed_images, contents_of, listed_contents
from longtail.workflow.request import AUTO, Request


def remarks_on(data: Data, request: Request) -> Iterator[str]:
    """What was left out or is not looked at, images that lose their contrast, copies, and classes without a share."""
    if data.skipped:
        yield f"Left out {counted(len(data.skipped), 'file')} that cannot be read: {some(data.skipped)}"
    if request.split is not None and (said := _changed_since(request.split, data)):
        yield f"These are not the images of '{request.split}': {said}. Results cannot be compared with those on the former ones."
    if request.check in ("header", "none") and not data.train.digests:
        yield f"Images are known by name and class alone (`check={request.check}`): one that changes is not noticed."
    if data.faded:
        yield said_of_faded(data.faded)
    yield from filter(None, (said_of_copies(data, request.data), said_of_two_labels(data, request.data)))
    if request.prior is not None:
        shares = read_prior(request.prior, data.classes, data.class_counts)
        if said := said_of_no_share(request.prior, data.classes, shares, adjusted=request.method != AUTO):
            yield said


def _changed_since(split: Path, data: Data) -> str:
    """The files whose content is not the one that a stored split lists, or that were left out of it."""
    listed = listed_contents(split.read_bytes())
    return changed_images(listed, contents_of(data.splits)) if listed else ""
