"""The group of processes that train one run together: where their number is read, how they meet, what is said of a lost one."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch.distributed import PrefixStore, rendezvous  # type: ignore[attr-defined]

from longtail.errors import TrainingFailed, UserError
from longtail.turns import fails, keep_store

TIMEOUT = "LONGTAIL_TIMEOUT"
MINUTES = 10.0
LONGEST = 60 * 24 * 366  # minutes


@dataclass(frozen=True)
class Place:
    """The place of this process: its index, the number of processes, and its index among those of its machine."""

    rank: int
    world: int
    local: int


def own_place() -> Place | None:
    """The place that torchrun's or srun's variables give this process; None for a process alone."""
    for names in (("RANK", "WORLD_SIZE", "LOCAL_RANK"), ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID")):
        rank, world, local = (os.environ.get(name, "") for name in names)
        if rank.isdecimal() and world.isdecimal() and int(world) > 1:
            return Place(int(rank), int(world), int(local or rank))
    return None


@contextmanager
def in_group(device: str) -> Iterator[None]:
    """Inside the `with` block this process is one of a group, where it was started as one of several; else nothing changes.

    Args:
        device: "cpu" or "cuda"; on "cuda" each process of a machine takes a GPU of its own.

    Raises:
        UserError: there are fewer GPUs than processes on this machine, or there is a group already.
        TrainingFailed: another process of the group ended or does not answer.
    """
    place = own_place()
    if place is None:
        yield
        return
    if dist.is_initialized():
        raise UserError("torch's process group exists already; call longtail.train before it is made, or after it is destroyed.")
    if device == "cuda":
        _take_gpu(place)
    with naming_lost_processes():
        join(place, device)
        try:
            yield
        except BaseException:
            fails()  # before the others are left alone
            raise
        finally:
            keep_store(None)
            with suppress(RuntimeError):
                dist.destroy_process_group()


def join(place: Place, device: str) -> None:
    """Meets the other processes at MASTER_ADDR and MASTER_PORT, and makes the group of all."""
    wait = timedelta(minutes=minutes())
    _name_meeting_place()
    store, rank, world = next(rendezvous("env://", place.rank, place.world, timeout=wait))
    backend = "cpu:gloo,cuda:nccl" if device == "cuda" else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=world, timeout=wait)
    keep_store(PrefixStore("longtail", store))


def minutes() -> float:
    """Minutes after which a process that does not answer ends the run: those of $LONGTAIL_TIMEOUT, else 10."""
    given = os.environ.get(TIMEOUT, "")
    try:
        wanted = float(given or MINUTES)
    except ValueError:
        wanted = 0
    if not 0 < wanted < LONGEST:
        raise UserError(f"${TIMEOUT} is a number of minutes above 0 and below a year; got '{given}'.")
    return wanted


def _take_gpu(place: Place) -> None:
    count = torch.cuda.device_count()
    own = 0 if count == 1 and "RANK" not in os.environ else place.local  # srun may show each task no GPU but its own
    if own >= count:
        raise UserError(
            f"Each process needs a GPU of its own, and process {own + 1} of this machine finds {count}; start fewer processes, "
            f"or use `device=cpu`."
        )
    torch.cuda.set_device(own)


def _name_meeting_place() -> None:
    """Sets MASTER_ADDR and MASTER_PORT for processes that srun started, which come without them."""
    if "MASTER_ADDR" not in os.environ:
        nodes = os.environ.get("SLURM_STEP_NODELIST", os.environ.get("SLURM_JOB_NODELIST", "localhost"))
        os.environ["MASTER_ADDR"] = first_host(nodes)
    if "MASTER_PORT" not in os.environ:
        os.environ["MASTER_PORT"] = str(20000 + int(os.environ.get("SLURM_JOB_ID", "0")) % 20000)


def first_host(nodes: str) -> str:
    """The first host of SLURM's list of nodes, such as `gpu[03-05,9]`; by scontrol where there is one."""
    with suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(["scontrol", "show", "hostnames", nodes], capture_output=True, text=True, check=True, timeout=60)
        return done.stdout.split()[0]
    name, bracket, numbers = nodes.partition("[")
    if not bracket or "," in name:
        return name.partition(",")[0]
    return name + numbers.partition("]")[0].partition(",")[0].partition("-")[0]


@contextmanager
def naming_lost_processes() -> Iterator[None]:
    """Turns torch's errors on a process that ended or does not answer into one sentence.

    Raises:
        TrainingFailed: another process of the group ended or does not answer.
    """
    try:
        yield
    except RuntimeError as error:
        lost = isinstance(error, dist.DistError) or any(name in str(error).lower() for name in ("gloo", "nccl", "tcpstore"))
        if isinstance(error, UserError) or not lost:
            raise
        raise TrainingFailed(
            "Another process of this run ended, or does not answer. Finished epochs are kept, and the same command continues, "
            "also with another number of processes."
        ) from error
