"""The batch of all processes that train one network together: its rows, means over it, and the statistics of batch norm.

Every process computes the loss of the whole batch from its own part and the others' outputs, so that losses, their state and
their random numbers are those of one process. In a process alone nothing here does anything.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torch.overrides import TorchFunctionMode


def rank() -> int:
    """Index of this process among those of torch's process group; 0 where there is no group."""
    return dist.get_rank() if _grouped() else 0


def world() -> int:
    """Number of processes of torch's process group; 1 where there is none."""
    return dist.get_world_size() if _grouped() else 1


def _grouped() -> bool:
    return dist.is_available() and dist.is_initialized()


def mean_over_processes(value: Tensor, share: float = 1.0) -> Tensor:
    """The mean of a tensor over all processes, each with its share (a number of images); unchanged in a process alone.

    Where no process has a share it is 0.
    """
    if world() == 1:
        return value
    total = torch.cat([value.flatten(), value.new_ones(1)]) * share
    dist.all_reduce(total)
    return (total[:-1] / torch.where(total[-1] == 0, 1, total[-1])).view_as(value)


def joined(rows: Tensor, images: int) -> Tensor:
    """The rows of all processes in the order of the batch, of whose images each process has every `world`-th.

    The gradient is that of one process for the whole batch, times the number of processes, over which gradients of parameters
    are averaged.

    Args:
        rows: rows of this process (N, ...), one per image, or several views one after the other.
        images: number of images of the whole batch.
    """
    whole: Tensor = _Joined.apply(rows, images)
    return whole


class _Joined(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, images: int) -> Tensor:
        counts = [len(range(each, images, world())) for each in range(world())]
        views = len(rows) // counts[rank()]
        padded = rows.new_zeros(views * counts[0], *rows.shape[1:])
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(parts, padded)
        whole = rows.new_empty(views, images, *rows.shape[1:])
        for each, (part, count) in enumerate(zip(parts, counts, strict=True)):
            whole[:, each :: len(counts)] = part[: views * count].view(views, count, *rows.shape[1:])
        ctx.shape = whole.shape
        return whole.flatten(0, 1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        own = gradient.view(ctx.shape)[:, rank() :: world()]
        return world() * own.flatten(0, 1), None


class _Sum(torch.autograd.Function):
    """The sum over all processes; its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        total = value.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        dist.all_reduce(total)
        return total


class SynchronisedBatchNorm(TorchFunctionMode):
    """Inside the `with` block, batch norm in training mode normalises over the images of all processes, on any device."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        called: Tensor = (_batch_norm if func is F.batch_norm else func)(*args, **(kwargs or {}))
        return called


def _batch_norm(
    values: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """`torch.nn.functional.batch_norm` with mean and variance over all processes (torch.nn.SyncBatchNorm needs a GPU)."""
    if not training:
        return F.batch_norm(values, running_mean, running_var, weight, bias, False, momentum, eps)
    axes = [0, *range(2, values.ndim)]
    shape = [1, -1, *(1 for _ in axes[1:])]
    exact = values if values.dtype == torch.float64 else values.float()
    sums = _Sum.apply(torch.cat([exact.sum(axes), exact.new_full((1,), values.numel() / values.shape[1])]))
    count = sums[-1].detach()
    mean = sums[:-1] / count
    centred = exact - mean.view(shape)
    var = _Sum.apply(centred.square().sum(axes)) / count
    if running_mean is not None and running_var is not None:
        running_mean.lerp_(mean.detach().to(running_mean.dtype), momentum)
        running_var.lerp_((var.detach() * count / (count - 1)).to(running_var.dtype), momentum)
    scaled = centred * (var + eps).rsqrt().view(shape)
    if weight is not None:
        scaled = scaled * weight.view(shape)
    if bias is not None:
        scaled = scaled + bias.view(shape)
    normalised: Tensor = scaled.to(values.dtype)
    return normalised
