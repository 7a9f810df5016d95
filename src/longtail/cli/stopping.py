"""Signals that end a command as an interrupt does: what was computed is kept, and the exit code says which signal it was."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from longtail.errors import UserError

ENDING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
SIGNALLED = 128


class Stopped(SystemExit):
    """The end of the program by a signal.

    Args:
        number: number of the signal.
        requeue: whether SLURM is asked to start the job again.
    """

    def __init__(self, number: int, *, requeue: bool = False) -> None:
        super().__init__(SIGNALLED + number)
        self.code: int = SIGNALLED + number
        self.number, self.requeue = number, requeue

    @property
    def sentence(self) -> str:
        """Sentence for the user."""
        what = (
            f"Stopped by {signal.Signals(self.number).name}. What has been stored is kept; the same command goes on from there."
        )
        return f"{what} {requeued()}" if self.requeue else what


@contextmanager
def stopping_on_signals() -> Iterator[None]:
    """Raises `Stopped` inside the `with` block on SIGTERM and SIGHUP; one that is ignored, as under nohup, stays ignored.

    A signal for the whole group of processes also ends those that read images, and torch raises an error on each of them. So
    `Stopped` replaces any error that came on its way.
    """
    with _handled(_stop):
        try:
            yield
        except BaseException as error:
            stop = _stop_behind(error)
            if stop is None or stop is error:
                raise
            raise stop from None


@contextmanager
def _handled(handler: Callable[[int, FrameType | None], None] | signal.Handlers) -> Iterator[None]:
    """Handles the ending signals that are not ignored by `handler` inside the `with` block."""
    former = {number: signal.getsignal(number) for number in ENDING}
    for number, before in former.items():
        if before is not signal.SIG_IGN:
            signal.signal(number, handler)
    try:
        yield
    finally:
        for number, before in former.items():
            signal.signal(number, before)


def _stop_behind(error: BaseException | None) -> Stopped | None:
    """The `Stopped` during whose way up an error was raised."""
    while error is not None and not isinstance(error, Stopped):
        error = error.__cause__ or error.__context__
    return error


def requeue_on(name: str | None) -> None:
    """From now on the signal of that name ends the program, and SLURM is asked to start its job again.

    Raises:
        UserError: there is no such signal, or it cannot be caught.
    """
    if name is None:
        return
    full = name.upper() if name.upper().startswith("SIG") else f"SIG{name.upper()}"
    known = [each.name for each in signal.Signals if each.name not in ("SIGKILL", "SIGSTOP")]
    if full not in known:
        raise UserError(f"There is no signal '{name}' that a program can catch; give USR1, USR2 or TERM.")
    signal.signal(signal.Signals[full], _stop_and_requeue)


def requeued() -> str:
    """Asks SLURM to start the job of this process again, and returns a sentence on how that went."""
    array, task = (os.environ.get(name) for name in ("SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID"))
    job = f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID")
    if not job:
        return "It was not queued again, since this is no job of SLURM."
    try:
        with _handled(signal.SIG_IGN):  # SLURM ends this process before scontrol has answered
            done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        return f"SLURM could not be asked to queue the job {job} again ({error})."
    refused = f"SLURM refused to queue the job {job} again: {done.stderr.strip()}"
    return refused if done.returncode else f"SLURM queues the job {job} again."


def _stop(number: int, frame: FrameType | None) -> None:
    _let_nothing_interrupt(number)
    raise Stopped(number)


def _stop_and_requeue(number: int, frame: FrameType | None) -> None:
    _let_nothing_interrupt(number)
    raise Stopped(number, requeue=True)


def _let_nothing_interrupt(number: int) -> None:
    """Ignores further signals while all is closed, and the end of processes that read images, of which torch makes an error."""
    for each in {number, *ENDING}:
        signal.signal(each, signal.SIG_IGN)
    if hasattr(signal, "SIGCHLD"):
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
