"""Writing and reading files. Every write is atomic; what the system refuses is said in a sentence."""

from __future__ import annotations

import csv
import errno
import glob
import io
import os
import secrets
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from longtail.errors import MissingFileError, OutOfSpace, UnreadableFile, UnwritableFile

PARTIAL = ".partial"
FULL = (errno.ENOSPC, errno.EDQUOT)
CAUSES = {
    errno.EACCES: "Allow this user to {do} it",
    errno.EPERM: "Allow this user to {do} it",
    errno.EROFS: "The disk is mounted read-only: choose another folder",
    errno.EIO: "The disk or the connection to it fails: check it",
    errno.ESTALE: "The network drive was taken away or replaced: mount it again",
    errno.ENOTDIR: "Part of the path is a file: choose another folder",
    errno.EEXIST: "Part of the path is a file: choose another folder",
    errno.EISDIR: "It is a folder: give the name of a file",
    errno.ENAMETOOLONG: "The name is too long: choose a shorter one",
    errno.ELOOP: "Its links lead in a circle: mend them",
}


def csv_text(header: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """The text of a CSV file with a header line."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


def encoded(text: str) -> bytes:
    """Text as UTF-8; file names in it that are not UTF-8 keep their bytes."""
    return text.encode(errors="surrogateescape")


def write_text(path: Path, text: str) -> Path:
    """Writes text as UTF-8; file names in it that are not UTF-8 keep their bytes."""
    return write_bytes(path, encoded(text))


def write_bytes(path: Path, content: bytes | memoryview, *, header: bytes = b"", before: Path | None = None) -> Path:
    """Writes a temporary file beside `path`, flushes it to the disk, renames it to `path`, and flushes the folder.

    A kill leaves the old file or the new one, and perhaps the temporary file, which `sweep` deletes.

    Args:
        header: bytes to write before the content.
        before: name that the file at `path` gets when the new one takes its place, so that two are kept.

    Raises:
        OutOfSpace: the disk is full or the quota is used up.
        UnwritableFile: the system refuses to write.
    """
    temporary = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.{secrets.token_hex(4)}{PARTIAL}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb") as file:
                file.write(header)
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            if before is not None and path.exists():
                os.replace(path, before)
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        flush_folder(path.parent)
    except OSError as error:
        raise unwritten(path, error) from error
    return path


def rename(path: Path, target: Path) -> None:
    """Moves a file within a disk, in one step, in place of the one at `target`.

    Raises:
        UnwritableFile: the system refuses.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(path, target)
        flush_folder(target.parent)
    except OSError as error:
        raise unwritten(target, error) from error


def flush_folder(folder: Path) -> None:
    """Flushes a folder to the disk, so that a rename in it outlives a loss of power, where the system can do that."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(handle)


def sweep(folder: Path, name: str = "*") -> None:
    """Deletes temporary files that a kill left in a folder; the caller holds the lock of whoever writes `name` there."""
    for partial in folder.glob(f".{name}.*{PARTIAL}"):
        partial.unlink(missing_ok=True)


def sweep_dead(path: Path) -> None:
    """Deletes temporary files of `path` that ended processes of this machine left; for files that are written without a lock."""
    for partial in path.parent.glob(f".{glob.escape(path.name)}.{socket.gethostname()}.*{PARTIAL}"):
        pid = partial.name.split(".")[-3]
        if pid.isdecimal() and not is_alive(int(pid)):
            partial.unlink(missing_ok=True)


def is_alive(pid: int) -> bool:
    """Whether a process of this machine runs; True where that cannot be told."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def read_bytes(path: Path) -> bytes:
    """Reads a whole file.

    Raises:
        MissingFileError: there is no such file.
        UnreadableFile: it is no regular file, or the system refuses to read it.
    """
    try:
        if path.exists() and not path.is_file():
            raise UnreadableFile(f"'{path}' is no regular file, but a folder, a pipe or a device; move it away.")
        return path.read_bytes()
    except FileNotFoundError as error:
        raise MissingFileError(f"There is no file '{path}'.") from error
    except UnreadableFile:
        raise
    except OSError as error:
        raise UnreadableFile(f"'{path}' cannot be read ({_reason(error)}). {_cause(error, 'read')}.") from error


def unwritten(path: Path, error: OSError) -> OutOfSpace | UnwritableFile:
    """The error to raise where the system refused to write `path`."""
    if error.errno in FULL:
        return OutOfSpace(
            f"The disk is full: '{path}' could not be written. Files written before are intact; free some space and "
            f"start the same command again."
        )
    return UnwritableFile(
        f"'{path}' cannot be written ({_reason(error)}). {_cause(error, 'write')}, and start the same command again; files "
        f"written before are intact."
    )


def _reason(error: OSError) -> str:
    return error.strerror or str(error)


def _cause(error: OSError, do: str) -> str:
    return CAUSES.get(error.errno or 0, "Check the disk and its permissions").format(do=do)
