"""Trains requests that need not have anything in common: on several data, by several methods, at several seeds."""

from __future__ import annotations

from collections.abc import Sequence

from longtail.errors import UserError
from longtail.processes import processors
from longtail.runs.run import Run
from longtail.workflow.one_run import Prepared, Result, prepared, train_one
from longtail.workflow.parallel import in_processes, jobs_of
from longtail.workflow.request import Request
from longtail.workflow.watcher import Watcher
from longtail.workflow.workers import Finished, Work


def train_each(requests: Sequence[Request], *, watcher: Watcher) -> list[Result | UserError]:
    """Trains the requests, and returns the finished run or the error of each, in their order.

    An error that a user can fix ends its own request, and the others go on. With several jobs, each process reads the data of its
    requests itself.
    """
    if not requests:
        return []
    return _one_by_one(requests, watcher) if jobs_of(requests) == 1 else _side_by_side(requests, watcher)


def data_of(request: Request) -> str:
    """The data of a request in words, such as "cifar10_lt at 100"."""
    return str(request.data) + (f" at {request.imbalance:g}" if request.imbalance is not None else "")


def _one_by_one(requests: Sequence[Request], watcher: Watcher) -> list[Result | UserError]:
    source, outcomes = Prepared(watcher), list[Result | UserError]()
    for request in requests:
        try:
            outcomes.append(train_one(request, *source.of(request), watcher=watcher))
        except UserError as error:
            outcomes.append(error)
            watcher.note(f"{request.method} on {data_of(request)}, seed {request.seed}: failed. {error}")
    return outcomes


def _side_by_side(requests: Sequence[Request], watcher: Watcher) -> list[Result | UserError]:
    errors = _unreadable(requests, watcher)
    able = [request for request in requests if data_of(request) not in errors]
    ends = dict[int, Finished | Exception]()
    if able:
        jobs = jobs_of(able)
        found = in_processes(able, Work(max(processors() // jobs, 1)), watcher, jobs)
        ends = {id(request): end for request, end in zip(able, found, strict=True)}
    return [_outcome(ends.get(id(request)) or errors[data_of(request)]) for request in requests]


def _unreadable(requests: Sequence[Request], watcher: Watcher) -> dict[str, UserError]:
    """The error of each data set that cannot be read; of the others, the precision is settled while the machine is not busy."""
    errors: dict[str, UserError] = {}
    for request in {data_of(request): request for request in requests}.values():
        try:
            prepared(request, watcher)
        except UserError as error:
            errors[data_of(request)] = error
    return errors


def _outcome(end: Finished | Exception) -> Result | UserError:
    """The outcome of a request; a fault of longtail is raised."""
    if isinstance(end, Finished):
        return Result(Run(end.folder), end.report)
    if isinstance(end, UserError):
        return end
    raise end
