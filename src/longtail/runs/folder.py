"""The folder of a run: its lock, its record, and its files, each checked when it is read back. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from typing import Any

from longtail.errors import DamagedFile, MissingFileError, UserError
from longtail.runs.files import encoded, read_bytes, sweep, write_bytes
from longtail.runs.locks import Note, locked, silent
from longtail.runs.seals import REMEDY, is_sealed, json_text, no_run, parsed, read_json, sha256, write_json

RECORD, REPORT, CHECKSUMS = "record.json", "report.json", "checksums.json"


class RunFolder:
    """A folder of one run.

    Args:
        folder: path of the folder, which is made when the first file is written.
        note: takes a line of text for the user, on damaged files and on waiting.
    """

    def __init__(self, folder: Path, *, note: Note = silent) -> None:
        self.folder, self.note = folder, note
        self.written: dict[str, str] = {}

    def locked(self, *, wait: bool = False) -> AbstractContextManager[None]:
        """Holds the lock of the folder inside the `with` block: nobody else may write there.

        Args:
            wait: whether to wait, with a note, until another process lets go of it.

        Raises:
            InUse: another process holds it, and `wait` is False.
        """
        return locked(self.folder / ".lock", f"'{self.folder}'", note=self.note, wait=wait)

    def open(self, record: Mapping[str, Any]) -> None:
        """Writes record.json, or checks that it is of the same experiment, and deletes files that a kill left half-written.

        The caller holds the lock of the folder.

        Raises:
            UserError: the folder holds another experiment.
        """
        for folder in (self.folder, self.folder / "model", self.folder / "code"):
            sweep(folder)
        try:
            stored = self.record
        except MissingFileError:
            return self.write_record(record)
        except DamagedFile as error:
            self.note(f"{str(error).partition('. ')[0]}. It is written anew; what it said of earlier starts is lost.")
            return self.write_record(record)
        if stored.get("experiment") != record["experiment"]:
            raise UserError(
                f"'{self.folder}' holds another experiment (its record.json differs). Choose another folder with `runs=DIR`, "
                f"or move it away."
            )
        return None

    @property
    def finished(self) -> bool:
        """Whether the run is finished: its report is written."""
        return (self.folder / REPORT).exists()

    @cached_property
    def record(self) -> dict[str, Any]:
        """Content of record.json: recipe, setting, split, starts and versions of the run.

        Raises:
            MissingFileError: there is none.
            DamagedFile: it is not a record.
        """
        record = read_json(self.folder, RECORD)
        if not isinstance(record, dict) or "experiment" not in record:
            raise DamagedFile(f"'{self.folder / RECORD}' is damaged: it is not the record of a run. {REMEDY}")
        return record

    @property
    def starts(self) -> list[dict[str, Any]]:
        """The starts that the record lists; none where there is no record."""
        try:
            starts = self.record.get("starts", [])
        except MissingFileError:
            return []
        return [start for start in starts if isinstance(start, dict)] if isinstance(starts, list) else []

    def write_record(self, record: Mapping[str, Any]) -> None:
        """Writes record.json."""
        write_json(self.folder, RECORD, record)
        self.__dict__["record"] = dict(record)

    def write(self, name: str, content: bytes) -> Path:
        """Writes the file `name`, whose checksum `write_checksums` writes later."""
        self.written[name] = sha256(content)
        return write_bytes(self.folder / name, content)

    def write_json(self, name: str, content: Any) -> Path:
        """Writes the JSON file `name`; nan becomes null."""
        return self.write(name, encoded(json_text(content)))

    def write_checksums(self) -> None:
        """Writes the checksums of all files that this process wrote in the folder, and which experiment they are of."""
        write_json(self.folder, CHECKSUMS, {"experiment": self._experiment, "files": self.written})
        self.__dict__.pop("checksums", None)

    @cached_property
    def checksums(self) -> Mapping[str, str]:
        """sha256 of the files of a finished run, by name; empty for runs of release 0.1.0, which stored none.

        Raises:
            DamagedFile: checksums.json is damaged or was deleted.
        """
        if not (self.folder / CHECKSUMS).exists():
            if self.finished and not is_sealed(read_bytes(self.folder / REPORT)):
                return {}
            raise DamagedFile(f"'{self.folder / CHECKSUMS}' is missing. {REMEDY}")
        content = read_json(self.folder, CHECKSUMS)
        files = content.get("files") if isinstance(content, dict) else None
        if not isinstance(files, dict):
            raise DamagedFile(f"'{self.folder / CHECKSUMS}' is damaged: it lists no files. {REMEDY}")
        if content.get("experiment") != (self._experiment or content.get("experiment")):
            raise DamagedFile(f"'{self.folder / CHECKSUMS}' is that of another run. {REMEDY}")
        return files

    @property
    def _experiment(self) -> str | None:
        """Hash of the experiment; None where there is no record that can be read."""
        try:
            return str(self.record["experiment"])
        except UserError:
            return None

    def read(self, name: str) -> bytes:
        """Reads the file `name`, and checks it where the run is finished.

        Raises:
            MissingFileError: the folder is not a run folder, or the run has not written the file yet.
            DamagedFile: the file, or the list of checksums, differs from what was written.
        """
        if not (self.folder / name).exists():
            if self.finished and name in self.checksums:
                raise DamagedFile(f"'{self.folder / name}' is missing. {REMEDY}")
            raise no_run(self.folder, name)
        content = read_bytes(self.folder / name)
        expected = self.checksums.get(name) if self.finished else None
        if expected is not None and sha256(content) != expected:
            raise DamagedFile(f"'{self.folder / name}' is damaged: it differs from what was written (its checksum). {REMEDY}")
        return content

    def read_json(self, name: str) -> Any:
        """Reads the JSON file `name`, and checks it as `read` does."""
        return parsed(self.read(name), self.folder / name)
