"""Files that a thread writes while training goes on, from copies of what they are to hold."""

from __future__ import annotations

import copy
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any

import torch
from torch import Tensor


class Writer:
    """Runs one function at a time in a thread; an error in it is raised by the next call of `wait` or `start`.

    As a context manager it ends when what was started is done, and raises its error unless another one is on its way.
    """

    def __init__(self) -> None:
        self.pool = ThreadPoolExecutor(1, "writer")
        self.pending: Future[None] | None = None

    def start(self, write: Callable[[], None]) -> None:
        """Starts a function once the one before it is done."""
        self.wait()
        self.pending = self.pool.submit(write)

    def wait(self) -> None:
        """Waits until what was started is done."""
        pending, self.pending = self.pending, None
        if pending is not None:
            pending.result()

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.pool.shutdown()
        if kind is None:
            self.wait()


def copied_to_host(state: Any) -> Any:
    """A copy of a nested state whose tensors are on the CPU; it is complete when this function returns.

    Copies from a GPU go to pinned memory, all at once.
    """
    devices: set[torch.device] = set()
    copied = _copied(state, devices)
    for device in devices:
        torch.cuda.current_stream(device).synchronize()
    return copied


def _copied(state: Any, devices: set[torch.device]) -> Any:
    if isinstance(state, Tensor):
        if state.is_cuda:
            devices.add(state.device)
        return state.detach().to("cpu", non_blocking=True, copy=True)
    if isinstance(state, dict):
        changed = copy.copy(state)  # a module's state keeps its versions
        changed.update((name, _copied(value, devices)) for name, value in state.items())
        return changed
    return [_copied(value, devices) for value in state] if isinstance(state, list) else state
