"""A request as plain data in a folder of its own, from which a job of a scheduler carries it out."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from longtail.data.listing import list_images
from longtail.errors import UserError
from longtail.runs.folder import RunFolder
from longtail.runs.judging import regrouped_report
from longtail.runs.layout import chosen_run
from longtail.runs.report import RunReport
from longtail.runs.seals import read_json, write_json
from longtail.runs.seen import state_of
from longtail.runs.verify import damaged
from longtail.spec.identity import imports, libraries
from longtail.spec.own_code import imported
from longtail.workflow.request import Request
from longtail.workflow.resolve import has_own_data, own_files

REQUEST, SUBMITTED, END, LOCK = "request.json", "submitted.json", "end.json", ".lock"
NO_RESULT = ("jobs", "together", "fresh", "runs")  # options that change no result


@dataclass(frozen=True)
class Submitted:
    """What is known of a job that a scheduler has taken.

    Args:
        on: "slurm" or "local".
        job: the scheduler's name of the job; for "local" the number of its process.
        log: file that holds what the job prints.
    """

    on: str
    job: str
    log: str


@dataclass(frozen=True)
class StoredRequest:
    """A request, and the folder that holds it, what a scheduler said of its job, and how the job ended."""

    request: Request
    folder: Path

    @property
    def submitted(self) -> Submitted | None:
        """What is known of the job; None where there is none yet."""
        content = _read(self.folder, SUBMITTED)
        return Submitted(**{name: str(content[name]) for name in ("on", "job", "log")}) if content else None

    @property
    def problem(self) -> str:
        """Why the job failed, in a sentence; "" where it did not end, or ended well."""
        return str(_read(self.folder, END).get("problem", ""))

    def finished(self) -> tuple[Path, RunReport] | None:
        """Folder of the finished run, or of the comparison of methods, and the run's report; None where it is not whole."""
        ended = _read(self.folder, END).get("run")
        if ended is None:
            return None
        folder = self.request.runs / ended
        try:
            run = chosen_run(folder)
            report = regrouped_report(run, groups=self.request.groups)
        except UserError:
            return None  # a job makes anew what is damaged or gone
        return None if any(damaged(RunFolder(run))) else (folder, report)

    def write(self, *, threads: int | None) -> None:
        """Writes the request for its job, and forgets how an earlier job ended.

        Args:
            threads: number of threads for the job; None for all cores that the scheduler gives it.
        """
        own = {str(file.path): file.sha256 for file in own_files(self.request)}
        write_json(self.folder, REQUEST, {"request": as_plain(self.request), "own": own, "threads": threads})
        for name in (SUBMITTED, END):
            (self.folder / name).unlink(missing_ok=True)


def stored(request: Request, jobs: Path) -> StoredRequest:
    """The request with its folder below `jobs`, which its method, its seed and a hash name.

    The hash is of all that the result depends on: options, versions of libraries, code of the user's own with what it imports,
    and the size, times and place of every file of a folder of images, none of which is opened.
    """
    options = {name: value for name, value in as_plain(request).items() if name not in NO_RESULT}
    own = dict[str, str]()
    for file in own_files(request):
        imported(file)
        own |= {str(file.path): file.sha256, **imports(file.source)}
    content = json.dumps([options, own, dict(libraries()), list(_states(request))], sort_keys=True)
    key = hashlib.sha256(content.encode()).hexdigest()
    method = re.sub(r"[^\w.-]+", "_", Path(request.method).name)
    return StoredRequest(request, jobs / f"{method}-{request.seed}-{key[:10]}")


def name_of(request: Request) -> str:
    """Method, data and seed of a request, for sentences."""
    return f"{request.method} on {request.data}, seed {request.seed}"


def read_request(folder: Path) -> tuple[Request, dict[str, str], int | None]:
    """The request of a job, the hash of each file of the user's own code, and the number of threads.

    Raises:
        UserError: the file is damaged, or another release of longtail wrote it.
    """
    content = read_json(folder, REQUEST)
    unknown = set(content["request"]) - {each.name for each in fields(Request)}
    if unknown:
        raise UserError(f"'{folder / REQUEST}' has options of another release of longtail: {', '.join(sorted(unknown))}.")
    options = {name: _restored(value) for name, value in content["request"].items()}
    return Request(**options), content["own"], content["threads"]


def as_plain(request: Request) -> dict[str, Any]:
    """The options of a request as JSON's own types.

    Raises:
        UserError: an option is an object that cannot be written as text.
    """
    return {each.name: _plain(getattr(request, each.name), each.name) for each in fields(request)}


def _plain(value: Any, name: str) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item, name) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, name) for item in value]
    if value is None or isinstance(value, (str, int, float)):
        return value
    raise UserError(f"A job gets its options as text, and `{name}` has {value!r}; give it as on the command line.")


def _restored(value: Any) -> Any:
    """A value of a request, in which a list was a tuple."""
    if isinstance(value, dict):
        return {key: _restored(item) for key, item in value.items()}
    return tuple(_restored(item) for item in value) if isinstance(value, list) else value


def _states(request: Request) -> Iterator[Sequence[Any]]:
    """Name, size, times and place of every file that the request reads, as far as that can be told without opening images."""
    prior = None if request.prior is None else Path(request.prior)
    for option in (request.split, request.weights, prior):
        if option is not None:
            yield from (_state(path) for path in ([option] if option.is_file() else sorted(option.glob("*.json"))))
    if not has_own_data(request):
        listing = list_images(Path(request.data), missing_ok=request.skip_corrupt, outside=request.outside)
        yield from (_state(listing.root / file) for file in listing.files)
        yield [listing.labels, listing.splits]


def _state(path: Path) -> Sequence[Any]:
    try:
        return [str(path), state_of(path.stat())]
    except OSError:
        return [str(path)]


def _read(folder: Path, name: str) -> dict[str, Any]:
    """A file of a job; empty where there is none that can be read."""
    try:
        content = read_json(folder, name)
    except UserError:
        return {}
    return content if isinstance(content, dict) else {}
