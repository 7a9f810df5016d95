"""Trains requests that need not have anything in common: on several data, by several methods, at several seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from longtail.errors import UserError
from longtail.processes import processors
from longtail.runs.run import Run
from longtail.workflow.company import data_of, train_alike
from longtail.workflow.one_run import Prepared, Result, prepared
from longtail.workflow.parallel import in_processes, jobs_of
from longtail.workflow.request import Request
from longtail.workflow.watcher import Watcher
from longtail.workflow.workers import Finished, Work


def train_each(requests: Sequence[Request], *, watcher: Watcher) -> list[Result | UserError]:
    """Trains the requests, and returns the finished run or the error of each, in their order.

    An error that a user can fix ends its own request, and the others go on. With several jobs, each process reads the data of its
    requests itself; with `together`, one process reads them, and requests for the same data take their steps together.
    """
    if not requests:
        return []
    in_processes = requests[0].together == "none" and jobs_of(requests) > 1
    return _side_by_side(requests, watcher) if in_processes else _one_by_one(requests, watcher)


def _one_by_one(requests: Sequence[Request], watcher: Watcher) -> list[Result | UserError]:
    source, ends, waiting = Prepared(watcher), dict[int, Result | Exception](), list(requests)
    while waiting:
        group = _company(waiting)
        try:
            found = train_alike(group, *source.of(group[0]), watcher=watcher)
        except UserError as error:
            group, found = group[:1], [error]
            watcher.note(f"{group[0].method} on {data_of(group[0])}: failed. {error}")
        ends |= {id(request): end for request, end in zip(group, found, strict=True)}
        waiting = [each for each in waiting if id(each) not in ends]
    return [_outcome(ends[id(request)]) for request in requests]


def _company(waiting: Sequence[Request]) -> list[Request]:
    """The first request, and those that may take their steps with it: on the same data, and by the same method to be stacked.

    Of requests that are equal, it has one; the others read back the run of that later.
    """
    first, group = waiting[0], list[Request]()
    own: dict[str, Any] = {"seed": first.seed}
    if first.together == "branches":
        own |= {"method": first.method, "variants": first.variants, "changes": first.changes}
    for each in waiting:
        if each not in group and (each is first or (first.together != "none" and replace(each, **own) == first)):
            group.append(each)
    return group


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


def _outcome(end: Result | Finished | Exception) -> Result | UserError:
    """The outcome of a request; a fault of longtail is raised."""
    if isinstance(end, Finished):
        return Result(Run(end.folder), end.report)
    if isinstance(end, Result | UserError):
        return end
    raise end
