"""Reads finished runs that are to be compared: the same test images in the same order, and the seeds of a method together."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from longtail.errors import MissingFileError, UserError
from longtail.runs.folder import RunFolder
from longtail.runs.judged import adjusted_to
from longtail.runs.judging import judged_again
from longtail.runs.layout import chosen_run, runs_in
from longtail.runs.listed import Image, listed_images, option_for_same_images
from longtail.runs.report import RunReport
from longtail.runs.table import IDENTITY

Hits = Bool[Tensor, " images"]


@dataclass(frozen=True)
class Answers:
    """What a finished run answers on its test images.

    Args:
        folder: the run folder.
        record: what makes the experiment, which its runs at several seeds have in common.
        report: its report, with the values that `longtail tune` chose.
        tuned: whether there are any.
        images: the test images; None where the run does not name them.
        labels: class of each image (M,).
        hits: whether each image is classified correctly (M,).
        adjusted: the same with scores adjusted to a class prior; None where none was asked for, or they cannot be adjusted.
        note: sentence on the adjustment; "" for none.
    """

    folder: Path
    record: Mapping[str, Any]
    report: RunReport
    tuned: bool
    images: Sequence[Image] | None
    labels: Tensor
    hits: Hits
    adjusted: Hits | None = None
    note: str = ""

    @property
    def identity(self) -> str:
        """Text that runs of one experiment have in common."""
        return json.dumps(self.record, sort_keys=True)


@dataclass(frozen=True)
class Method:
    """The runs of one experiment, one per seed, on the same test images in the same order."""

    runs: tuple[Answers, ...]

    @property
    def seeds(self) -> list[int]:
        """Seed of each run."""
        return [run.report.seed for run in self.runs]

    @property
    def hits(self) -> Tensor:
        """Whether each run classifies each image correctly (seeds, M)."""
        return torch.stack([run.hits for run in self.runs])

    @property
    def adjusted(self) -> Tensor | None:
        """The same with scores adjusted to a class prior; None unless that is known of all runs."""
        known = [run.adjusted for run in self.runs if run.adjusted is not None]
        return torch.stack(known) if len(known) == len(self.runs) else None


def read_methods(folders: Sequence[Path], *, groups: str, prior: str | None, trust_code: bool) -> list[Method]:
    """Reads runs, and gathers those of one experiment, in the order in which they are given.

    Args:
        folders: run folders, folders of comparisons, of which the chosen run is read, or folders of one method's runs.
        groups: rule that gathers classes in groups.
        prior: class prior that scores are adjusted to as well, "train" being that of the first run; None for none.
        trust_code: run the users' own code that tuned models are made of, if they need any.

    Raises:
        UserError: a folder is given twice, holds no finished run, or the runs were not evaluated on the same images and classes.
    """
    found = [run for folder in folders for run in _runs_in(folder)]
    places = [run.resolve() for run in found]
    twice = next((run for run, place in zip(found, places, strict=True) if places.count(place) > 1), None)
    if twice is not None:
        raise UserError(f"'{twice}' is given twice; give runs of different methods.")
    runs: list[Answers] = []
    for folder in found:
        counts = runs[0].report.class_counts if runs else None
        answers = _answers(folder, groups=groups, prior=prior, counts=counts, trust_code=trust_code)
        runs.append(_aligned(answers, runs[0]) if runs else answers)
    return _gathered(runs)


def _runs_in(folder: Path) -> list[Path]:
    """The finished run that a folder is, or that a comparison in it chose, or all those of a method's folder."""
    found = runs_in(folder)
    if not found:
        raise MissingFileError(f"'{folder}' holds no finished run; give run folders, or folders of a method's runs.")
    return [chosen_run(each) for each in found]


def _answers(folder: Path, *, groups: str, prior: str | None, counts: Sequence[int] | None, trust_code: bool) -> Answers:
    judged = judged_again(folder, groups=groups, trust_code=trust_code)
    run, record = RunFolder(folder), RunFolder(folder).record
    experiment = {name: record.get(name) for name in IDENTITY}
    tuned = bool(judged.notes)
    images = _images(run, len(judged.labels))
    answers = Answers(folder, experiment, judged.report, tuned, images, judged.labels, judged.hits)
    if prior is None:
        return answers
    try:
        adjusted = adjusted_to(judged, prior, counts=counts)
    except UserError as error:
        return replace(answers, note=str(error))
    return replace(answers, adjusted=adjusted.hits, note=adjusted.notes[-1])


def _images(run: RunFolder, number: int) -> list[Image] | None:
    """The test images of a run in the order of its predictions; None where split.csv does not list as many."""
    try:
        found = listed_images(run.read("split.csv"))
    except MissingFileError:
        return None
    return found if len(found) == number else None


def _aligned(run: Answers, first: Answers) -> Answers:
    """The run with its images in the order of the first one's.

    Raises:
        UserError: the classes or the test images are not the same.
    """
    both = f"'{first.folder}' and '{run.folder}'"
    if [entry.name for entry in run.report.classes] != [entry.name for entry in first.report.classes]:
        raise UserError(f"{both} have different classes; runs can be compared that were trained on the same ones.")
    if first.images is None or run.images is None:
        if not torch.equal(first.labels, run.labels):
            raise UserError(f"{both} were not evaluated on the same test images: their classes differ.")
        return run
    known = all(image[2] for image in (*first.images, *run.images))  # else the contents of some were not looked at
    here, there = (images if known else [(path, label, "") for path, label, _ in images] for images in (first.images, run.images))
    place = {image: index for index, image in enumerate(there)}
    missing = [image for image in here if image not in place]
    if missing or len(run.images) != len(first.images):
        number, such_as = (
            len(missing) or abs(len(run.images) - len(first.images)),
            f", such as {missing[0][0]}" if missing else "",
        )
        option = option_for_same_images(first.folder)
        same = f" Train with {option} to have the same." if option else ""
        raise UserError(
            f"{both} were not evaluated on the same test images: {number} of {len(first.images)} differ{such_as}.{same}"
        )
    order = torch.tensor([place[image] for image in here])
    adjusted = None if run.adjusted is None else run.adjusted[order]
    return replace(run, images=first.images, labels=run.labels[order], hits=run.hits[order], adjusted=adjusted)


def _gathered(runs: Sequence[Answers]) -> list[Method]:
    """Runs of one experiment at different seeds as one method; a seed that is there already begins another one."""
    methods: list[list[Answers]] = []
    for run in runs:
        own = next((each for each in methods if _belongs(run, each)), None)
        if own is None:
            methods.append([run])
        else:
            own.append(run)
    return [Method(tuple(sorted(each, key=lambda run: run.report.seed))) for each in methods]


def _belongs(run: Answers, method: Sequence[Answers]) -> bool:
    alike = (run.identity, run.tuned) == (method[0].identity, method[0].tuned)
    return alike and run.report.seed not in {other.report.seed for other in method}


def names_of(methods: Sequence[Method]) -> list[str]:
    """A name for each method: the recipe's, with the run folder's where several have the same."""
    plain = [f"{method.runs[0].report.method}{', tuned' * method.runs[0].tuned}" for method in methods]
    names = zip(plain, methods, strict=True)
    distinct = [f"{name}, {each.runs[0].folder.name}" if plain.count(name) > 1 else name for name, each in names]
    return list(_numbered(distinct))


def _numbered(names: Sequence[str]) -> Iterator[str]:
    """The names, those that are there already with a number."""
    for index, name in enumerate(names):
        yield f"{name} ({names[: index + 1].count(name)})" if name in names[:index] else name
