"""The command that compares finished runs, and what it prints and writes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from longtail.cli.options import in_flags
from longtail.cli.show import lines_on_stderr, say, text
from longtail.results import counted, percent
from longtail.runs.comparison import Compared, ComparedClass, Comparison, Contest, compare
from longtail.runs.files import csv_text
from longtail.runs.output import check_output, is_standard_output, write_output
from longtail.runs.seals import plain
from longtail.text import guarded, visible

SHOWN = 5
HEADER = (
    *("baseline", "method", "seeds", "kind", "name", "group", "train_images", "test_images"),
    *("before", "after", "difference", "low", "high", "within_noise"),
)


def run_compare(
    folders: Sequence[Path], output: Path | None, *, groups: str, prior: str | None, trust_code: bool, as_json: bool
) -> None:
    """Compares the runs with the first one, prints tables or JSON, and writes every number as CSV where that is asked for."""
    if output is not None:
        check_output(output)
    found = compare(*folders, groups=groups, prior=prior, trust_code=trust_code)
    if output is not None:
        write_output(output, csv_text(HEADER, _rows(found)))
    if as_json:
        print(json.dumps(_as_json(found), indent=1))
        return
    with lines_on_stderr(output is not None and is_standard_output(output)):
        _print(found)
        if output is not None and not is_standard_output(output):
            say(f"Every class: {text(output)}")


def _print(found: Comparison) -> None:
    report = found.report
    views = " and ".join(map(str, found.views)) + " views" if len(found.views) > 1 else counted(found.views[0], "view")
    conditions = (report.setting, f"{report.protocol} protocol", report.epoch_rule, views)
    say(text(f"{' · '.join(conditions)} · {counted(found.images, 'test image')}, %"))
    for contest in found.contests:
        say(_numbers_table(found, contest))
        _say_classes(contest)
    for note in found.notes:
        say(text(in_flags(note)))
    say(_how(found))


def _numbers_table(found: Comparison, contest: Contest) -> Table:
    title = f"{contest.name} ({_seeds(contest.seeds)}) against {found.baseline} ({_seeds(found.baseline_seeds)})"
    table = Table(title=text(title), title_justify="left")
    table.add_column("")
    for heading in ("baseline", "method", "difference", "95 % interval"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("")
    for name, number in contest.numbers.items():
        table.add_row(text(_label(name, found.prior)), *_cells(number))
    return table


def _label(name: str, prior: str | None) -> str:
    """Heading of a row; the expected accuracies under a class prior have the prior's name, a file's without its folder."""
    return {"prior": f"under {Path(prior or '').name}", "prior, adjusted": "  adjusted"}.get(name, name)


def _cells(number: Compared) -> tuple[str, ...]:
    change = number.difference
    ends = f"{100 * change.low:+.1f} to {100 * change.high:+.1f}"
    noise = "within noise" if change.within_noise else ""
    return percent(number.before), percent(number.after), f"{100 * change.value:+.1f}", ends, noise


def _say_classes(contest: Contest) -> None:
    """The classes that differ most among those that differ by more than noise."""
    known = [each for each in contest.classes if each.recall is not None]
    apart = sorted(contest.told_apart, key=_change)
    chance = f"about {max(0.05 * len(known), 0.1):.2g} may by chance alone, since 95 % intervals miss one time in twenty"
    differ = f"of {counted(len(known), 'class')} {'differs' if len(apart) == 1 else 'differ'}"
    say(f"{len(apart)} {differ} by more than noise ({chance}).")
    shown = [*apart[:SHOWN], *apart[SHOWN:][-SHOWN:]]
    if shown:
        say(_classes_table(list(reversed(shown)), whole=len(shown) == len(apart)))


def _change(entry: ComparedClass) -> float:
    return entry.recall.difference.value if entry.recall is not None else 0.0


def _classes_table(entries: Sequence[ComparedClass], *, whole: bool) -> Table:
    title = "Recall of these classes" if whole else f"Recall of the {SHOWN} that gain and the {SHOWN} that lose most"
    table = Table(title=title, title_justify="left")
    table.add_column("class", overflow="fold")
    for heading in ("train", "test", "baseline", "method", "difference", "95 % interval"):
        table.add_column(heading, justify="right", no_wrap=True)
    for entry in entries:
        if entry.recall is not None:
            table.add_row(text(entry.name), str(entry.train_images), str(entry.test_images), *_cells(entry.recall)[:-1])
    return table


def _how(found: Comparison) -> str:
    single = [contest for contest in found.contests if len(contest.seeds) == 1 and len(found.baseline_seeds) == 1]
    alone = "over test images; those of single runs do not show how much another seed would change"
    mixed = "over test images, and over seeds where a method has several; of two seeds they say little"
    over = "over test images and seeds" if not single else alone if len(single) == len(found.contests) else mixed
    under = "" if found.prior is None else f" Under {text(found.prior)}: expected accuracy for these class frequencies."
    return f"Differences are in points, intervals {over}. Groups by training images ({text(found.report.group_rule)}).{under}"


def _seeds(seeds: Sequence[int]) -> str:
    return f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"


def _rows(found: Comparison) -> Iterator[tuple[Any, ...]]:
    """The numbers of every method, then its classes; shares are between 0 and 1."""
    for contest in found.contests:
        begin = (_cell(found.baseline), _cell(contest.name), " ".join(map(str, contest.seeds)))
        for name, number in contest.numbers.items():
            yield (*begin, "number", _cell(name), "", "", "", *_values(number))
        for each in contest.classes:
            counts = (each.group, each.train_images, each.test_images)
            yield (*begin, "class", _cell(each.name), *counts, *(_values(each.recall) if each.recall else [""] * 6))


def _values(number: Compared) -> list[str]:
    change = number.difference
    shares = (number.before, number.after, change.value, change.low, change.high)
    return [*(f"{share:.6f}" for share in shares), str(change.within_noise).lower()]


def _cell(name: str) -> str:
    return guarded(visible(name))


def _as_json(found: Comparison) -> Any:
    content: dict[str, Any] = {
        "baseline": found.baseline,
        "baseline_seeds": found.baseline_seeds,
        "setting": found.report.setting,
        "protocol": found.report.protocol,
        "group_rule": found.report.group_rule,
        "test_images": found.images,
        "views": found.views,
        "prior": found.prior,
        "notes": found.notes,
        "methods": found.contests,
    }
    for contest in (content := plain(content))["methods"]:
        for each in (*contest["numbers"].values(), *(entry["recall"] for entry in contest["classes"] if entry["recall"])):
            each["within_noise"] = each["difference"]["low"] <= 0 <= each["difference"]["high"]
    return content
