"""Hashes of image files that were decoded before, so that a collection too large for memory is not read twice before training."""

from __future__ import annotations

import csv
import io
import os
import time
from functools import cached_property
from pathlib import Path

from longtail.errors import UserError
from longtail.runs.files import csv_text, encoded, read_bytes, sweep_dead, write_bytes
from longtail.runs.seals import sha256

RACY = 2_000_000_000
Row = tuple[str, str]


class SeenFiles:
    """The list of files in `path`: a file counts as seen while its size, its time of change and its place are the same.

    A file that was changed within the two seconds before it was read is not listed, since a further change might leave the same
    time. The list begins with its own checksum; a damaged list is not used, and the files are read again.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.new = path, dict[str, Row]()

    def digest(self, path: Path, state: os.stat_result) -> str | None:
        """The hash of a file that was decoded in this state; None where it was not."""
        stored = self._rows.get(_name(path))
        return stored[1] if stored is not None and stored[0] == state_of(state) else None

    def add(self, path: Path, state: os.stat_result, digest: str) -> None:
        """Adds a file that was decoded just now."""
        if time.time_ns() - max(state.st_mtime_ns, state.st_ctime_ns) > RACY:
            self.new[_name(path)] = (state_of(state), digest)

    def save(self) -> None:
        """Writes the list, if files were added to it."""
        rows = {**self._rows, **self.new}
        if rows == self._rows:
            return
        sweep_dead(self.path)
        content = encoded(csv_text(("path", "state", "digest"), ((name, *row) for name, row in rows.items())))
        write_bytes(self.path, content, header=f"{sha256(content)}\n".encode())

    @cached_property
    def _rows(self) -> dict[str, Row]:
        try:
            checksum, _, content = read_bytes(self.path).partition(b"\n")
        except UserError:
            return {}
        if checksum != sha256(content).encode():
            return {}
        rows = csv.DictReader(io.StringIO(content.decode(errors="surrogateescape"), newline=""))
        return {row["path"]: (row["state"], row["digest"]) for row in rows}


def _name(path: Path) -> str:
    return os.path.abspath(path)


def state_of(state: os.stat_result) -> str:
    """Size, times and place of a file: one that takes its place with the same size and time has another time of change."""
    return f"{state.st_size} {state.st_mtime_ns} {state.st_ctime_ns} {state.st_ino}"
