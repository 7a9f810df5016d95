"""Finished runs as small text: one line of JSON per run, of its record and its report without the classes. Needs no torch."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from longtail.errors import DamagedFile, MissingFileError, UserError
from longtail.runs.files import encoded, read_bytes, sweep_dead, write_bytes
from longtail.runs.folder import RunFolder
from longtail.runs.layout import chosen_run
from longtail.runs.locks import Note, locked, silent
from longtail.runs.report import VERSION as REPORT_VERSION
from longtail.runs.report import EpochResult, RunReport, StageResult, read_report, report_from
from longtail.runs.seals import json_text, parsed, plain

VERSION = 1
KEPT = (
    *("experiment", "recipe", "setting", "seed", "protocol", "precision", "deterministic", "graphs", "split"),
    *("device", "versions", "commit", "since"),
)
NEEDED = ("experiment", "recipe", "setting", "split", "protocol", "precision")


@dataclass(frozen=True)
class StoredResult:
    """A finished run in short: what was trained (as in record.json), its report, and its run folder where it was read of one."""

    record: Mapping[str, Any]
    report: RunReport
    folder: Path | None = None

    @property
    def since(self) -> str:
        """Time of the run's last start, in ISO's form; "" where it is not known."""
        return str(self.record.get("since", ""))


def results_below(folder: Path, *, note: Note = silent) -> list[StoredResult]:
    """The finished runs below a folder, or the run that the folder itself holds; damaged ones are named and left out.

    Args:
        folder: a run folder, a comparison's, or any folder above run folders, such as that of all runs.
        note: takes a line of text for the user.
    """
    chosen = chosen_run(folder)
    reports = [chosen / "report.json"] if (chosen / "report.json").exists() else sorted(folder.rglob("report.json"))
    return list(_read_all(((report.parent, _read_run) for report in reports), note))


def results_in(paths: Iterable[Path], *, note: Note = silent) -> list[StoredResult]:
    """The results in JSONL files, or in the JSONL files of folders; lines that cannot be read are named and left out.

    Raises:
        MissingFileError: a path does not exist.
    """
    found: list[StoredResult] = []
    for path in paths:
        if not path.exists():
            raise MissingFileError(f"There is no file or folder of results '{path}'.")
        for file in sorted(path.glob("*.jsonl")) if path.is_dir() else [path]:
            found += _read_lines(file, note)
    return found


def without_copies(results: Iterable[StoredResult]) -> list[StoredResult]:
    """The results without those of an experiment that came before, such as a run folder's and that of a line made of it."""
    return list({str(result.record["experiment"]): result for result in reversed(list(results))}.values())[::-1]


def add_results(file: Path, results: Sequence[StoredResult], *, note: Note = silent) -> int:
    """Adds results to a JSONL file, each in place of one of the same experiment; returns how many the file had not.

    Lines of the file that cannot be read are kept as they are. Another process that adds to the file is waited for.
    """
    with locked(file.with_name(f".{file.name}.lock"), str(file), note=note, wait=True):
        return _add(file, results, note)


def _add(file: Path, results: Sequence[StoredResult], note: Note) -> int:
    lines = _lines(file) if file.exists() else []
    known = {str(result.record["experiment"]): index for index, result in _numbered(file, lines, note)}
    added = 0
    for result in results:
        index = known.get(str(result.record["experiment"]))
        if index is None:
            known[str(result.record["experiment"])], added = len(lines), added + 1
            lines.append(line_of(result))
        else:
            lines[index] = line_of(result)
    sweep_dead(file)
    write_bytes(file, encoded("".join(f"{line}\n" for line in lines)))
    return added


def line_of(result: StoredResult) -> str:
    """The line of a result: sealed JSON of a few kilobytes, whatever the number of classes."""
    record = {name: result.record[name] for name in KEPT if name in result.record}
    report = {"version": REPORT_VERSION, **plain(_short(result.report))}
    return json.dumps(json.loads(json_text({"version": VERSION, "record": record, "report": report})))


def _short(report: RunReport) -> RunReport:
    """The report without lists that have an entry per class; the results of the groups stay."""

    def last(epoch: EpochResult | None) -> Any:
        return None if epoch is None else replace(epoch, recalls=None)

    def short(stage: StageResult) -> StageResult:
        return replace(stage, last_epoch=last(stage.last_epoch), best_test_epoch=last(stage.best_test_epoch))

    test = replace(report.test, recalls=(), test_counts=())
    return replace(report, test=test, classes=(), stages=tuple(map(short, report.stages)))


def _read_run(folder: Path) -> StoredResult:
    run = RunFolder(folder)
    since = {"since": run.starts[-1].get("since", "")} if run.starts else {}
    return _checked({**run.record, **since}, read_report(folder), str(folder / "record.json"))


def _read_all(sources: Iterable[tuple[Path, Any]], note: Note) -> Iterator[StoredResult]:
    for path, read in sources:
        try:
            yield read(path)
        except UserError as error:
            note(f"Left out: {str(error).partition('. ')[0].removesuffix('.')}.")


def _read_lines(file: Path, note: Note) -> list[StoredResult]:
    return [result for _, result in _numbered(file, _lines(file), note)]


def _lines(file: Path) -> list[str]:
    """The lines of a file, which end with a line feed alone: a text within them may hold other line breaks."""
    text = read_bytes(file).decode(errors="surrogateescape").replace("\r\n", "\n").removesuffix("\n")
    return text.split("\n") if text else []


def _numbered(file: Path, lines: Sequence[str], note: Note) -> Iterator[tuple[int, StoredResult]]:
    """The index and the result of each line that holds one; empty lines are passed over."""
    for index, line in enumerate(lines):
        if line.strip():
            where = Path(f"{file}, line {index + 1}")
            yield from ((index, found) for found in _read_all([(where, lambda path, text=line: _parsed_line(text, path))], note))


def _parsed_line(line: str, where: Path) -> StoredResult:
    content = parsed(encoded(line), where)
    version = content.get("version") if isinstance(content, dict) else None
    if not isinstance(content, dict) or type(version) is not int or not {"record", "report"} <= content.keys():
        raise DamagedFile(f"'{where}' is no result of longtail.")
    if version > VERSION:
        raise UserError(f"'{where}' has version {version}, which is newer than this longtail reads ({VERSION}); update longtail.")
    return _checked(content["record"], report_from(content["report"], where), str(where))


def _checked(record: Any, report: RunReport, where: str) -> StoredResult:
    missing = [name for name in NEEDED if not isinstance(record, Mapping) or name not in record]
    if missing or not isinstance(record["recipe"], Mapping) or not isinstance(record["setting"], Mapping):
        raise DamagedFile(f"'{where}' is not the record of a run: it lacks {', '.join(missing) or 'a recipe or a setting'}.")
    return StoredResult(record, report)
