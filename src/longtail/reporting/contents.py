"""What a report consists of: its sections, in their order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from longtail.reporting.answer import Answer
from longtail.reporting.class_counts import class_counts
from longtail.reporting.class_recalls import class_recalls
from longtail.reporting.class_table import class_table
from longtail.reporting.gains import gains
from longtail.reporting.gathering import Choice
from longtail.reporting.group_recalls import group_recalls
from longtail.reporting.section import Section
from longtail.reporting.summary import summary


def sections(answers: Sequence[Answer], choices: Sequence[Choice] = (), wording: Callable[[str], str] = str) -> Iterator[Section]:
    """The sections of a report on answers that share their classes and test images; those without content are left out.

    Args:
        choices: comparisons of methods that chose some of the answers.
        wording: changes sentences of a comparison, such as the names of options in them.
    """
    every = (
        summary(answers, [replace(each, verdict=[*map(wording, each.verdict)]) for each in choices]),
        group_recalls(answers),
        Section("Counts and recall", parts=(class_counts(answers[0]), class_recalls(answers), *gains(answers))),
        class_table(answers),
    )
    yield from (section for section in every if section.sentences or section.parts)
