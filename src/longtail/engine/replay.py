"""Training steps that do not wait for the host: losses are summed on the device, and CUDA graphs can replay steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor

from longtail.data.loaders import Batch
from longtail.errors import UserError
from longtail.weighting import Progress

Advance = Callable[[Batch, Progress], None]
PLAIN_STEPS = 3


class Recorder(Protocol):
    """Runs a step directly, or records it to be replayed."""

    def plainly(self, advance: Callable[[], None]) -> None: ...

    def record(self, advance: Callable[[], None], inputs: Batch) -> Callable[[], None]: ...


class EpochProgress(Progress):
    """Progress of a stage that lets a recorded step read its epoch, but not the step within the epoch."""

    def __getattribute__(self, name: str) -> Any:
        if name in ("step", "steps", "fraction"):
            raise UserError(f"This method's step reads progress.{name}, which a recorded step cannot do; leave out `graphs`.")
        return super().__getattribute__(name)


class Tally:
    """The sum of an epoch's losses, and the index of the first step whose loss is not finite (-1 for none)."""

    def __init__(self, device: torch.device) -> None:
        self.total = torch.zeros((), device=device)
        self.bad = torch.full((), -1, device=device)
        self.step = torch.zeros((), dtype=torch.int64, device=device)

    def add(self, value: Tensor) -> None:
        """Adds the loss of one step, a scalar, without reading it back from the device."""
        self.total += value
        self.bad.copy_(torch.where((self.bad < 0) & ~torch.isfinite(value), self.step, self.bad))
        self.step += 1


class Replay:
    """Replays a step that was recorded with one batch of an epoch, so that the step's Python code runs once per epoch.

    Values that a step reads in Python (learning rate, shares of a curriculum) hold for one epoch; each epoch is recorded anew.
    The first steps of a stage run directly, since they create the optimizer's state; so do batches of another size.
    """

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.stage_index = -1
        self.plain_steps = 0

    def begin(self, stage_index: int, advance: Advance) -> Advance:
        """Returns the function to call with each batch of the epoch that begins, in stage `stage_index`."""
        self.plain_steps = self.plain_steps if stage_index == self.stage_index else 0
        self.stage_index = stage_index
        recorded: list[tuple[Batch, Callable[[], None]]] = []

        def played(batch: Batch, progress: Progress) -> None:
            if not recorded and self.plain_steps >= PLAIN_STEPS:
                inputs, epoch_progress = copied(batch), EpochProgress(progress.epoch, progress.epochs)
                recorded.append((inputs, self.recorder.record(partial(advance, inputs, epoch_progress), inputs)))
            if recorded and shapes(batch) == shapes(recorded[0][0]):
                inputs, play = recorded[0]
                refill(inputs, batch)
                play()
            else:
                self.recorder.plainly(partial(advance, batch, progress))
                self.plain_steps += 1

        return played


def cuda_replay(device: torch.device, precision: str) -> Replay:
    """Builds a replay whose steps are recorded as CUDA graphs.

    Raises:
        UserError: the device is no GPU, or the precision inspects each step's gradients on the host.
    """
    if device.type != "cuda":
        raise UserError("`graphs` records steps on a GPU, and this run is on the CPU; leave it out.")
    if precision == "16-mixed":
        raise UserError("`graphs` cannot be used with `precision=16-mixed`, whose loss scale is set by the host; use bf16-mixed.")
    return Replay(CudaGraphs(device))


class CudaGraphs:
    """Records steps as CUDA graphs, which draw the same random numbers as steps that run directly.

    A graph reads seed and offset of its batch's generator at each replay and advances it (register_generator_state of
    torch.cuda.CUDAGraph), so augmentation may draw from the same generator in between.
    """

    def __init__(self, device: torch.device) -> None:
        self.stream: Any = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self.pool = torch.cuda.graph_pool_handle()
        self.latest: torch.cuda.CUDAGraph | None = None

    def plainly(self, advance: Callable[[], None]) -> None:
        """Runs one step on the recording stream, so that tensors created by a first step belong to that stream."""
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            advance()
        torch.cuda.current_stream().wait_stream(self.stream)

    def record(self, advance: Callable[[], None], inputs: Batch) -> Callable[[], None]:
        """Records the step; the function returned replays it on what `inputs` hold at that time.

        Raises:
            UserError: the step reads something back from the device or copies to it.
        """
        graph = torch.cuda.CUDAGraph()
        if inputs.generator is not None:
            graph.register_generator_state(inputs.generator)
        try:
            with torch.cuda.graph(graph, pool=self.pool, stream=self.stream, capture_error_mode="thread_local"):
                advance()
        except RuntimeError as error:
            reason = str(error).partition("\n")[0]
            raise UserError(f"This method's step cannot be recorded ({reason}). Train it without `graphs`.") from error
        self.latest = graph  # the previous graph is kept until here, so that the pool's memory is reused, not allocated again
        return graph.replay


def copied(batch: Batch) -> Batch:
    """Copies the batch into memory of its own."""
    second = None if batch.companion is None else copied(batch.companion)
    views = tuple(view.clone() for view in batch.views)
    return replace(batch, images=batch.images.clone(), labels=batch.labels.clone(), views=views, companion=second)


def refill(inputs: Batch, batch: Batch) -> None:
    """Writes the batch into the memory of `inputs`, whose tensors have the same shapes."""
    for target, source in zip(tensors(inputs), tensors(batch), strict=True):
        target.copy_(source)


def shapes(batch: Batch) -> list[torch.Size]:
    """Shapes of all tensors of the batch."""
    return [tensor.shape for tensor in tensors(batch)]


def tensors(batch: Batch) -> list[Tensor]:
    """All tensors of the batch: images, labels, views, and those of its companion."""
    second = [] if batch.companion is None else tensors(batch.companion)
    return [batch.images, batch.labels, *batch.views, *second]
