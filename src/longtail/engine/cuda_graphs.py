"""Steps recorded as CUDA graphs, which draw the same random numbers as steps that run directly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from longtail.engine.replay import Generators, NotRecorded, Replay
from longtail.errors import UserError, reason


def replay_for(device: torch.device, graphs: bool | None, note: Callable[[str], None] | None = None) -> Replay | None:
    """A replay where steps are to be recorded; None where they run directly.

    Args:
        device: device that trains.
        graphs: whether steps are recorded; None: wherever they can be.
        note: takes a sentence on a stage whose steps cannot be recorded although `graphs` does not insist on it.

    Raises:
        UserError: steps are to be recorded, but the device is no GPU.
    """
    if graphs and device.type != "cuda":
        raise UserError("`graphs` records steps on a GPU, and this run is on the CPU; leave it out.")
    if graphs is False or device.type != "cuda":
        return None
    return Replay(CudaGraphs(device), None if graphs else note)


class CudaGraphs:
    """Records steps as CUDA graphs.

    A graph reads seed and offset of its generator at each replay and advances it (register_generator_state of
    torch.cuda.CUDAGraph). So a generator that is seeded anew draws for the replays as for steps that run directly.

    All graphs share one pool of memory, which is right as long as they are not replayed at the same time and nothing that one
    of them allocates is needed after its replay.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream: Any = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self.pool = torch.cuda.graph_pool_handle()
        self.latest: torch.cuda.CUDAGraph | None = None

    def plainly(self, advance: Callable[[], None]) -> None:
        """Runs one step on the recording stream, so that tensors created by a first step belong to that stream."""
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            advance()
        torch.cuda.current_stream().wait_stream(self.stream)

    def record(self, advance: Callable[[], None], generator: Generators) -> Callable[[], None]:
        """Records the step without running it; the function returned runs it on what the tensors that it reads hold then.

        Raises:
            NotRecorded: the step reads something back from the device or copies to it; random generators are as before.
        """
        graph = torch.cuda.CUDAGraph()
        own = [] if generator is None else generator if isinstance(generator, tuple) else [generator]
        for each in own:
            graph.register_generator_state(each)
        drawn_from = [*own, torch.cuda.default_generators[self.device.index or 0]]
        before = [(each, each.clone_state()) for each in drawn_from]
        try:
            with (
                torch.cuda.stream(self.stream),  # the way back, should the end of the recording raise the error
                torch.cuda.graph(graph, pool=self.pool, stream=self.stream, capture_error_mode="thread_local"),
            ):
                advance()
        except RuntimeError as error:
            for each, state in before:
                each.graphsafe_set_state(state)  # a recording that fails leaves its generators waiting for its end
            raise NotRecorded(reason(error)) from error
        self.latest = graph  # a pool whose last graph is gone could not be used again before its memory is given back
        return graph.replay
