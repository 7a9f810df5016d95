"""Trains requests as jobs of a scheduler, one for each, and waits for them; a finished or running job is not submitted again."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from longtail.errors import UserError
from longtail.processes import processors
from longtail.runs.report import RunReport
from longtail.runs.seals import write_json
from longtail.spec.own_code import read_own
from longtail.workflow.one_run import prepared
from longtail.workflow.parallel import jobs_of
from longtail.workflow.request import AUTO, Request
from longtail.workflow.resolve import check, chosen_recipe, chosen_setting, has_own_data, own_paths, recipe_function
from longtail.workflow.schedulers import Local, Scheduler, Slurm, check_name
from longtail.workflow.stored import END, SUBMITTED, StoredRequest, Submitted, stored
from longtail.workflow.watcher import Watcher

LATE = 30.0  # seconds until a file that a job has written is seen through a network drive
LOGS = "logs"


@dataclass(frozen=True)
class Outcome:
    """How the job of a request ended.

    Args:
        request: the request.
        folder: folder of the finished run, or of the comparison of methods; None where it failed.
        report: report of the run, or of the one that the comparison chose; None where it failed.
        problem: sentence that names method, data, seed and log of a job that failed; "" where it did not.
    """

    request: Request
    folder: Path | None = None
    report: RunReport | None = None
    problem: str = ""


def run_requests(
    requests: Sequence[Request],
    *,
    on: str,
    folder: Path,
    watcher: Watcher,
    jobs: int | None = None,
    options: Mapping[str, str | bool] | None = None,
) -> list[Outcome]:
    """Trains every request as a job of its own, and returns how they ended, in their order. What fails does not end the others.

    The end of this process leaves the jobs running; called again, it waits for them. A job that the scheduler ends early is
    queued again and continues, to the bit.

    Args:
        on: "slurm", or "local" for processes of this machine.
        folder: folder of the jobs and their logs (`jobs_folder`); on a cluster, all nodes must see it.
        jobs: largest number of jobs at the same time; None for one per core or GPU of this machine, and on a cluster no limit.
        options: options of sbatch by name, as {"partition": "gpu", "time": "4:00:00"}; True for one without a value.

    Raises:
        UserError: a request or an option cannot be used, submitit is missing, or SLURM refuses the jobs.
    """
    check_name(on)
    if on == "local" and options:
        raise UserError("`slurm` has options of sbatch; they need `on=slurm`.")
    for request in requests:
        _check(request)
    scheduler = _scheduler(on, requests, folder / LOGS, jobs, options or {})
    requests = [_downloaded(request, watcher) for request in requests]
    every = [stored(request, folder) for request in requests]
    _carry_out(list({each.folder: each for each in every}.values()), scheduler, watcher)
    return [_outcome(each) for each in every]


def _check(request: Request) -> None:
    """Refuses what can be known to be wrong without reading images; the rest, a job says."""
    for file in own_paths(request):
        read_own(file)
    check(request)
    if has_own_data(request) and request.method != AUTO:
        chosen_recipe(request, chosen_setting(request)[0])
    elif request.method != AUTO:
        recipe_function(request.method)
    data = Path(request.data)
    if not has_own_data(request) and data.is_dir() and data.resolve() in request.runs.resolve().parents:
        raise UserError(
            f"The folder of the jobs lies in '{data}', where a folder is a class; choose another one with `runs=DIR`."
        )


def _scheduler(
    on: str, requests: Sequence[Request], logs: Path, jobs: int | None, options: Mapping[str, str | bool]
) -> Scheduler:
    if on == "slurm":
        return Slurm(logs, jobs=jobs, options=options)
    at_once = jobs_of([replace(request, jobs=jobs or request.jobs) for request in requests])
    return Local(logs, jobs=at_once, threads=max(processors() // at_once, 1))


def _downloaded(request: Request, watcher: Watcher) -> Request:
    """The request after its data were fetched here, once: the nodes of a cluster often reach no network."""
    if not request.download:
        return request
    prepared(request, watcher)
    return replace(request, download=False)


def _carry_out(every: Sequence[StoredRequest], scheduler: Scheduler, watcher: Watcher) -> None:
    """Submits what is neither finished nor running, and waits until nothing runs."""
    known = {each.folder: job for each in every if (job := each.submitted) is not None}
    active = {folder: known[folder] for folder in scheduler.running(known)}
    done = [each for each in every if each.folder not in active and not each.request.fresh and each.finished()]
    waiting = [each for each in every if each.folder not in active and each not in done]
    watcher.note(f"{len(every)} jobs: {len(done)} finished before, {len(active)} running, {len(waiting)} to submit")
    names = {each.folder: each for each in every}
    try:
        while waiting or active:
            room = len(waiting) if scheduler.limit is None else max(scheduler.limit - len(active), 0)
            if waiting and room:
                active |= _submitted(waiting[:room], scheduler)
                del waiting[:room]
            time.sleep(scheduler.poll)
            running = scheduler.running(active)
            for folder in [folder for folder in active if folder not in running]:
                watcher.note(_ended(names[folder]))
                del active[folder]
    except BaseException:
        watcher.note(_left(scheduler, active, waiting))
        raise


def _submitted(requests: Sequence[StoredRequest], scheduler: Scheduler) -> dict[Path, Submitted]:
    for each in requests:
        each.write(threads=scheduler.threads)
    jobs = scheduler.submit(requests)
    for each, job in zip(requests, jobs, strict=True):
        write_json(each.folder, SUBMITTED, job)
    return {each.folder: job for each, job in zip(requests, jobs, strict=True)}


def _ended(request: StoredRequest) -> str:
    """Sentence on a job that has ended, for the user; waits for a file that is late."""
    deadline = time.monotonic() + LATE
    job = request.submitted
    while job is not None and job.on == "slurm" and not (request.folder / END).exists() and time.monotonic() < deadline:
        time.sleep(1)
    return f"{request.name}: {'finished' if request.finished() else 'failed, the others go on'}"


def _left(scheduler: Scheduler, active: Mapping[Path, Submitted], waiting: Sequence[StoredRequest]) -> str:
    """Sentence on what goes on, and what was not submitted, when this process ends."""
    parts = []
    if active:
        jobs, them = ("1 job goes", "it") if len(active) == 1 else (f"{len(active)} jobs go", "them")
        parts.append(f"{jobs} on; the same command waits for {them}, and this ends {them}: {scheduler.to_end(active.values())}")
    if waiting:
        parts.append(f"Not submitted yet: {len(waiting)}.")
    return "\n".join(parts) or "No job is running."


def _outcome(request: StoredRequest) -> Outcome:
    if (found := request.finished()) is not None:
        return Outcome(request.request, *found)
    job = request.submitted
    why = request.problem or "The job ended without a result: it was killed, or ran out of memory or time."
    log = "" if job is None else f" Log: {job.log}"
    return Outcome(request.request, problem=f"{request.name}: {why}{log}")
