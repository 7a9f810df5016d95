"""The first section of a report: its verdict in sentences, and the facts that are needed to judge and to repeat it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from longtail.reporting.answer import Answer
from longtail.reporting.gathering import Choice
from longtail.reporting.pairs import alone, by_group, experiments, over_seeds, ranking
from longtail.reporting.section import Cell, Section, Table
from longtail.results import GROUP_RULES, counted
from longtail.runs.card import part_text

LIBRARIES = ("python", "longtail", "torch", "torchvision", "timm", "numpy")
HASH = 12  # digits of a hash that are shown


def summary(answers: Sequence[Answer], choices: Sequence[Choice] = ()) -> Section:
    """Section of the verdict, of what was chosen among on validation images, and of the facts of each answer."""
    parts = [_candidates(number, choice) for number, choice in enumerate(choices, 1)]
    return Section("Verdict", [*filter(None, _verdict(answers, choices)), *_cautions(answers)], (*parts, facts(answers)))


def _verdict(answers: Sequence[Answer], choices: Sequence[Choice]) -> Iterator[str]:
    """The sentences of the comparisons, and the result of a run, or how several stand to each other."""
    for choice in choices:
        yield from choice.verdict
    if len(answers) == 1:
        yield alone(answers[0].report)
        return
    every = experiments(answers)
    yield from (over_seeds(seeds) for seeds in every if len(seeds) > 1)
    if len(every) > 1:
        yield from ranking(every)
        yield by_group(every[0], every[-1])


def _cautions(answers: Sequence[Answer]) -> Iterator[str]:
    """Sentences on what must be known to read the numbers."""
    if len(experiments(answers)) > 1:
        seeds = ", and over seeds" if len(experiments(answers)) < len(answers) else ", not over seeds"
        yield f"Intervals are at 95 %; those of differences come from a paired bootstrap over the test images{seeds}."
    else:
        yield "Intervals are at 95 % and speak of the test images, not of other seeds."
    for answer in answers:
        yield from (f"{answer.name}: {note}" for note in answer.notes)
    if any(answer.report.transductive for answer in answers):
        named = ", ".join(answer.name for answer in answers if answer.report.transductive)
        yield f"The rule of {named} saw all test images at once, without their labels (transductive)."
    if len({tuple(answer.report.class_counts) for answer in answers}) > 1:
        yield (
            f"The answers had other numbers of training images; counts are those of {answers[0].name}, groups those of each "
            f"answer."
        )


def _candidates(number: int, choice: Choice) -> Table:
    """What `auto` chose among; comparisons of former releases name the recall otherwise."""
    rows: list[tuple[Cell, ...]] = []
    for each in choice.candidates:
        recall, (low, high) = each.get("recall", each.get("validation_recall")), each.get("interval", (None, None))
        strength = each.get("value", each.get("tau"))
        chosen = "chosen" if each.get("name") == choice.chosen else ""
        rows.append(
            (
                str(each.get("name")),
                chosen,
                strength,
                recall,
                low,
                high,
                each.get("behind"),
                each.get("standard_error"),
                each.get("cost"),
            )
        )
    shares = ("recall", "low", "high", "behind the best", "± standard error")
    caption = (
        "What was chosen among, on validation images: mean recall (or the expected accuracy under the prior that was asked "
        "for) in percent with its 95 % interval, the distance from the best in points with its paired bootstrap error, and the "
        "cost in passes over the training images. Test images had no part in the choice."
    )
    name = "candidates" if number == 1 else f"candidates-{number}"
    return Table(name, caption, ("candidate", "choice", "strength", *shares, "cost"), rows, percent=frozenset(shares))


def facts(answers: Sequence[Answer]) -> Table:
    """The table of facts: one row per fact, one column per answer."""
    columns = [dict(_facts(answer)) for answer in answers]
    names = list(dict.fromkeys(name for column in columns for name in column))
    rows = [(name, *(column.get(name, "–") for column in columns)) for name in names]
    caption = "What was trained and evaluated, how, and the command that makes the run again."
    return Table("facts", caption, ("fact", *(answer.name for answer in answers)), rows)


def _facts(answer: Answer) -> Iterator[tuple[str, str]]:
    report, record = answer.report, answer.record
    yield "data", report.setting
    yield "images", ", ".join(f"{count:,} {split}" for split, count in report.images.items())
    yield "classes", f"{len(report.classes):,}, imbalance {report.imbalance:g}"
    yield "split", f"{answer.split[:HASH] or '–'} (hash of split.csv)"
    yield "method", f"{report.method} ({record.get('source', 'no source')})"
    yield "rule", part_text(_of(record, "recipe").get("inference", "–"))
    yield "budget", f"{report.budget}; epochs {' + '.join(str(stage.epochs) for stage in report.stages)}"
    yield "protocol", f"{report.protocol}: {report.epoch_rule}"
    yield "seed", str(report.seed)
    yield "views", counted(report.views, "view")
    yield "groups", GROUP_RULES[report.group_rule]
    yield "training", f"{report.train_seconds / 60:.1f} minutes, {report.device}, {report.precision}"
    versions = _of(record, "versions")
    yield "versions", ", ".join(f"{name} {versions[name]}" for name in LIBRARIES if name in versions)
    yield "commit", str(record.get("commit") or "–")
    yield "run", f"{str(record.get('experiment', '–'))[:HASH]} (hash of the experiment)"
    yield "command", _command(answer)


def _command(answer: Answer) -> str:
    """The command that the run was first started with; runs of former releases recorded none, so what is known of it."""
    recorded = answer.record.get("command")
    report = answer.report
    known = f"longtail train {report.setting} --method {report.method} --budget {report.budget} --seed {report.seed}"
    return str(recorded) if recorded else f"{known} (and options that were not recorded)"


def _of(record: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = record.get(name)
    return part if isinstance(part, Mapping) else {}
