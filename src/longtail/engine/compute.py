"""The device that a process computes on, the precision, and the process's place among those of a run."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from longtail.together import mean_over_processes, rank, world

HALF = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
PRECISIONS = ("32-true", *HALF)
Value = TypeVar("Value")


class Compute:
    """The device that a process computes on, the precision, and the process's place among those of a run.

    Args:
        device: device of this process.
        synchronised: whether batch norm normalises over the images of all processes.
        precision: "32-true", or "bf16-mixed" or "16-mixed" for autocast to half precision.

    Attributes:
        rank: index of this process among those of torch's process group, 0 where there is no group.
        world: number of processes of the group, 1 where there is none.
    """

    def __init__(self, device: torch.device, precision: str = "32-true", *, synchronised: bool = True) -> None:
        self.device, self.precision, self.synchronised = device, precision, synchronised
        self.rank, self.world = rank(), world()
        self.restart_scale()

    def restart_scale(self) -> None:
        """Scales gradients as at the beginning of a stage."""
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == "16-mixed")

    def autocast(self) -> AbstractContextManager[object]:
        """Inside the `with` block, torch's operations compute in half precision where that is safe and asked for."""
        dtype = HALF.get(self.precision)
        return nullcontext() if dtype is None else torch.autocast(self.device.type, dtype=dtype)

    def backward(self, value: Tensor) -> None:
        """Computes the gradients of a loss, a scalar, scaled where float16 would lose small ones."""
        self.scaler.scale(value).backward()  # type: ignore[no-untyped-call]

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """Takes the optimizer's step; with scaled gradients, it is left out where one of them is not finite."""
        self.scaler.step(optimizer)
        self.scaler.update()

    @property
    def leads(self) -> bool:
        """Whether this is the first process, which alone writes files."""
        return self.rank == 0

    def from_first(self, make: Callable[[], Value]) -> Value:
        """What `make` returns in the first process, the only one that calls it; all processes call this at the same time."""
        if self.world == 1:
            return make()
        sent = [make() if self.leads else None]
        dist.broadcast_object_list(sent, device=torch.device("cpu"))
        return cast(Value, sent[0])

    def from_all(self, value: Value) -> list[Value]:
        """A small value of each process, by rank."""
        found: list[Any] = [value] * self.world
        if self.world > 1:
            dist.all_gather_object(found, value)
        return found

    def equalise(self, network: nn.Module) -> None:
        """Averages the network's statistics over all processes, unless batch norm keeps them equal."""
        if self.world > 1 and not self.synchronised:
            for buffer in network.buffers():
                if buffer.is_floating_point():
                    buffer.copy_(mean_over_processes(buffer))

    def all_gather(self, rows: Tensor) -> Tensor:
        """The tensors of all processes (world, ...), which have the same shape in each."""
        if self.world == 1:
            return rows[None]
        parts = [torch.empty_like(rows) for _ in range(self.world)]
        dist.all_gather(parts, rows.contiguous())
        return torch.stack(parts)
