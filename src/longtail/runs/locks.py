"""Locks: one process at a time writes a run folder, and one trains a shared stage.

A lock belongs to an open file, so the system frees it when its process ends, however it ends; no lock is ever stale. The file
says who holds it, for the others' messages.
"""

from __future__ import annotations

import errno
import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from longtail.errors import InUse
from longtail.runs.files import is_alive, unwritten

Note = Callable[[str], None]
WAIT_NOTED = 2.0
ORPHANS = 15.0  # seconds until the processes that read images for a killed process have noticed its end and let go of the lock
CANNOT_LOCK = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL)


def silent(text: str) -> None:
    """Takes a line of text for the user, and drops it."""


@contextmanager
def locked(path: Path, what: str, *, note: Note, wait: bool = False) -> Iterator[None]:
    """Holds a lock inside the `with` block.

    Args:
        path: file of the lock, which is made and stays.
        what: what the lock protects, for the messages: "'runs/x' is in use".
        note: takes a line of text for the user, if this process waits or the file system cannot lock.
        wait: whether to wait until the lock is free, instead of raising.

    Raises:
        InUse: another process holds the lock and `wait` is False; the message says which, where and since when.
        UnwritableFile: the system refuses to write the lock's file.
    """
    lock = FileLock(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _acquire(lock, path, what, note, wait)
    except OSError as error:
        if error.errno not in CANNOT_LOCK and _is_writable(path.parent):
            raise unwritten(path, error) from error
        if error.errno in CANNOT_LOCK:
            note(f"The file system of '{path.parent}' cannot lock files: take care that no second process writes there.")
    try:
        with suppress(OSError):
            path.write_text(json.dumps(_me()))
        yield
    finally:
        with suppress(OSError):
            path.write_text("")
        lock.release()


def is_held(path: Path) -> bool:
    """Whether a living process holds the lock; False where there is no such lock, or the file system cannot lock."""
    try:
        with FileLock(path, timeout=0) if path.exists() else nullcontext():
            return False
    except Timeout:
        return not _is_dead(path)
    except OSError:
        return False


def _acquire(lock: FileLock, path: Path, what: str, note: Note, wait: bool) -> None:
    try:
        lock.acquire(timeout=WAIT_NOTED if wait else 0)
        return
    except Timeout:
        pass
    try:
        lock.acquire(timeout=ORPHANS if _is_dead(path) else 0)
    except Timeout as error:
        if not wait:
            raise InUse(
                f"{what} is in use by {_holder(path)}. Wait until that ends, stop it, or choose another folder with `runs=DIR`."
            ) from error
        note(f"Waiting for {what}, which is in use by {_holder(path)}.")
        lock.acquire()


def _is_writable(folder: Path) -> bool:
    """Whether this user may write in the folder; where not, there is nothing to lock, and whoever tries to write is told so."""
    return not folder.is_dir() or (os.access(folder, os.W_OK) and not os.statvfs(folder).f_flag & os.ST_RDONLY)


def _me() -> dict[str, str | int]:
    now = datetime.now().astimezone().isoformat(" ", "seconds")
    return {"host": socket.gethostname(), "pid": os.getpid(), "since": now}


def _holder(path: Path) -> str:
    """Who holds the lock, as its file says, which may be written at this moment."""
    try:
        holder = json.loads(path.read_text())
        return f"process {holder['pid']} on {holder['host']}, since {holder['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


def _is_dead(path: Path) -> bool:
    """Whether the process that took the lock was one of this machine and has ended."""
    try:
        holder = json.loads(path.read_text())
        return holder["host"] == socket.gethostname() and not is_alive(int(holder["pid"]))
    except (OSError, ValueError, KeyError, TypeError):
        return False
