"""Processes that run functions together, as one gloo group: they import torch once and serve many tests."""

import multiprocessing
import traceback
from datetime import timedelta

import torch
import torch.distributed as dist

from longtail.turns import keep_store


class Group:
    """A group of processes, which wait for functions until it is closed.

    Args:
        folder: empty folder in which the processes find each other.
    """

    def __init__(self, world, folder):
        context = multiprocessing.get_context("spawn")
        self.processes, self.pipes = [], []
        for rank in range(world):
            here, there = context.Pipe()
            self.pipes.append(here)
            self.processes.append(context.Process(target=_serve, args=(there, rank, world, str(folder / "store")), daemon=True))
            self.processes[-1].start()

    def run(self, function, *arguments):
        """Calls a function of a test file in all processes at once, and returns what it returns in each, by rank."""
        for pipe in self.pipes:
            pipe.send((function, arguments))
        answers = [pipe.recv() if pipe.poll(600) else "no answer" for pipe in self.pipes]
        for rank, answer in enumerate(answers):
            assert isinstance(answer, tuple), f"process {rank}: {answer}"
        return [answer[0] for answer in answers]

    def close(self):
        """Ends the processes."""
        for pipe in self.pipes:
            pipe.send(None)
        for process in self.processes:
            process.join(20)
            process.kill()


def _serve(pipe, rank, world, store):
    """Ends the process group before the process: threads of Gloo that are left at exit abort it now and then."""
    torch.set_num_threads(1)
    store = dist.FileStore(store, world)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=world, timeout=timedelta(minutes=10))
    keep_store(dist.PrefixStore("longtail", store))
    while (work := pipe.recv()) is not None:
        function, arguments = work
        try:
            pipe.send((function(*arguments),))
        except Exception:
            pipe.send(traceback.format_exc())
    dist.destroy_process_group()
