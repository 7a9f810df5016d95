"""Reads the runs that a report shows: finished runs, and comparisons of methods with what was chosen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from longtail.errors import DamagedFile, UserError
from longtail.reporting.answer import Answer, read_answer
from longtail.runs.layout import ANSWERS, chosen_run
from longtail.runs.listed import option_for_same_images, said_of_other
from longtail.runs.seals import REMEDY, read_json

OF_TEST = ", which nothing was chosen on: "  # in the sentence of a choice on its test images


@dataclass(frozen=True)
class Choice:
    """A comparison of methods on validation images, as `auto` wrote it.

    Args:
        chosen: name of the candidate that was chosen.
        candidates: name, cost, recall on the validation images and distance from the best of each candidate.
        verdict: sentences on the choice; none on the test images, whose result is that of the chosen run as it is now.
    """

    chosen: str
    candidates: Sequence[Mapping[str, Any]]
    verdict: Sequence[str]


def read_answers(folders: Sequence[Path], *, groups: str, prior: str | None = None, trust_code: bool = False) -> list[Answer]:
    """Reads finished runs, each once, and gives each a name of its own.

    Args:
        folders: folders of runs, or of comparisons, of which the chosen runs are read.
        groups: rule that gathers classes in groups.
        prior: class prior that the scores are adjusted to: uniform, train (of the first run), or a CSV label,share; None to
            leave them as they are.
        trust_code: run the user's own code that a model is made of, which a tuned run may need.

    Raises:
        MissingFileError: a folder holds no finished run.
        UserError: a file is damaged, or the runs have other classes or test images than the first.
    """
    runs = {chosen_run(folder).resolve(): chosen_run(folder) for folder in folders}.values()
    unnamed: list[Answer] = []
    for run in runs:
        counts = unnamed[0].report.class_counts if unnamed else None
        unnamed.append(read_answer(run, "", groups=groups, prior=prior, counts=counts, trust_code=trust_code))
    answers = [replace(answer, name=name) for answer, name in zip(unnamed, names_of(unnamed), strict=True)]
    for other in answers[1:]:
        _check_comparable(answers[0], other)
    return answers


def names_of(answers: Sequence[Answer]) -> list[str]:
    """Name of each run: its method, with its seed where methods are equal, with its hash where the seeds are, too."""
    reports = [answer.report for answer in answers]
    with_seeds = [f"{report.method}, seed {report.seed}" for report in reports]
    methods, seeds = Counter(report.method for report in reports), Counter(with_seeds)
    names = []
    for answer, name in zip(answers, with_seeds, strict=True):
        longer = name if seeds[name] == 1 else f"{name} ({answer.record['experiment'][:6]})"
        names.append(answer.report.method if methods[answer.report.method] == 1 else longer)
    return [f"{number}: {name}" if names.count(name) > 1 else name for number, name in enumerate(names, 1)]


def _check_comparable(first: Answer, other: Answer) -> None:
    if first.classes != other.classes:
        raise UserError(_apart(first, other, "classes"))
    both = bool(first.files) and bool(other.files)
    differing = said_of_other(first.images, other.images) if both else ""
    in_order = not both or list(first.files) == list(other.files)
    if differing or not in_order or not np.array_equal(first.labels, other.labels):
        option = option_for_same_images(first.folder) if differing else ""
        how = f" {differing}; train with {option} to have the same." if option else f" {differing}." if differing else ""
        raise UserError(f"{_apart(first, other, 'test images')}{how}")


def _apart(first: Answer, other: Answer, what: str) -> str:
    return (
        f"'{first.folder}' and '{other.folder}' were evaluated on other {what}; a report shows runs side by side that share "
        f"their classes and test images."
    )


def read_choice(folder: Path) -> Choice | None:
    """Reads the comparison of methods in a folder; None where the folder is that of a run.

    Raises:
        DamagedFile: answers.json is no comparison.
    """
    if not (folder / ANSWERS).exists():
        return None
    content: Any = read_json(folder, ANSWERS)
    try:
        stored = content["verdict"]
        said = [stored] if isinstance(stored, str) else [*map(str, stored)]
        said = [sentence for sentence in said if OF_TEST not in sentence]  # which former versions stored as well
        return Choice(str(content["chosen"]), content["candidates"], said)
    except (KeyError, TypeError) as error:
        raise DamagedFile(f"'{folder / ANSWERS}' is not a whole comparison of methods. {REMEDY}") from error
