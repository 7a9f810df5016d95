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
from longtail.workflow.checks import check
from longtail.workflow.one_run import prepared
from longtail.workflow.parallel import jobs_of
from longtail.workflow.request import AUTO, Request
from longtail.workflow.resolve import chosen_recipe, chosen_setting, has_own_data, own_paths, recipe_function
from longtail.workflow.schedulers import Local, Scheduler, Slurm, check_name
from longtail.workflow.stored import END, SUBMITTED, StoredRequest, Submitted, name_of, stored
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
        UserError: no request can be used, or an option cannot, submitit is missing, or SLURM refuses the jobs.
    """
    check_name(on)
    if any(request.together != "none" for request in requests):
        raise UserError("Each job of `on` trains one run; leave out `together`.")
    if on == "local" and options:
        raise UserError("`slurm` has options of sbatch; they need `on=slurm`.")
    every = [_usable(request, folder, watcher) for request in requests]
    usable = {each.folder: each for each in every if isinstance(each, StoredRequest)}
    if not usable:
        raise next((each for each in every if isinstance(each, UserError)), UserError("There is nothing to train."))
    scheduler = _scheduler(on, requests, folder / LOGS, jobs, options or {})
    _carry_out(list(usable.values()), scheduler, watcher)
    return [_outcome(each, request) for each, request in zip(every, requests, strict=True)]


def _usable(request: Request, folder: Path, watcher: Watcher) -> StoredRequest | UserError:
    """The request with the folder of its job, or why it cannot be used."""
    try:
        _check(request)
        return stored(_downloaded(request, watcher), folder)
    except UserError as error:
        return error


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
    names = {each.folder: each for each in every}
    active, waiting = _begun(every, scheduler, watcher)
    try:
        while waiting or active:
            new = waiting[: None if scheduler.limit is None else max(scheduler.limit - len(active), 0)]
            active |= _submitted(new, scheduler)
            del waiting[: len(new)]
            time.sleep(scheduler.poll)
            for folder in _ended(active, scheduler):
                del active[folder]
                end = "finished" if names[folder].finished() else "failed" + ", the others go on" * bool(active or waiting)
                watcher.note(f"{name_of(names[folder].request)}: {end}")
    except BaseException:
        watcher.note(_left(scheduler, active, waiting))
        raise


def _begun(
    every: Sequence[StoredRequest], scheduler: Scheduler, watcher: Watcher
) -> tuple[dict[Path, Submitted], list[StoredRequest]]:
    """The jobs of an earlier command that wait or run, and the requests that are to be submitted."""
    known = {each.folder: job for each in every if (job := each.submitted) is not None}
    active = {folder: known[folder] for folder in scheduler.running(known)}
    others = [each for each in every if each.folder not in active]
    waiting = [each for each in others if each.request.fresh or not each.finished()]
    counts = f"{len(others) - len(waiting)} finished before, {len(active)} running, {len(waiting)} to submit"
    watcher.note(f"{len(every)} job{'s' * (len(every) != 1)}: {counts}")
    return active, waiting


def _submitted(requests: Sequence[StoredRequest], scheduler: Scheduler) -> dict[Path, Submitted]:
    if not requests:
        return {}
    for each in requests:
        each.write(threads=scheduler.threads)
    jobs = scheduler.submit(requests)
    for each, job in zip(requests, jobs, strict=True):
        write_json(each.folder, SUBMITTED, job)
    return {each.folder: job for each, job in zip(requests, jobs, strict=True)}


def _ended(active: Mapping[Path, Submitted], scheduler: Scheduler) -> list[Path]:
    """Folders of the jobs that neither wait nor run any more."""
    running = scheduler.running(active)
    gone = [folder for folder in active if folder not in running]
    _await_ends({folder: active[folder] for folder in gone})
    return gone


def _await_ends(jobs: Mapping[Path, Submitted]) -> None:
    """Waits for what jobs that have ended on other machines wrote of their end."""
    deadline = time.monotonic() + LATE
    for folder in [folder for folder, job in jobs.items() if job.on == "slurm"]:
        while not (folder / END).exists() and time.monotonic() < deadline:
            time.sleep(0.5)


def _left(scheduler: Scheduler, active: Mapping[Path, Submitted], waiting: Sequence[StoredRequest]) -> str:
    """Sentence on what goes on, and what was not submitted, when this process ends."""
    parts = []
    if active:
        jobs, them = ("1 job goes", "it") if len(active) == 1 else (f"{len(active)} jobs go", "them")
        parts.append(f"{jobs} on; the same command waits for {them}, and this ends {them}: {scheduler.to_end(active.values())}")
    if waiting:
        parts.append(f"Not submitted yet: {len(waiting)}.")
    return "\n".join(parts) or "No job is running."


def _outcome(job: StoredRequest | UserError, request: Request) -> Outcome:
    if isinstance(job, UserError):
        return Outcome(request, problem=f"{name_of(request)}: {job}")
    if (found := job.finished()) is not None:
        return Outcome(request, *found)
    why = job.problem or "The job ended without a result: it was killed, or ran out of memory or time."
    log = "" if job.submitted is None else f" Log: {job.submitted.log}"
    return Outcome(request, problem=f"{name_of(request)}: {why}{log}")
