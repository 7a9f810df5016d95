"""Processes: how many share a machine, and that none outlives its parent."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing.context import SpawnContext, SpawnProcess
from multiprocessing.reduction import ForkingPickler
from typing import Any


def processors() -> int:
    """Number of CPU cores that this process may use."""
    allowed = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed is not None else os.cpu_count() or 1


def end_with_parent() -> None:
    """From now on this process ends when its parent does, however that ends, and whatever this one is waiting for.

    The thread of `multiprocessing.resource_sharer` shows its errors by `sys.excepthook`; here they are shown a second late, since
    an error on a connection that the parent's end has broken would otherwise be shown before this process ends.
    """
    parent, shown = multiprocessing.parent_process(), sys.excepthook
    if parent is not None:
        threading.Thread(target=_end_after, args=(parent.join,), daemon=True).start()
        sys.excepthook = partial(_show_late, shown)


@contextmanager
def out_of_reach() -> Iterator[None]:
    """Ignores interrupts and the end of the terminal inside the `with` block; processes that are started there always do."""
    former = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


@contextmanager
def printing_nowhere() -> Iterator[None]:
    """Gives processes that are started inside the `with` block no output of this one, whose reader would wait for their end."""
    sys.stdout.flush()
    former = [os.dup(handle) for handle in (1, 2)]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        for handle in (1, 2):
            os.dup2(nowhere, handle)
        yield
    finally:
        for handle, kept in zip((1, 2), former, strict=True):
            os.dup2(kept, handle)
        for handle in (*former, nowhere):
            os.close(handle)


def spawned(context: SpawnContext, function: Callable[..., None], *arguments: Any) -> SpawnProcess:
    """A process, not started yet, that calls a function; interrupts are left to its parent, with which it ends.

    It is watched from its first moment on: what is sent stays pickled until then, since unpickling imports libraries for seconds.
    """
    return context.Process(target=_call, args=(_Pickled((function, arguments)),))


class _Pickled:
    """A value that arrives in the other process as pickled bytes."""

    def __init__(self, value: object) -> None:
        self.value = value

    def __reduce__(self) -> tuple[type[bytes], tuple[bytes]]:
        return bytes, (bytes(ForkingPickler.dumps(self.value)),)


def _call(pickled: bytes) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
    function, arguments = pickle.loads(pickled)
    function(*arguments)


def _show_late(show: Callable[..., object], *error: Any) -> None:
    time.sleep(1)
    show(*error)


def _end_after(wait: Callable[[], None]) -> None:
    wait()
    os._exit(1)
