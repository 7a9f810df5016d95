"""Which answer is ahead, by how much, and how surely: paired comparisons on the test images."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Sequence

import torch

from longtail.bootstrap import Difference, difference
from longtail.choosing import recall_interval
from longtail.reporting.answer import Answer
from longtail.results import GROUPS, counted, percent
from longtail.runs.report import RunReport
from longtail.runs.table import IDENTITY


def ranking(answers: Sequence[Answer]) -> Iterator[str]:
    """Sentences on the answer with the highest mean recall and on the distance of each other one, as `compare` finds it."""
    recalls = [answer.report.test.mean_recall for answer in answers]
    best = answers[recalls.index(max(recalls))]
    others = [(answer, ahead(best, answer)) for answer in answers if answer is not best]
    said = " ".join(_behind(answer, distance) for answer, distance in sorted(others, key=lambda pair: pair[1].value))
    yield (
        f"{best.name} has the highest mean recall, {share_with(best.report.test.mean_recall, interval_of(best.report))} on the "
        f"{counted(len(best.labels), 'test image')}. {said}"
    )


def ahead(best: Answer, other: Answer) -> Difference:
    """How much higher the mean recall of the first answer is than that of the second, with the interval of `compare`."""
    before, after = (torch.from_numpy(each.predicted == each.labels)[None] for each in (other, best))
    labels, prior = torch.from_numpy(best.labels), torch.ones(len(best.classes))
    return difference(before, after, labels, prior, paired=True)


def _behind(answer: Answer, distance: Difference) -> str:
    chance = ": these images cannot tell the two apart" if distance.within_noise else ""
    points = f"{100 * distance.value:.1f} points behind [{100 * distance.low:.1f}, {100 * distance.high:.1f}]"
    return f"{answer.name} ({percent(answer.report.test.mean_recall, unit=' %')}) is {points}{chance}."


def experiments(answers: Sequence[Answer]) -> list[list[Answer]]:
    """The answers of each experiment, which differ in the seed alone."""
    found: dict[str, list[Answer]] = {}
    for answer in answers:
        identity = json.dumps([answer.record.get(name) for name in IDENTITY], sort_keys=True)
        found.setdefault(identity, []).append(answer)
    return list(found.values())


def by_group(first: Answer, last: Answer) -> str:
    """Sentence on the recall of each group with two answers; "" where no class was evaluated."""
    before, after = first.report.test.group_recalls, last.report.test.group_recalls
    parts = [
        f"{name} {percent(before[name])} to {percent(after[name])}" for name in reversed(GROUPS) if name in before.keys() & after
    ]
    return f"From {first.name} to {last.name}, mean recall in %: {', '.join(parts)}." if parts else ""


def over_seeds(answers: Sequence[Answer]) -> str:
    """Sentence on the mean and the standard deviation of one experiment over its seeds."""
    values = {"all": [answer.report.test.mean_recall for answer in answers]}
    values |= {name: [answer.report.test.groups[name].recall for answer in answers] for name in GROUPS}
    evaluated = {name: value for name, value in values.items() if value[0] == value[0]}
    parts = [f"{name} {100 * statistics.mean(each):.1f} ± {100 * statistics.stdev(each):.1f}" for name, each in evaluated.items()]
    method = answers[0].report.method
    return f"{method} at {len(answers)} seeds, mean recall in %, mean ± standard deviation over the seeds: {', '.join(parts)}."


def alone(report: RunReport) -> str:
    """Sentence on the mean recall of a run, and that of its groups."""
    test = report.test
    interval = interval_of(report)
    evaluated = sum(count > 0 for count in test.test_counts)
    classes = counted(len(test.test_counts), "class")
    of = classes if evaluated == len(test.test_counts) else f"{evaluated:,} of {classes}"
    groups = ", ".join(f"{name} {percent(share, unit=' %')}" for name, share in test.group_recalls.items())
    return (
        f"{report.method} has a mean recall of {share_with(test.mean_recall, interval)} over {of} with "
        f"{counted(sum(test.test_counts), 'test image')}: {groups}."
    )


def interval_of(report: RunReport) -> tuple[float, float]:
    """95 % interval of the mean recall of a run."""
    return recall_interval(torch.tensor(report.test.recalls), torch.tensor(report.test.test_counts))


def share_with(share: float, interval: tuple[float, float]) -> str:
    """A share with its interval in percent, such as 70.1 % [67.6, 72.4]."""
    return f"{percent(share, unit=' %')} [{percent(interval[0])}, {percent(interval[1])}]"
