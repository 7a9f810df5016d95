"""Which answer is ahead, by how much, and how surely: paired comparisons on the test images."""

from __future__ import annotations

import json
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from longtail.bootstrap import Difference, difference
from longtail.choosing import recall_interval
from longtail.data.priors import read_prior
from longtail.metrics import accuracy_under_prior
from longtail.reporting.answer import Answer
from longtail.results import GROUPS, counted, percent
from longtail.runs.report import RunReport
from longtail.runs.table import IDENTITY


@dataclass(frozen=True)
class Contender:
    """The runs of one experiment, which differ in the seed alone, beside those of others.

    Args:
        runs: its runs, by seed.
        shares: class frequencies that they are judged by (C,); equal ones for the mean recall.
    """

    runs: Sequence[Answer]
    shares: Tensor

    @property
    def name(self) -> str:
        """Name of the experiment."""
        return name_of_experiment(self.runs)

    @property
    def value(self) -> float:
        """Mean over the runs of the accuracy under the shares."""
        recalls = [torch.tensor(run.report.test.recalls, dtype=torch.float64) for run in self.runs]
        return statistics.mean(accuracy_under_prior(each, self.shares) for each in recalls)

    @property
    def hits(self) -> Tensor:
        """Whether each run classifies each test image correctly (S, M)."""
        return torch.stack([torch.from_numpy(run.predicted == run.labels) for run in self.runs])

    @property
    def said(self) -> str:
        """The value, with its interval where there is one run, and with the number of seeds where there are several."""
        if len(self.runs) > 1:
            return f"{percent(self.value, unit=' %')} over {len(self.runs)} seeds"
        if bool((self.shares == self.shares[0]).all()):
            return share_with(self.value, interval_of(self.runs[0].report))
        return percent(self.value, unit=" %")


def ranking(every: Sequence[Sequence[Answer]]) -> Iterator[str]:
    """Sentences on the experiment that is ahead and on the distance of each other one, as `compare` finds it over all seeds.

    They are judged by the mean recall, or by the accuracy under the class prior that the scores are adjusted to.
    """
    first = every[0][0]
    shares, what = torch.ones(len(first.classes)), "mean recall"
    if first.prior is not None:
        shares = read_prior(first.prior, first.classes, first.report.class_counts)
        what = f"expected accuracy under the class prior '{first.prior}'"
    contenders = [Contender(runs, shares) for runs in every]
    best = max(contenders, key=lambda each: each.value)
    others = sorted(((ahead(best, each), each) for each in contenders if each is not best), key=lambda pair: pair[0].value)
    said = " ".join(_behind(each, distance, several=max(map(len, every)) > 1) for distance, each in others)
    yield f"{best.name} has the highest {what}, {best.said} on the {counted(len(first.labels), 'test image')}. {said}"


def ahead(best: Contender, other: Contender) -> Difference:
    """How much higher the value of the first experiment is than that of the second, with the interval of `compare`."""
    seeds = [[run.report.seed for run in each.runs] for each in (best, other)]
    labels = torch.from_numpy(best.runs[0].labels)
    return difference(other.hits, best.hits, labels, best.shares, paired=seeds[0] == seeds[1])


def _behind(other: Contender, distance: Difference, *, several: bool) -> str:
    cause = "images and seeds" if several else "images"
    chance = f": these {cause} cannot tell the two apart" if distance.within_noise else ""
    points = f"{100 * distance.value:.1f} points behind [{100 * distance.low:.1f}, {100 * distance.high:.1f}]"
    return f"{other.name} ({percent(other.value, unit=' %')}) is {points}{chance}."


def experiments(answers: Sequence[Answer]) -> list[list[Answer]]:
    """The answers of each experiment, which differ in the seed alone; a seed that comes again begins another experiment.

    Where experiments would have one name (`name_of_experiment`), their runs' names say the hash of the first run, too.
    """
    found, taken = dict[tuple[str, int], list[Answer]](), Counter[tuple[str, int]]()
    for answer in answers:
        identity = json.dumps([answer.record.get(name) for name in IDENTITY], sort_keys=True)
        found.setdefault((identity, taken[identity, answer.report.seed]), []).append(answer)
        taken[identity, answer.report.seed] += 1
    every = [sorted(runs, key=lambda run: run.report.seed) for runs in found.values()]
    names = [name_of_experiment(runs) for runs in every]
    return [_told_apart(runs) if names.count(name) > 1 else runs for runs, name in zip(every, names, strict=True)]


def _told_apart(runs: Sequence[Answer]) -> list[Answer]:
    mark = f" ({runs[0].folder.name.rpartition('-')[2]})"
    return [replace(run, name=run.name.partition(", seed ")[0] + mark + f", seed {run.report.seed}") for run in runs]


def name_of_experiment(runs: Sequence[Answer]) -> str:
    """Name of a run; of several that differ in the seed, what their names have in common."""
    first = runs[0]
    return first.name.replace(f", seed {first.report.seed}", "", 1) if len(runs) > 1 else first.name


def by_group(first: Sequence[Answer], last: Sequence[Answer]) -> str:
    """Sentence on the recall of each group with two experiments, means over seeds; "" where no class was evaluated."""
    before, after = ([run.report.test.group_recalls for run in runs] for runs in (first, last))
    names = [name for name in reversed(GROUPS) if name in before[0].keys() & after[0]]
    parts = [f"{name} {_mean(before, name)} to {_mean(after, name)}" for name in names]
    return (
        f"From {name_of_experiment(first)} to {name_of_experiment(last)}, mean recall in %: {', '.join(parts)}." if parts else ""
    )


def _mean(recalls: Sequence[Mapping[str, float]], name: str) -> str:
    return percent(statistics.mean(each[name] for each in recalls))


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
