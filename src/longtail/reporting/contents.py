"""What a report consists of: its sections, in their order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from longtail.data.splits import Data
from longtail.reporting.answer import Answer
from longtail.reporting.calibration import calibration
from longtail.reporting.class_counts import class_counts
from longtail.reporting.class_recalls import class_recalls
from longtail.reporting.class_table import class_table
from longtail.reporting.confusions import confusions
from longtail.reporting.gains import gains
from longtail.reporting.gathering import Choice
from longtail.reporting.gcl_figures import gcl_figures
from longtail.reporting.group_recalls import group_recalls
from longtail.reporting.other_priors import other_priors
from longtail.reporting.pictures import pictures
from longtail.reporting.section import Section
from longtail.reporting.summary import summary
from longtail.reporting.training import training


@dataclass(frozen=True)
class Wanted:
    """What a report shows beside the results.

    Args:
        pictures: whether it shows images.
        images: folder of the images, or the CSV that lists them; None where it is not known.
        data: the images as the run was given them; None where they are not at hand.
        outside: whether files outside the folder may be opened, as a CSV may name.
        device: where the network looks at the training images: auto, cpu or cuda.
        trust_code: run the user's own code that the run was trained with, if the network needs any.
        tsne: names of the classes whose embedding is drawn; ("auto",) for four of different counts, () for no such figure.
    """

    pictures: bool = True
    images: Path | None = None
    data: Data | None = None
    outside: bool = False
    device: str = "auto"
    trust_code: bool = False
    tsne: Sequence[str] = ()


NO_PICTURES = Wanted(pictures=False)


def sections(
    answers: Sequence[Answer],
    choices: Sequence[Choice] = (),
    wording: Callable[[str], str] = str,
    wanted: Wanted = NO_PICTURES,
) -> Iterator[Section]:
    """The sections of a report on answers that share their classes and test images; those without content are left out.

    Args:
        choices: comparisons of methods that chose some of the answers.
        wording: changes sentences of a comparison, such as the names of options in them.
        wanted: what is shown beside the results.
    """
    every = (
        summary(answers, [replace(each, verdict=[*map(wording, each.verdict)]) for each in choices]),
        group_recalls(answers),
        Section("Counts and recall", parts=(class_counts(answers[0]), class_recalls(answers), *gains(answers))),
        class_table(answers),
        confusions(answers),
        calibration(answers),
        other_priors(answers),
        _pictures(answers, wanted),
        training(answers),
        gcl_figures(answers, tsne=wanted.tsne),
    )
    yield from (section for section in every if section.sentences or section.parts)


def _pictures(answers: Sequence[Answer], wanted: Wanted) -> Section:
    if not wanted.pictures:
        return Section("Images")
    how = {name: getattr(wanted, name) for name in ("data", "outside", "device", "trust_code")}
    return pictures(answers, wanted.images, **how)
