"""The command `longtail train`, and what it prints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from longtail.cli.jobs import done_as_jobs, say_failures
from longtail.cli.launch import launch, silent_but_first
from longtail.cli.next_step import note, say_next, to_predict
from longtail.cli.options import in_flags, sbatch_options
from longtail.cli.progress import Bars
from longtail.cli.report import add_report
from longtail.cli.show import say, text
from longtail.cli.tables import candidates_table, result_table, trained_tables
from longtail.engine.group import own_place
from longtail.errors import UserError
from longtail.together import rank
from longtail.turns import first_alone
from longtail.workflow.auto import choose_method
from longtail.workflow.one_run import prepared
from longtail.workflow.parallel import train_many
from longtail.workflow.request import AUTO, Request
from longtail.workflow.several import check_several, together


def run_train(
    request: Request,
    *,
    seeds: int | None,
    on: str | None = None,
    slurm: Sequence[str] = (),
    report: bool = False,
    pictures: bool = True,
) -> None:
    """Trains one method at one or more seeds, or chooses one at each seed; here, or as jobs of the scheduler `on`."""
    if seeds is not None and request.seed:
        raise UserError(f"--seeds {seeds} trains the seeds 0 to {seeds - 1}, and `seed={request.seed}` names one; leave one out.")
    requests = [request] if seeds is None else [replace(request, seed=seed) for seed in range(seeds)]
    sbatch_options(on, slurm)
    if request.devices > 1 or own_place() is not None:
        check_several(request)
    if request.devices > 1 and on is not None:
        raise UserError(
            "Each job of `on` is one process: leave out `devices`, or start the command by srun in a job of your own."
        )
    if on is not None:
        _train_as_jobs(requests, on, slurm, report=report, pictures=pictures)
    elif request.method == AUTO:
        if request.jobs is not None and request.jobs > 1:
            note("A method is chosen for one seed after the other: --jobs is for runs of one method.")
        for each in requests:
            _train_auto(each, report=report, pictures=pictures)
    elif request.devices > 1 and own_place() is None:
        launch(request)
    else:
        with together(request), silent_but_first(), Bars() as bars:
            with first_alone("data"):
                setting, data = prepared(request, bars)
            results = train_many(requests, setting, data, watcher=bars)
            leads = rank() == 0
        if not leads:
            return
        for table in trained_tables([result.report for result in results]):
            say(table)
        shown = {"pictures": pictures, "data": data, **_as_trained(request)}
        add_report([result.folder for result in results], wanted=report, groups=request.groups, **shown)
        say_next(results[0].folder, to_predict(results[0].folder), "to use it")


def _train_as_jobs(requests: Sequence[Request], on: str, slurm: Sequence[str], *, report: bool, pictures: bool) -> None:
    outcomes = done_as_jobs(requests, on, slurm)
    folders = [each.folder for each in outcomes if each.folder is not None]
    pages = [[folder] for folder in folders] if requests[0].method == AUTO else [folders]
    for page in pages if folders else []:
        add_report(page, wanted=report, groups=requests[0].groups, pictures=pictures, **_as_trained(requests[0]))
    for folder in folders[:1]:
        say_next(folder, to_predict(folder), "to use it")
    say_failures(outcomes)


def _train_auto(request: Request, *, report: bool, pictures: bool) -> None:
    with Bars() as bars:
        auto = choose_method(request, bars)
    chosen = auto.candidates[auto.chosen].reading.name
    say(candidates_table(auto.candidates, auto.chosen, request.class_prior, auto.result.report.views))
    say(result_table({chosen: auto.result.report}))
    for sentence in auto.verdict:
        say(text(in_flags(sentence)))
    shown = {"pictures": pictures, "data": auto.data, **_as_trained(request)}
    add_report([auto.run.folder], wanted=report, groups=request.groups, **shown)
    say(f"The chosen run, with its record, split, model card and model: {text(auto.result.folder)}")
    say_next(auto.run.folder, to_predict(auto.run.folder), f"uses {chosen}")


def _as_trained(request: Request) -> dict[str, Any]:
    """Where a report finds images and how it may run code: as the training did."""
    images = Path(request.data) if Path(request.data).exists() else request.root
    return {"images": images, "outside": request.outside, "device": request.device, "trust_code": True}
