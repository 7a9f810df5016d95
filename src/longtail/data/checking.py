"""What is found in the files of a folder before training: all that they hold, their headers, or nothing."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Literal, Protocol

from torch import Tensor

from longtail.data.reading import Decoded, read_all, read_headers
from longtail.data.splits import Watch
from longtail.data.squares import Interpolation
from longtail.errors import CorruptImage

Check = Literal["full", "header", "none"]
CHECKS: tuple[Check, ...] = ("full", "header", "none")
Result = Decoded | tuple[int, int] | CorruptImage


class Seen(Protocol):
    """Hashes of the content of files that were decoded before; "" for those of which the header was read."""

    def digest(self, path: Path, state: os.stat_result) -> str | None:
        """The hash of a file that was read in this state; None where it was not."""

    def add(self, path: Path, state: os.stat_result, digest: str) -> None:
        """Adds a file that was read just now."""


@dataclass(frozen=True)
class Found:
    """The files below `root` that can be read, as squares of `size` pixels where they are decoded.

    Args:
        check: how files are looked at whose pixels are not to be held: "full" decodes them, "header" reads format and size.
        seen: files that were read before; those that have not changed since are not read again.
        watch: called with (number of files read, number of all files to read).
        pixels: pixels (3, S, S) of the files that are held, by name.
        digests: hash of the content of each file that was read, by name; "" where it was the header alone.
        faded: files that lost their contrast.
    """

    root: Path
    size: int
    interpolation: Interpolation
    check: Check = "full"
    seen: Seen | None = None
    watch: Watch | None = None
    pixels: dict[str, Tensor] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    faded: list[str] = field(default_factory=list)

    def read(self, files: Sequence[str], *, held: Collection[str] | None) -> dict[str, CorruptImage]:
        """Reads those of the files that were not read yet, and returns the errors of those that cannot be read.

        Args:
            held: files whose pixels are kept; None for all of them, which are then read whatever was seen.
        """
        unread = [file for file in files if file not in self.digests]
        states = {} if held is None or self.seen is None or self.check == "none" else self._states(unread)
        decoded, headers = self._wanted(unread, states, held)
        corrupt = dict[str, CorruptImage]()
        for file, result in self._results(decoded, headers):
            if isinstance(result, CorruptImage):
                corrupt[file] = result
                continue
            self._add(file, result, keep=held is None or file in held)
            if self.seen is not None and file in states:
                self.seen.add(self.root / file, states[file], self.digests[file])
        return corrupt

    def _wanted(
        self, unread: Sequence[str], states: Mapping[str, os.stat_result], held: Collection[str] | None
    ) -> tuple[list[str], list[str]]:
        """The files to decode, and those of which the header is read; hashes of files that were seen before are taken over."""
        self.digests.update(self._known({file: state for file, state in states.items() if file not in (held or ())}))
        unknown = [file for file in unread if file not in self.digests]
        left = set() if held is None or self.check == "full" else set(unknown).difference(held)
        headers = [file for file in unknown if file in left] if self.check == "header" else []
        return [file for file in unknown if file not in left], headers

    def _results(self, decoded: Sequence[str], headers: Sequence[str]) -> Iterator[tuple[str, Result]]:
        files = [*decoded, *headers]
        read = read_all(self.root, decoded, self.size, self.interpolation)
        for index, pair in enumerate(zip(files, chain(read, read_headers(self.root, headers)), strict=True)):
            if self.watch is not None:
                self.watch(index + 1, len(files))
            yield pair

    def _add(self, file: str, result: Decoded | tuple[int, int], *, keep: bool) -> None:
        if not isinstance(result, Decoded):
            self.digests[file] = ""
            return
        self.digests[file] = result.digest
        if result.faded:
            self.faded.append(file)
        if keep:
            self.pixels[file] = result.pixels

    def _states(self, files: Sequence[str]) -> dict[str, os.stat_result]:
        return {file: state for file in files if (state := _state(self.root / file)) is not None}

    def _known(self, states: Mapping[str, os.stat_result]) -> dict[str, str]:
        """Hashes of the files that were seen in these states, and looked at as closely as is asked for."""
        found = {file: self.seen.digest(self.root / file, state) for file, state in states.items()} if self.seen else {}
        return {file: digest for file, digest in found.items() if digest or (digest == "" and self.check == "header")}


def _state(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None  # the reader says what is wrong with the file
