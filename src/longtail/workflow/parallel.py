"""Trains several runs at once on one machine, each in a process of its own, with one copy of the images."""

from __future__ import annotations

import pickle
import signal
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from multiprocessing.connection import wait

from longtail.data.splits import Data
from longtail.errors import TrainingFailed, UserError
from longtail.processes import processors
from longtail.results import counted
from longtail.runs.devices import chosen_device
from longtail.runs.run import Run
from longtail.spec.recipe import Setting
from longtail.together import world
from longtail.workflow.company import can_go_together, train_together
from longtail.workflow.mps import served
from longtail.workflow.one_run import Result, train_one
from longtail.workflow.precision import settled_precision
from longtail.workflow.request import Request
from longtail.workflow.resolve import own_files
from longtail.workflow.watcher import Watcher
from longtail.workflow.workers import Finished, Note, Work, Worker

Ends = dict[int, "Finished | Exception"]  # how requests ended, by the `id` of each
POLL = 1.0  # seconds after which a process is noticed that died without closing its connection


def train_many(requests: Sequence[Request], setting: Setting, data: Data, *, watcher: Watcher) -> list[Result]:
    """Trains requests that differ in the seed alone, and returns the finished runs in their order.

    Either one process takes the steps of all together (`workflow.company`), or processes divide the cores between them. Each run
    is equal, to the bit, to the same run alone at that number of threads, unless networks are stacked.
    """
    if can_go_together(requests, data, watcher):
        return _results(requests, train_together(requests, setting, data, watcher=watcher))
    jobs = jobs_of(requests)
    if jobs == 1:
        return [train_one(request, setting, data, watcher=watcher) for request in requests]
    precision = settled_precision(requests[0], setting, data, watcher)  # once for all, on a machine that is not busy yet
    requests = [replace(request, precision=precision) for request in requests]
    threads = max(processors() // jobs, 1)
    work = Work(threads, own_files(requests[0]), pickle.dumps(setting), data)
    return _results(requests, in_processes(requests, work, watcher, jobs))


def jobs_of(requests: Sequence[Request]) -> int:
    """Number of runs to train at once: `jobs` if given, else one per core of the CPU, and one at a time on a GPU."""
    asked = requests[0].jobs if world() == 1 else 1
    if asked is None:
        asked = processors() if chosen_device(requests[0].device) == "cpu" else 1
    return max(min(asked, len(requests)), 1)


def in_processes(requests: Sequence[Request], work: Work, watcher: Watcher, jobs: int) -> list[Finished | Exception]:
    """Trains the requests by worker processes, and returns how each of them ended, in their order.

    What fails ends its own request alone.
    """
    import torch.multiprocessing

    several = f"{work.threads} thread{'s' * (work.threads > 1)} each (`jobs`)"
    watcher.note(f"{counted(len(requests), 'run')}, {jobs} at once with {several}")
    context = torch.multiprocessing.get_context("spawn")
    start = partial(Worker, context, work)
    on_gpu = chosen_device(requests[0].device) == "cuda"
    with served(watcher.note) if on_gpu else nullcontext():
        ends = _ends(deque(requests), start, watcher, jobs)
    return [ends[id(request)] for request in requests]


def _ends(waiting: deque[Request], start: Callable[[], Worker], watcher: Watcher, jobs: int) -> Ends:
    """How every request ended, trained by so many processes at once."""
    count, workers, ends = len(waiting), list[Worker](), Ends()
    try:
        while len(ends) < count:
            while waiting and len(workers) < jobs:
                workers.append(start())
                workers[-1].start()
                workers[-1].train(waiting.popleft())
            ready = wait([worker.connection for worker in workers], POLL)
            for worker in [each for each in workers if each.connection in ready or not each.process.is_alive()]:
                _take_answer(worker, workers, waiting, ends, watcher)
    finally:
        for worker in workers:
            worker.end()
    return ends


def _take_answer(worker: Worker, workers: list[Worker], waiting: deque[Request], ends: Ends, watcher: Watcher) -> None:
    answer, request = worker.answer(), worker.request
    assert request is not None
    if isinstance(answer, Note):
        watcher.note(answer.text)
        return
    ends[id(request)] = _killed(worker, request) if answer is None else answer
    how = "finished" if isinstance(answer, Finished) else "failed" + ", the others go on" * (len(workers) > 1 or bool(waiting))
    watcher.note(f"{request.method}, seed {request.seed}: {how}")
    if answer is not None and waiting:
        worker.train(waiting.popleft())
    else:
        workers.remove(worker)
        worker.end()


def _killed(worker: Worker, request: Request) -> TrainingFailed:
    """The error on a process that ended in the middle of its request."""
    code = worker.process.exitcode or 0
    how = f"was killed by signal {-code}, {_named(-code)}" if code < 0 else f"ended by itself with exit code {code}"
    memory = code == -signal.SIGKILL
    why = " Often, the memory is used up: fewer seeds at once need less (`jobs=1`)." if memory else ""
    return TrainingFailed(
        f"The process that trained seed {request.seed} {how}.{why} The results of the other seeds are kept, and the same command "
        f"continues."
    )


def _named(number: int) -> str:
    return signal.Signals(number).name if number in {each.value for each in signal.Signals} else "which has no name"


def _results(requests: Sequence[Request], ends: Sequence[Finished | Result | Exception]) -> list[Result]:
    """The finished runs. What failed is raised, for the first seed, naming the others."""
    pairs = sorted(zip((request.seed for request in requests), ends, strict=True), key=lambda pair: pair[0])
    errors = {seed: end for seed, end in pairs if isinstance(end, Exception)}
    for seed, error in errors.items():
        others = [other for other in errors if other != seed]
        if others and isinstance(error, UserError):
            error.args = (f"{error} Seed{'s' * (len(others) > 1)} {', '.join(map(str, others))} failed as well.", *error.args[1:])
        raise error
    return [Result(Run(end.folder), end.report) for end in ends if isinstance(end, Finished | Result)]
