"""Trains several runs at once on one machine, each in a process of its own, with one copy of the images."""

from __future__ import annotations

import pickle
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from longtail.data.loaders import processors
from longtail.data.splits import Data
from longtail.engine.devices import chosen_device
from longtail.runs.report import RunReport
from longtail.runs.run import Run
from longtail.spec.own_code import OwnFile, imported, use
from longtail.spec.recipe import Setting
from longtail.workflow.one_run import Result, train_one
from longtail.workflow.request import Request
from longtail.workflow.resolve import own_files
from longtail.workflow.watcher import Silent, Watcher


def train_many(requests: Sequence[Request], setting: Setting, data: Data, *, watcher: Watcher) -> list[Result]:
    """Trains every request and returns the finished runs in their order.

    The processes divide the cores between them. Each run is equal, to the bit, to the same run alone at that number of threads.
    """
    jobs = jobs_of(requests)
    if jobs == 1:
        return [train_one(request, setting, data, watcher=watcher) for request in requests]
    threads = max(processors() // jobs, 1)
    watcher.note(f"{len(requests)} runs, {jobs} at once with {threads} thread{'s' if threads > 1 else ''} each (`jobs`)")
    return _in_processes(requests, setting, data, watcher, jobs, threads)


def jobs_of(requests: Sequence[Request]) -> int:
    """Number of runs to train at once: `jobs` if given, else one per core of the CPU, and one at a time on a GPU."""
    asked = requests[0].jobs
    if asked is None:
        asked = processors() if chosen_device(requests[0].device) == "cpu" else 1
    return max(min(asked, len(requests)), 1)


def _in_processes(
    requests: Sequence[Request], setting: Setting, data: Data, watcher: Watcher, jobs: int, threads: int
) -> list[Result]:
    import torch.multiprocessing

    results = []
    context = torch.multiprocessing.get_context("spawn")
    arguments = (threads, own_files(requests[0]), pickle.dumps(setting), data)
    with context.Pool(jobs, initializer=_prepare_worker, initargs=arguments) as pool:
        finished = pool.imap(_run, requests)
        for request in requests:
            folder, report = next(finished)
            watcher.note(f"{report.method}, seed {request.seed}: finished")
            results.append(Result(Run(folder), report))
    return results


_shared: dict[str, Any] = {}


def _prepare_worker(threads: int, own: Sequence[OwnFile], setting: bytes, data: Data) -> None:
    """Prepares a worker process, which ignores interrupts because its parent ends it.

    Code of the user's own is run before the setting is unpickled, since the setting may name functions of that code.
    """
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(threads)
    for file in own:
        imported(use(file))
    _shared.update(setting=pickle.loads(setting), data=data)


def _run(request: Request) -> tuple[Path, RunReport]:
    result = train_one(request, _shared["setting"], _shared["data"], watcher=Silent())
    return result.folder, result.report
