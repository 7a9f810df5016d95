"""Which answer is ahead, by how much, and how surely: paired comparisons on the test images."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Sequence

import torch

from longtail.choosing import Comparison, compared, recall_interval
from longtail.reporting.answer import Answer
from longtail.results import GROUPS, Z95, counted, percent
from longtail.runs.report import RunReport
from longtail.runs.table import IDENTITY

DRAWN = 20_000_000  # images that all bootstrap draws have together, which bounds memory and time


def comparisons(answers: Sequence[Answer]) -> list[Comparison]:
    """Mean recall of each answer with its interval, and its distance from the best with its paired bootstrap error."""
    labels = torch.from_numpy(answers[0].labels)
    hits = torch.stack([torch.from_numpy(answer.predicted == answer.labels) for answer in answers])
    draws = max(min(2000, DRAWN // len(labels)), 200)
    return compared(hits, labels, torch.ones(len(answers[0].classes)), draws=draws)


def ranking(answers: Sequence[Answer]) -> Iterator[str]:
    """Sentences on the answer with the highest mean recall and on the distance of each other one."""
    results = comparisons(answers)
    best = max(range(len(answers)), key=lambda index: results[index].recall)
    yield (
        f"{answers[best].name} has the highest mean recall, {share_with(results[best].recall, results[best].interval)} on the "
        f"{len(answers[0].labels):,} test images. {' '.join(_behind(answers, results, best))}"
    )


def _behind(answers: Sequence[Answer], results: Sequence[Comparison], best: int) -> Iterator[str]:
    for index in sorted(range(len(answers)), key=lambda index: results[index].behind):
        result = results[index]
        if index != best:
            ends = [100 * (result.behind + side * Z95 * result.standard_error) for side in (-1, 1)]
            chance = ": these images cannot tell the two apart" if ends[0] <= 0 else ""
            points = f"{100 * result.behind:.1f} points behind [{ends[0]:.1f}, {ends[1]:.1f}]"
            yield f"{answers[index].name} ({percent(result.recall, unit=' %')}) is {points}{chance}."


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
    interval = recall_interval(torch.tensor(test.recalls), torch.tensor(test.test_counts))
    evaluated = sum(count > 0 for count in test.test_counts)
    of = f"{len(test.test_counts):,}" if evaluated == len(test.test_counts) else f"{evaluated:,} of {len(test.test_counts):,}"
    groups = ", ".join(f"{name} {percent(share, unit=' %')}" for name, share in test.group_recalls.items())
    return (
        f"{report.method} has a mean recall of {share_with(test.mean_recall, interval)} over {of} classes with "
        f"{counted(sum(test.test_counts), 'test image')}: {groups}."
    )


def share_with(share: float, interval: tuple[float, float]) -> str:
    """A share with its interval in percent, such as 70.1 % [67.6, 72.4]."""
    return f"{percent(share, unit=' %')} [{percent(interval[0])}, {percent(interval[1])}]"
