"""The device that a process computes on, the precision, and the process's place among those of a run."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
import torch.distributed as dist
from torch import Tensor

HALF = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
PRECISIONS = ("32-true", *HALF)


class Compute:
    """The device that a process computes on, the precision, and the process's place among those of a run.

    Args:
        device: device of this process.
        precision: "32-true", or "bf16-mixed" or "16-mixed" for autocast to half precision.

    Attributes:
        rank: index of this process among those of torch's process group, 0 where there is no group.
        world: number of processes of the group, 1 where there is none.
    """

    def __init__(self, device: torch.device, precision: str = "32-true") -> None:
        self.device, self.precision = device, precision
        grouped = dist.is_available() and dist.is_initialized()
        self.rank, self.world = (dist.get_rank(), dist.get_world_size()) if grouped else (0, 1)
        self.scaler = torch.amp.GradScaler(device.type, enabled=precision == "16-mixed")

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

    def all_gather(self, rows: Tensor) -> Tensor:
        """The tensors of all processes (world, ...), which have the same shape in each."""
        if self.world == 1:
            return rows[None]
        parts = [torch.empty_like(rows) for _ in range(self.world)]
        dist.all_gather(parts, rows.contiguous())
        return torch.stack(parts)
