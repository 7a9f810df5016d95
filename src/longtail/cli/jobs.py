"""Training as jobs of a scheduler: the options of sbatch, what the finished jobs show, and what failed."""

from __future__ import annotations

from collections.abc import Sequence

from longtail.cli.options import in_flags, sbatch_options
from longtail.cli.progress import Bars
from longtail.cli.show import say, text
from longtail.cli.tables import trained_tables
from longtail.errors import TrainingFailed
from longtail.runs.layout import jobs_folder
from longtail.runs.run import Run
from longtail.workflow.auto import stored_verdict
from longtail.workflow.cluster import Outcome, run_requests
from longtail.workflow.request import AUTO, Request
from longtail.workflow.verdict import on_test_images


def done_as_jobs(requests: Sequence[Request], on: str, slurm: Sequence[str]) -> list[Outcome]:
    """Trains the requests, each as a job, and prints the results of those that are finished.

    Args:
        on: name of the scheduler, slurm or local.
        slurm: options of sbatch as KEY=VALUE, or KEY alone.

    Raises:
        UserError: an option or a request cannot be used.
    """
    first, options = requests[0], sbatch_options(on, slurm)
    with Bars() as bars:
        outcomes = run_requests(requests, on=on, folder=jobs_folder(first.runs), watcher=bars, jobs=first.jobs, options=options)
    for table in trained_tables([each.report for each in outcomes if each.report is not None]):
        say(table)
    for each in outcomes:
        if each.folder is not None and each.request.method == AUTO:
            of_test = [] if each.report is None else [on_test_images(each.report, each.request.class_prior)]
            sentences = " ".join([*stored_verdict(Run(each.folder)), *of_test])
            say(text(in_flags(f"Seed {each.request.seed}: {sentences}")))
    return outcomes


def say_failures(outcomes: Sequence[Outcome]) -> None:
    """Names each job that failed, with its log.

    Raises:
        TrainingFailed: one failed.
    """
    failed = [each for each in outcomes if each.problem]
    for each in failed:
        say(f"[red]{text(in_flags(each.problem))}[/red]")
    if failed:
        raise TrainingFailed(
            f"{len(failed)} of {len(outcomes)} jobs failed. Finished runs are kept, and the same command submits only what is "
            f"missing."
        )
