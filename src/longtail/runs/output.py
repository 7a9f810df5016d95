"""Writes a result where the user asked for it: into a file, through a link, into a pipe or a device, or to standard output."""

from __future__ import annotations

import errno
import os
import stat
import sys
from pathlib import Path

from longtail.runs.files import encoded, unwritten, write_bytes

STANDARD_OUTPUT = ("-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")
NOT_REPLACED = ("/dev/", "/proc/")  # a file that a process has open: a new one in its place would not be seen there


def is_standard_output(target: Path) -> bool:
    """Whether the target is standard output: `-`, or one of the system's names of it."""
    return os.fspath(target) in STANDARD_OUTPUT


def check_output(target: Path) -> None:
    """Refuses a target that could not be written; nothing is written or made.

    Raises:
        UnwritableFile: it is a folder, its links lead in a circle, or the system does not allow this user to write there.
    """
    if is_standard_output(target):
        return
    try:
        mode = _mode(target)
        if mode is not None and stat.S_ISDIR(mode):
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
        if mode is not None:
            _check_access(target, os.W_OK)
        if _is_replaced(target, mode):
            _check_folder(Path(os.path.realpath(target)).parent)
    except OSError as error:
        raise unwritten(target, error) from error


def write_output(target: Path, content: str | bytes) -> None:
    """Writes bytes, or a text as UTF-8. A file, also one behind a link, is replaced in one step; anything else is opened.

    Raises:
        OutOfSpace: the disk is full.
        UnwritableFile: the system refuses to write.
        BrokenPipeError: the reader of standard output or of a pipe has stopped reading.
    """
    content = encoded(content) if isinstance(content, str) else content
    if is_standard_output(target):
        _print(content)
        return
    try:
        replaced = _is_replaced(target, _mode(target))
        if not replaced:
            with target.open("ab", buffering=0) as file:
                _write_all(file.fileno(), content)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise unwritten(target, error) from error
    if replaced:
        write_bytes(Path(os.path.realpath(target)), content)


def _mode(target: Path) -> int | None:
    """Kind and permissions of what the path or its link leads to; None where there is nothing yet."""
    try:
        return target.stat().st_mode
    except FileNotFoundError:
        return None


def _is_replaced(target: Path, mode: int | None) -> bool:
    return mode is None or (stat.S_ISREG(mode) and not os.path.abspath(target).startswith(NOT_REPLACED))


def _check_folder(folder: Path) -> None:
    """Refuses a folder in which no file can be made, or which itself cannot be made."""
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir():
        raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    _check_access(folder, os.W_OK | os.X_OK)


def _check_access(path: Path, how: int) -> None:
    if not os.access(path, how):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))


def _write_all(handle: int, content: bytes) -> None:
    left = memoryview(content)
    while left:
        left = left[os.write(handle, left) :]


def _print(content: bytes) -> None:
    buffer = getattr(sys.stdout, "buffer", None)
    if buffer is None:
        sys.stdout.write(content.decode(errors="surrogateescape"))
    else:
        sys.stdout.flush()
        buffer.write(content)
    sys.stdout.flush()
