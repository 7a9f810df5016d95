"""Bounds the memory that building a network from a file may take."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from longtail.errors import UserError

FUNCTIONS = (torch.empty, torch.zeros, torch.ones, torch.rand, torch.randn)
METHODS = (torch.Tensor.new_empty, torch.Tensor.new_zeros, torch.Tensor.new_ones)
COPIES = (torch.Tensor.clone,)  # a copy of a module clones its parameters


class Limited(TorchFunctionMode):
    """Inside the `with` block, torch makes new tensors of at most `numbers` numbers together; one that is too large is not made.

    A network that is built for weights that exist needs about as many numbers as these have; a description that was changed may
    name a network of any size, which would use up the memory of the machine.
    """

    def __init__(self, numbers: int) -> None:
        super().__init__()
        self.left = numbers

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if function in FUNCTIONS or function in METHODS:
            self._take(_numbers(args[1:] if function in METHODS else args, kwargs.get("size")))
        elif function in COPIES:
            self._take(args[0].numel())
        return function(*args, **kwargs)

    def _take(self, numbers: int) -> None:
        self.left -= numbers
        if self.left < 0:
            raise UserError("The network that it describes is larger than the stored weights.")


def _numbers(sizes: Sequence[Any], size: Any) -> int:
    """How many numbers a tensor of these sizes has, given as numbers or as one sequence."""
    sizes = size if size is not None else sizes[0] if sizes and isinstance(sizes[0], (tuple, list)) else sizes
    return math.prod(each for each in sizes if isinstance(each, int))
