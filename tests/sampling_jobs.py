"""What several processes are shown by an `EpochSampler` under each library: python tests/sampling_jobs.py LIBRARY... [options].

The last line is JSON: library -> for each process -> what its function in `sampling_libraries.py` returns. The processes have the
variables that torchrun sets. They are forked, so that a library is imported once.
"""

from __future__ import annotations

import json
import os
import tempfile
from argparse import ArgumentParser, Namespace
from multiprocessing import get_context
from pathlib import Path
from socket import socket
from typing import Any

import torch

import sampling_libraries as libraries
from longtail.processes import end_with_parent

IMPORTS = {
    "plain": "torch",
    "fabric": "lightning_fabric",
    "lightning": "pytorch_lightning",
    "accelerate": "accelerate",
    "transformers": "transformers.trainer",
}
STRIDED = ("plain", "fabric", "lightning")  # the sampler divides the list; the others divide its batches


def in_each_process(library: str, rank: int, world: int, given: Namespace, path: str) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
    end_with_parent()
    torch.set_num_threads(1)
    Path(path).write_text(json.dumps(getattr(libraries, library)(libraries.Job(rank, world, given))))


def run(library: str, given: Namespace) -> list[dict[str, Any]]:
    """What each process was shown."""
    __import__(IMPORTS[library])
    with tempfile.TemporaryDirectory() as given.folder:
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "TORCHELASTIC_RUN_ID": "job"}
        os.environ |= {"WORLD_SIZE": str(given.world), "LOCAL_WORLD_SIZE": str(given.world), "GROUP_RANK": "0"}
        paths = [f"{given.folder}/{rank}.json" for rank in range(given.world)]
        given_to = [(library, rank, given.world, given, path) for rank, path in enumerate(paths)]
        jobs = [get_context("fork").Process(target=in_each_process, args=arguments) for arguments in given_to]
        for job in jobs:
            job.start()
        for job in jobs:
            job.join()
        return [json.loads(Path(path).read_text()) for path in paths]


def joined(library: str, processes: list[dict[str, Any]], run: str) -> libraries.Shown:
    """Epoch and indices of each batch of all processes together, as one process would have it."""
    steps = []
    for parts in zip(*(process[run] for process in processes), strict=True):
        epochs, batches = {epoch for epoch, _ in parts}, [batch for _, batch in parts]
        order = zip(*batches, strict=True) if library in STRIDED else batches
        steps.append((epochs.pop(), [index for group in order for index in group]))
        assert not epochs, "the processes are in one epoch"
    return steps


def free_port() -> int:
    with socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def main() -> None:
    parser = ArgumentParser()
    parser.add_argument("libraries", nargs="+", choices=IMPORTS)
    parser.add_argument("--world", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--images", type=int, default=99)
    given = parser.parse_args()
    print(json.dumps({library: run(library, given) for library in given.libraries}))


if __name__ == "__main__":
    main()
