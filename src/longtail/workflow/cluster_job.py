"""What a job of a scheduler does: it carries out the request in its folder, and writes how that ended."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from longtail.errors import UserError
from longtail.processes import processors
from longtail.runs.locks import locked
from longtail.runs.seals import write_json
from longtail.spec.experiment import Experiment
from longtail.spec.own_code import read_own
from longtail.workflow.auto import choose_method
from longtail.workflow.one_run import prepared, train_one
from longtail.workflow.request import AUTO, Request
from longtail.workflow.stored import END, LOCK, read_request
from longtail.workflow.watcher import Silent, Watcher


class StoredJob:
    """The function of a job; submitit pickles this class by its name, with the paths alone.

    Args:
        folder: folder of the stored request.
        devices: value of CUDA_VISIBLE_DEVICES for the job; None leaves what the scheduler sets, "all" removes it.
    """

    def __init__(self, folder: str, *, devices: str | None = None) -> None:
        self.folder, self.devices = folder, devices

    def __call__(self) -> None:
        """Carries out the request. A job that waits for another one of the same request reads the finished run back."""
        folder = Path(self.folder)
        _set_devices(self.devices)
        _heed_signals()
        try:
            with locked(folder / LOCK, f"'{folder}'", note=_say, wait=True):
                write_json(folder, END, {"run": _carried_out(folder)})
        except Exception as error:
            fault = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
            write_json(folder, END, {"problem": f"{fault}{error}"})
            raise

    def checkpoint(self) -> Any:
        """What submitit queues again when the scheduler ends the job before it is finished: the same, since a run continues."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


class Lines(Silent):
    """A watcher that prints notes, and what begins, into the log of the job."""

    def note(self, text: str) -> None:
        _say(text)

    def begin(self, experiment: Experiment) -> None:
        _say(f"Training {experiment.recipe.name}, seed {experiment.seed}.")


def carry_out(request: Request, watcher: Watcher) -> Path:
    """Trains the method of a request, or chooses one, and returns the folder of the run or of the comparison."""
    if request.method == AUTO:
        return choose_method(request, watcher).run.folder
    setting, data = prepared(request, watcher)
    return train_one(request, setting, data, watcher=watcher).folder


def _carried_out(folder: Path) -> str:
    """Carries out the request of a job, and returns the path of its run, relative to the folder of all runs."""
    import torch

    request, own, threads = read_request(folder)
    for path, sha256 in own.items():
        if read_own(Path(path)).sha256 != sha256:
            raise UserError(f"'{path}' has changed since the job was submitted; give the same command again.")
    torch.set_num_threads(threads or _cores_of_job())
    return os.path.relpath(carry_out(request, Lines()), request.runs)


def _cores_of_job() -> int:
    """Number of cores that SLURM gave this job, which it may leave open to the system."""
    given = os.environ.get("SLURM_CPUS_ON_NODE", "")
    return min(processors(), int(given)) if given.isdecimal() else processors()


def _set_devices(devices: str | None) -> None:
    """Sets the GPUs that the job sees, as none has been looked for yet."""
    if devices == "all":
        os.environ.pop("CUDA_VISIBLE_DEVICES", None)
    elif devices is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = devices


def _heed_signals() -> None:
    """Has the signal before the end of a job heeded by this process alone, and SIGTERM end a job of this machine.

    SLURM sends its signals to every process of a job, and those that read images are forked from this one, with its handlers.
    Submitit ignores SIGTERM, after which SLURM sends the signal for queueing again; nothing else would end a job of this machine.
    """
    from submitit import JobEnvironment

    number = signal.Signals[f"SIG{JobEnvironment.USR_SIG}"]
    signal.signal(number, _here_alone(signal.getsignal(number)))
    if os.environ.get("SUBMITIT_EXECUTOR") == "local":
        signal.signal(signal.SIGTERM, _here_alone(_end))


def _here_alone(handler: Any) -> Callable[[int, FrameType | None], None]:
    """A handler that acts in this process only, once, and lets no end of a process that reads images interrupt it."""
    owner = os.getpid()

    def handle(number: int, frame: FrameType | None) -> None:
        if os.getpid() == owner and callable(handler):
            signal.signal(number, signal.SIG_IGN)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            handler(number, frame)

    return handle


def _end(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201
