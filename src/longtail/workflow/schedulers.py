"""Where jobs run, by submitit: in processes of this machine, or on a cluster with SLURM."""

from __future__ import annotations

import getpass
import os
import subprocess
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from longtail.errors import UserError
from longtail.processes import out_of_reach, printing_nowhere
from longtail.runs.locks import is_held
from longtail.text import unknown
from longtail.workflow.cluster_job import StoredJob
from longtail.workflow.stored import LOCK, StoredRequest, Submitted

NAMES = ("slurm", "local")
OURS = ("array", "output", "error", "open_mode", "nodes", "ntasks", "ntasks_per_node", "wrap")
DAY, YEAR = 24 * 60, 365 * 24 * 60  # minutes
TIMEOUTS = 20  # times that a job is queued again after it ran out of time


class Scheduler(Protocol):
    """What starts jobs and knows which of them wait or run.

    Attributes:
        poll: seconds between two looks at the jobs.
        threads: number of threads for each job; None for all cores that it is given.
        limit: number of jobs that are submitted at the same time; None where the scheduler itself sees to that.
    """

    poll: float
    threads: int | None
    limit: int | None

    def submit(self, requests: Sequence[StoredRequest]) -> list[Submitted]:
        """Submits one job for each stored request."""

    def running(self, jobs: Mapping[Path, Submitted]) -> Collection[Path]:
        """Folders of the jobs that wait or run."""

    def to_end(self, jobs: Collection[Submitted]) -> str:
        """The command that ends jobs."""


class Local:
    """Processes of this machine, which go on when this one ends. A job holds the lock of its folder while it runs."""

    poll: float = 0.2
    threads: int | None
    limit: int | None

    def __init__(self, logs: Path, *, jobs: int, threads: int) -> None:
        self.threads, self.limit = threads, jobs
        self.executor = _submitit().LocalExecutor(folder=logs, max_num_timeout=TIMEOUTS)
        self.executor.update_parameters(timeout_min=YEAR, stderr_to_stdout=True)
        self.processes: dict[str, Any] = {}

    def submit(self, requests: Sequence[StoredRequest]) -> list[Submitted]:
        devices = os.environ.get("CUDA_VISIBLE_DEVICES", "all")  # submitit would hide all GPUs
        with out_of_reach(), printing_nowhere():
            found = self.executor.submit_array([StoredJob(str(each.folder), devices=devices) for each in requests])
        self.processes.update({job.job_id: job for job in found})
        return [Submitted("local", job.job_id, str(job.paths.stdout)) for job in found]

    def running(self, jobs: Mapping[Path, Submitted]) -> Collection[Path]:
        return [folder for folder, job in jobs.items() if self._runs(folder, job)]

    def _runs(self, folder: Path, job: Submitted) -> bool:
        process = self.processes.get(job.job)
        return is_held(folder / LOCK) if process is None else not process.done()

    def to_end(self, jobs: Collection[Submitted]) -> str:
        return " ".join(["kill", *(each.job for each in jobs)])


class Slurm:
    """A cluster: the jobs of one command are an array, which SLURM starts as there is place.

    Args:
        logs: folder of the logs, which the nodes of the cluster must see.
        jobs: largest number of jobs at the same time; None for no limit.
        options: options of sbatch by name; True for one without a value.
    """

    poll: float = 15.0
    threads: int | None = None
    limit: int | None = None

    def __init__(self, logs: Path, *, jobs: int | None, options: Mapping[str, str | bool]) -> None:
        asked = {key.strip("-").replace("-", "_"): value for key, value in options.items()}
        for name in (name for name in OURS if name in asked):
            raise UserError(f"`slurm={name}` is set by longtail, as each run is one process of one job; leave it out.")
        self.minutes = minutes_of(str(asked.pop("time", DAY)))
        cores = asked.get("cpus_per_task")
        try:
            self.executor = _submitit().SlurmExecutor(folder=logs, max_num_timeout=TIMEOUTS)
        except RuntimeError as error:
            raise UserError(f"There is no SLURM on this machine ({error}); give `on=local`.") from error
        self.executor.update_parameters(
            job_name="longtail",
            time=self.minutes,
            stderr_to_stdout=True,
            additional_parameters=asked,
            srun_args=[f"--cpus-per-task={cores}"] if cores else [],  # since SLURM 22.05 srun does not take it from sbatch
            **({} if jobs is None else {"array_parallelism": jobs}),
        )

    def submit(self, requests: Sequence[StoredRequest]) -> list[Submitted]:
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        try:
            with out_of_reach():
                found = self.executor.submit_array([StoredJob(str(each.folder)) for each in requests])
        except (FailedJobError, FailedSubmissionError) as error:
            raise UserError(f"SLURM did not take the jobs: {' '.join(str(error).split())}") from error
        return [Submitted("slurm", job.job_id, str(job.paths.stdout)) for job in found]

    def running(self, jobs: Mapping[Path, Submitted]) -> Collection[Path]:
        queued = _queue()
        return [folder for folder, job in jobs.items() if _is_queued(job, queued, folder)]

    def to_end(self, jobs: Collection[Submitted]) -> str:
        return " ".join(["scancel", *(each.job for each in jobs)])


def minutes_of(text: str) -> int:
    """Whole minutes of a time as sbatch takes it: minutes, MM:SS, HH:MM:SS, D-HH, D-HH:MM or D-HH:MM:SS.

    Raises:
        UserError: it is no such time, or none at all.
    """
    days, dash, rest = text.rpartition("-")
    parts = rest.split(":")
    if not all(part.isdecimal() for part in (*parts, days if dash else "0")) or len(parts) > 3:
        raise UserError(f"'{text}' is no time; give `slurm=time=MINUTES`, or HH:MM:SS, or D-HH.")
    numbers = [int(part) for part in parts]
    if dash or len(numbers) == 3:
        hours, minutes, seconds = (*numbers, 0, 0)[:3]
    else:
        hours, (minutes, seconds) = 0, (*numbers, 0)[:2]
    total = 60 * (24 * int(days or 0) + hours) + minutes + (seconds > 0)
    if total < 1:
        raise UserError(f"'{text}' is no time at all; give `slurm=time=MINUTES` of at least 1.")
    return total


def _is_queued(job: Submitted, queued: Collection[str] | None, folder: Path) -> bool:
    if job.on != "slurm":
        return is_held(folder / LOCK)
    return queued is None or job.job in queued


def _queue() -> set[str] | None:
    """SLURM's names of this user's jobs that wait or run; None where SLURM does not answer now."""
    command = ["squeue", "--noheader", "--array", "--format=%i", f"--user={getpass.getuser()}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return None
    return None if done.returncode else set(done.stdout.split())


def _submitit() -> Any:
    try:
        import submitit
    except ImportError as error:
        raise UserError("Jobs are submitted by submitit, which is missing: pip install 'longtail[cluster]'.") from error
    return submitit


def check_name(on: str) -> None:
    """Refuses a scheduler that longtail does not know.

    Raises:
        UserError: there is no such scheduler; the message lists those that exist.
    """
    if on not in NAMES:
        raise UserError(unknown("scheduler", on, list(NAMES)))
