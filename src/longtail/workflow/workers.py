"""Processes that train one request after another; each ends when its parent ends, and its own end is noticed by its parent."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from longtail.data.splits import Data
from longtail.errors import UserError
from longtail.runs.report import RunReport
from longtail.spec.own_code import OwnFile, imported, use
from longtail.workflow.one_run import train_one
from longtail.workflow.request import Request
from longtail.workflow.watcher import Silent


@dataclass(frozen=True)
class Work:
    """What every worker gets once.

    Args:
        threads: number of threads per worker.
        own: code of the user's own that the requests run.
        setting: the setting, pickled, since it may name functions of that code, which must be run first.
        data: the images, whose pixels lie in shared memory.
    """

    threads: int
    own: Sequence[OwnFile]
    setting: bytes
    data: Data


@dataclass(frozen=True)
class Note:
    """A line of text for the user."""

    text: str


@dataclass(frozen=True)
class Finished:
    """A finished run: its folder and its report."""

    folder: Path
    report: RunReport


class Worker:
    """A process that trains the requests that it is given, one at a time."""

    def __init__(self, context: Any, work: Work) -> None:
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_train_requests, args=(theirs, work))
        self.process.start()
        theirs.close()
        self.request: Request | None = None

    def train(self, request: Request) -> None:
        """Gives the process a request."""
        self.request = request
        self.connection.send(request)

    def answer(self) -> Note | Finished | Exception | None:
        """What the process says of its request: a note, the finished run, or an error; None where it is dead."""
        try:
            answer: Note | Finished | Exception = self.connection.recv()
        except (EOFError, OSError):
            self.process.join()
            return None
        return answer

    def end(self) -> None:
        """Ends the process, whatever it does."""
        self.connection.close()
        self.process.terminate()
        self.process.join()


class _Notes(Silent):
    """Sends notes to the parent, with the seed that they are about."""

    def __init__(self, connection: Connection, seed: int) -> None:
        self.connection, self.seed = connection, seed

    def note(self, text: str) -> None:
        self.connection.send(Note(f"seed {self.seed}: {text}"))


def _train_requests(connection: Connection, work: Work) -> None:
    """Trains requests until the parent closes the connection; interrupts are left to the parent, which ends this process."""
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(work.threads)
    for file in work.own:
        imported(use(file))
    setting = pickle.loads(work.setting)
    while True:
        try:
            request = connection.recv()
        except EOFError:
            return
        try:
            result = train_one(request, setting, work.data, watcher=_Notes(connection, request.seed))
            connection.send(Finished(result.folder, result.report))
        except Exception as error:
            connection.send(_sendable(error))


def _sendable(error: Exception) -> Exception:
    """The error, with its traceback as a note where it is a fault; as text where it cannot be pickled."""
    if not isinstance(error, UserError):
        error.add_note(traceback.format_exc())
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(traceback.format_exc())
    return error


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
