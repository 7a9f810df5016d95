"""The command `longtail demo`, and what it prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from longtail.cli.next_step import say_next
from longtail.cli.progress import Bars
from longtail.cli.report import add_report
from longtail.cli.show import say, text
from longtail.cli.tables import summary_table
from longtail.runs.layout import demo_figure, demo_page
from longtail.workflow.demo import NAMES, demonstrate, recall_figure
from longtail.workflow.one_run import Result
from longtail.workflow.request import Request


def run_demo(request: Request, *, seeds: int, report: bool = False, pictures: bool = True) -> None:
    """Trains the methods, prints a table and the change of recall for rare and common classes, and draws the figure."""
    with Bars() as bars:
        results = demonstrate(request, bars, seeds=seeds)
    first = results["ce"][0].report
    counts = first.class_counts
    say(
        f"Handwritten digits (scikit-learn), {sum(counts)} training images, {max(counts)} to {min(counts)} per class; "
        f"{first.images['test']} test images. Recall in %, mean ± std over seeds."
    )
    say(summary_table({NAMES[method]: [result.report for result in runs] for method, runs in results.items()}))
    baseline, gcl = (_group_recalls(results[method]) for method in ("ce", "gcl"))
    say(
        f"Change of recall from cross-entropy to GCL: rare classes (few) {_difference(gcl, baseline, 'few')}, "
        f"common classes (many) {_difference(gcl, baseline, 'many')}."
    )
    figure = recall_figure(results, demo_figure(request.runs, first.setting))
    say(f"Figure: {text(figure)}")
    page = demo_page(request.runs, first.setting)
    if seeds > 1:
        say(f"The page shows the first of {seeds} seeds, so that its numbers differ from these means.")
    firsts = [runs[0].folder for runs in results.values()]
    add_report(firsts, wanted=report, groups=request.groups, output=page, pictures=pictures)
    say_next(results["gcl"][0].folder, "longtail train FOLDER", "your own images, one folder per class")


def _group_recalls(results: Sequence[Result]) -> dict[str, float]:
    """Recall of each group that has evaluated classes, as a mean over runs."""
    runs = [result.report.test.group_recalls for result in results]
    return {name: fmean(recalls[name] for recalls in runs) for name in runs[0]}


def _difference(after: Mapping[str, float], before: Mapping[str, float], group: str) -> str:
    return f"{100 * (after[group] - before[group]):+.1f} points" if group in after else "no such classes"
