"""Compares finished runs on the same test images, with paired intervals over images and seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from longtail.bootstrap import Difference, class_differences, difference
from longtail.choosing import Prior, image_weights
from longtail.data.groups import shot_groups
from longtail.data.priors import read_prior
from longtail.errors import UserError
from longtail.results import GROUP_RULES, GROUPS, counted
from longtail.runs.compared import Answers, Method, names_of, read_methods
from longtail.runs.layout import Folder, as_folders
from longtail.runs.report import RunReport
from longtail.runs.row_differences import differences_of
from longtail.text import unknown


@dataclass(frozen=True)
class Compared:
    """A number of the baseline and of another method, means over seeds, and their difference; all are shares."""

    before: float
    after: float
    difference: Difference


@dataclass(frozen=True)
class ComparedClass:
    """The recalls of one class.

    Args:
        name: name of the class.
        group: group that it belongs to.
        train_images, test_images: its number of images.
        recall: the recalls and their difference; None without test images.
    """

    name: str
    group: str
    train_images: int
    test_images: int
    recall: Compared | None


@dataclass(frozen=True)
class Contest:
    """A method beside the baseline.

    Args:
        name: the method's name.
        seeds: seed of each of its runs.
        paired: whether its runs have the seeds of the baseline's, and were compared seed by seed.
        numbers: "all" (mean recall), the groups that have test images, "accuracy", and with a class prior "prior" (the expected
            accuracy under it) and "prior, adjusted" (with scores adjusted to it, where those of all runs can be).
        classes: the classes (C,).
    """

    name: str
    seeds: tuple[int, ...]
    paired: bool
    numbers: Mapping[str, Compared]
    classes: tuple[ComparedClass, ...]

    @property
    def told_apart(self) -> list[ComparedClass]:
        """The classes whose interval does not hold 0."""
        return [each for each in self.classes if each.recall is not None and not each.recall.difference.within_noise]


@dataclass(frozen=True)
class Comparison:
    """Methods on the same test images.

    Args:
        baseline: name of the method that the others are compared with.
        baseline_seeds: seed of each of its runs.
        report: report of its first run, for the data, the groups and the protocol.
        images: number of test images.
        views: number of views of each image, each number once where the methods' runs differ in it.
        prior: name of the class prior; None for none.
        notes: sentences on conditions in which the methods' runs differ, and on the adjustment of scores to the class prior.
        contests: the other methods.
    """

    baseline: str
    baseline_seeds: tuple[int, ...]
    report: RunReport
    images: int
    views: tuple[int, ...]
    prior: str | None
    notes: tuple[str, ...]
    contests: tuple[Contest, ...]


def compare(
    *runs: Folder | Sequence[Folder], groups: str = "shots", prior: str | None = None, trust_code: bool = False
) -> Comparison:
    """Compares finished runs with the first one on their test images: differences with paired 95 % intervals.

    Runs of one experiment at several seeds are one method, and the intervals are over images and seeds (`longtail.bootstrap`).
    Runs that `longtail tune` tuned are compared with the values that it chose.

    Args:
        runs: run folders, results of `longtail.train`, folders of answers, or folders RUNS/SETTING/METHOD of a method's runs, or
            lists of them; the first is the baseline.
        groups: rule that gathers classes in groups: shots, or auto.
        prior: class frequencies for which the expected accuracy is compared: uniform, train, or a CSV label,share.
        trust_code: run the users' own code that tuned models are made of, if they need any.

    Raises:
        MissingFileError: a folder holds no finished run, or a run stored no predictions.
        UserError: there are fewer than two methods, or they were not evaluated on the same test images and classes.
    """
    if groups not in GROUP_RULES:
        raise UserError(unknown("group rule", groups, list(GROUP_RULES)))
    folders = [folder for each in runs for folder in as_folders(each)]
    methods = read_methods(folders, groups=groups, prior=prior, trust_code=trust_code)
    if len(methods) < 2:
        seeds = " These are seeds of one." if methods and len(methods[0].runs) > 1 else ""
        raise UserError(f"Give the runs of at least two methods to compare; the first is the baseline.{seeds}")
    first, *others = methods
    names, report = names_of(methods), first.runs[0].report
    priors = _priors(first, prior)
    contests = tuple(_contest(name, other, first, priors) for name, other in zip(names[1:], others, strict=True))
    notes = dict.fromkeys([*_conditions(methods), *(run.note for method in methods for run in method.runs if run.note)])
    views = tuple(sorted({method.runs[0].report.views for method in methods}))
    return Comparison(names[0], tuple(first.seeds), report, first.hits.shape[1], views, prior, tuple(notes), contests)


def _conditions(methods: Sequence[Method]) -> list[str]:
    """Sentence on each method that was trained or evaluated under other conditions than another; none where all are alike."""
    firsts = [method.runs[0] for method in methods]
    settings = [{**{name: run.record[name] for name in ("split", "protocol")}, "setting": _but_views(run)} for run in firsts]
    apart = differences_of(settings, [run.report.images for run in firsts])
    views = [counted(run.report.views, "view") for run in firsts]
    said = [", ".join(filter(None, (of_views * (len(set(views)) > 1), of))) for of_views, of in zip(views, apart, strict=True)]
    return [f"Conditions differ: {name} has {each}." for name, each in zip(names_of(methods), said, strict=True) if each]


def _but_views(run: Answers) -> Any:
    """The recorded setting without the number of views, which a run may have been evaluated with again."""
    return {name: value for name, value in run.record["setting"].items() if name != "views"}


def _priors(first: Method, prior: str | None) -> dict[str, Prior]:
    """Class frequencies of each number but the accuracy, those without a class that has test images left out."""
    report, classes = first.runs[0].report, len(first.runs[0].report.classes)
    members = shot_groups(report.class_counts, rule=report.group_rule)
    priors = {"all": torch.ones(classes)}
    for name in GROUPS:
        priors[name] = torch.zeros(classes)
        priors[name][sorted(members[name])] = 1
    if prior is not None:
        priors["prior"] = read_prior(prior, [entry.name for entry in report.classes], report.class_counts)
        if not bool(priors["prior"][first.runs[0].labels].sum() > 0):
            raise UserError(f"'{prior}' must give a share above 0 to a class that was evaluated.")
    return {name: each for name, each in priors.items() if bool(each[first.runs[0].labels].sum() > 0)}


def _contest(name: str, other: Method, first: Method, priors: Mapping[str, Prior]) -> Contest:
    paired, labels = first.seeds == other.seeds, first.runs[0].labels
    numbers = {key: _compared(first.hits, other.hits, labels, each, paired=paired) for key, each in priors.items()}
    together = torch.zeros_like(labels)
    numbers["accuracy"] = _compared(first.hits, other.hits, together, torch.ones(1), paired=paired)
    if "prior" in numbers:
        numbers["prior"] = numbers.pop("prior")  # after the accuracy
        if first.adjusted is not None and other.adjusted is not None:
            numbers["prior, adjusted"] = _compared(first.adjusted, other.adjusted, labels, priors["prior"], paired=paired)
    return Contest(name, tuple(other.seeds), paired, numbers, _classes(first, other, paired=paired))


def _compared(before: Tensor, after: Tensor, labels: Tensor, prior: Prior, *, paired: bool) -> Compared:
    weights = image_weights(labels, prior)
    first, last = (float((hits.double() @ weights).mean()) for hits in (before, after))
    return Compared(first, last, difference(before, after, labels, prior, paired=paired))


def _classes(first: Method, other: Method, *, paired: bool) -> tuple[ComparedClass, ...]:
    report, labels = first.runs[0].report, first.runs[0].labels
    number = len(report.classes)
    counts = torch.bincount(labels, minlength=number)
    hits = (each.hits.double().mean(0) for each in (first, other))
    before, after = ((torch.bincount(labels, weights=each, minlength=number) / counts).tolist() for each in hits)
    differences = class_differences(first.hits, other.hits, labels, number, paired=paired)
    rows = zip(report.classes, counts.tolist(), before, after, differences, strict=True)
    return tuple(
        ComparedClass(entry.name, entry.group, entry.train_images, images, None if d is None else Compared(b, a, d))
        for entry, images, b, a, d in rows
    )
