"""Processes that train one request after another, and what they tell their parent."""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnContext
from pathlib import Path

from longtail.data.splits import Data
from longtail.errors import UserError
from longtail.processes import spawned
from longtail.runs.report import RunReport
from longtail.spec.own_code import OwnFile, imported, use
from longtail.spec.recipe import Setting
from longtail.workflow.one_run import Prepared, train_one
from longtail.workflow.request import Request
from longtail.workflow.watcher import Silent

PATIENCE = 5.0  # seconds for the end of a process that has closed its connection


@dataclass(frozen=True)
class Work:
    """What every worker gets once.

    Args:
        threads: number of threads per worker.
        own: code of the user's own that the requests run.
        setting: the setting, pickled, since it may name functions of that code, which must be run first; None where each request
            has a setting and data of its own.
        data: the images, whose pixels lie in shared memory; None as for the setting.
    """

    threads: int
    own: Sequence[OwnFile] = ()
    setting: bytes | None = None
    data: Data | None = None


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
    """A process that trains the requests that it is given, one at a time; it is not started yet."""

    def __init__(self, context: SpawnContext, work: Work) -> None:
        self.connection, self.theirs = context.Pipe()
        self.process = spawned(context, _train_requests, self.theirs, work)
        self.request: Request | None = None

    def start(self) -> None:
        """Starts the process."""
        self.process.start()
        self.theirs.close()  # so that the end of the process ends the connection

    def train(self, request: Request) -> None:
        """Gives the process a request."""
        self.request = request
        with suppress(OSError):  # a dead process takes none, which `answer` says
            self.connection.send(request)

    def answer(self) -> Note | Finished | Exception | None:
        """What the process says of its request: a note, the finished run, or an error; None where it is dead."""
        try:
            if self.connection.poll():
                answer: Note | Finished | Exception = self.connection.recv()
                return answer
        except (EOFError, OSError):
            self.process.join(PATIENCE)
        return None

    def end(self) -> None:
        """Ends the process, whatever it does; what it writes is complete or not there."""
        self.connection.close()
        if self.process.pid is not None:
            self.process.kill()
            self.process.join()


class _Notes(Silent):
    """Sends notes to the parent, with the seed that they are about."""

    def __init__(self, connection: Connection) -> None:
        self.connection, self.about = connection, ""

    def note(self, text: str) -> None:
        self.connection.send(Note(f"{self.about}: {text}"))


def _train_requests(connection: Connection, work: Work) -> None:
    """Trains requests until the parent closes the connection."""
    notes = _Notes(connection)
    source = None
    while True:
        try:
            request = connection.recv()
        except EOFError:
            return
        try:
            source = source or _begin(work, notes)
            notes.about = f"seed {request.seed}" if work.data is not None else f"{request.method}, seed {request.seed}"
            result = train_one(request, *source(request), watcher=notes)
            connection.send(Finished(result.folder, result.report))
        except Exception as error:
            connection.send(_sendable(error))


def _begin(work: Work, notes: _Notes) -> Callable[[Request], tuple[Setting, Data]]:
    """Prepares this process, and returns the function that gives the setting and the data of a request."""
    import torch

    torch.set_num_threads(work.threads)
    for file in work.own:
        imported(use(file))
    if work.setting is None or work.data is None:
        return Prepared(notes).of
    given: tuple[Setting, Data] = pickle.loads(work.setting), work.data
    return lambda request: given


def _sendable(error: Exception) -> Exception:
    """The error, with its traceback as a note where it is a fault; as text where it cannot be pickled."""
    if not isinstance(error, UserError):
        error.add_note(traceback.format_exc())
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(traceback.format_exc())
    return error
