"""Writes the report of finished runs side by side: the one function that the command line and Python call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

from longtail import __version__
from longtail.data.walking import neighbours
from longtail.errors import UserError
from longtail.reporting.answer import Answer
from longtail.reporting.contents import Wanted, sections
from longtail.reporting.files import folder_of, write_sections
from longtail.reporting.gathering import read_answers, read_choice
from longtail.results import counted
from longtail.runs.layout import Folder, as_folders, runs_in
from longtail.runs.output import check_output

PAGE = "report.html"


def write_report_page(
    runs: Folder | Sequence[Folder],
    output: str | Path | None = None,
    *,
    groups: str = "shots",
    prior: str | None = None,
    wording: Callable[[str], str] = str,
    **wanted: Any,
) -> Path:
    """Writes one page of HTML that shows finished runs side by side, with a folder of its figures as PNG and numbers as CSV.

    `longtail.write_report_page(["runs/photos/gcl/0-1a2b3c"])` returns the path of the page.

    Args:
        runs: folders of finished runs, of comparisons, or of one method's runs, or results of `longtail.train`, which share
            their classes and test images; or one of these.
        output: page to write, which ends in .html; report.html in the folder of the first run if not given.
        groups: rule that gathers classes in groups: "shots" or "auto".
        prior: class prior that the scores are adjusted to: uniform, train, or a CSV label,share; None to leave them as they are.
        wording: changes sentences of a comparison, such as the names of options in them.
        wanted: what is shown beside the results, as fields of `longtail.reporting.contents.Wanted`: `images=` says where the
            images are (a path), `pictures=False` leaves them out, `tsne=("auto",)` draws an embedding.

    Raises:
        MissingFileError: a folder holds no finished run.
        UserError: there is no run, a file is damaged, the runs cannot be shown side by side, the images are not where they are
            said to be, or the page cannot be written.
    """
    folders = [each for folder in as_folders(runs) for each in runs_in(folder) or [folder]]
    if not folders:
        raise UserError("Give the folder of at least one run for a report.")
    page = folders[0] / PAGE if output is None else Path(output).expanduser()
    folder_of(page)
    check_output(page)
    shown = Wanted(**wanted)
    if shown.images is not None:
        shown = replace(shown, images=_there(Path(shown.images).expanduser()))
    answers = read_answers(folders, groups=groups, prior=prior, trust_code=shown.trust_code)
    choices = [choice for choice in map(read_choice, dict.fromkeys(folders)) if choice is not None]
    return write_sections(page, *_headings(answers), list(sections(answers, choices, wording, shown)))


def _there(images: Path) -> Path:
    """The path of the images, refused where there is nothing."""
    if not images.exists():
        raise UserError(f"There are no images at '{images}'. {neighbours(images)}")
    return images


def _headings(answers: Sequence[Answer]) -> tuple[str, str]:
    """Title and subtitle of the page."""
    report = answers[0].report
    training, test = counted(sum(report.class_counts), "training image"), counted(len(answers[0].labels), "test image")
    counts = f"{counted(len(report.classes), 'class')}, {training} and {test}"
    return (
        f"{report.setting}: {', '.join(answer.name for answer in answers)}",
        f"{counts}. Written on {date.today().isoformat()} by longtail {__version__}.",
    )
