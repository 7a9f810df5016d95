"""Training steps that do not wait for the host: losses are summed on the device, and CUDA graphs can replay steps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from longtail.data.loaders import Chunk
from longtail.engine.recordable import Part, noted, obstacle, position
from longtail.errors import UserError
from longtail.weighting import Progress

Advance = Callable[[Chunk, Progress], None]
Shape = tuple[int, ...]
Generators = torch.Generator | tuple[torch.Generator, ...] | None
PLAIN_STEPS = 3


class NotRecorded(RuntimeError):  # noqa: N818
    """A step could not be recorded; nothing of it was computed."""


class Recorder(Protocol):
    """Runs a step directly, or records it to be replayed."""

    def plainly(self, advance: Callable[[], None]) -> None: ...

    def record(self, advance: Callable[[], None], generator: Generators) -> Callable[[], None]: ...


class Tally:
    """The sum of an epoch's losses, and the index of the first step whose loss is not finite (-1 for none)."""

    def __init__(self, device: torch.device) -> None:
        self.total = torch.zeros((), device=device)
        self.bad = torch.full((), -1, device=device)
        self.step = torch.zeros((), dtype=torch.int64, device=device)

    def restart(self) -> None:
        """Begins an epoch, in the same memory."""
        self.total.zero_()
        self.bad.fill_(-1)
        self.step.zero_()

    def add(self, value: Tensor) -> None:
        """Adds the loss of one step, a scalar, without reading it back from the device."""
        self.total += value
        self.bad.copy_(torch.where((self.bad < 0) & ~torch.isfinite(value), self.step, self.bad))
        self.step += 1


@dataclass
class Recording:
    """A recorded step.

    Args:
        inputs: memory from which the step reads its chunk.
        reads: what the step has read of its progress, by name: the recording holds as long as these are the same.
        play: replays the step.
        plays: number of times that it was replayed.
    """

    inputs: Chunk
    reads: Mapping[str, int]
    play: Callable[[], None]
    plays: int = 0

    def holds(self, progress: Progress) -> bool:
        """Whether the step would run the same kernels with the same numbers at this progress."""
        return all(getattr(progress, name) == value for name, value in self.reads.items())

    def take(self, chunk: Chunk) -> None:
        """Takes the step on another chunk of the same shape."""
        for target, source in zip(tensors(self.inputs), tensors(chunk), strict=True):
            target.copy_(source)
        self.play()
        self.plays += 1


class Replay:
    """Records a step once per shape of its chunk and replays it, so that its Python code does not run again.

    What a step reads of its progress (the epoch, where a curriculum depends on it) holds for a recording; it is recorded anew
    where that has changed. The first steps of each shape run directly, since they create the optimizer's state and choose among
    algorithms; the third of a stage is watched for what cannot be recorded.

    Args:
        recorder: runs and records steps.
        note: takes a sentence on a stage whose steps cannot be recorded and therefore run directly. None: that is an error.
    """

    def __init__(self, recorder: Recorder, note: Callable[[str], None] | None = None) -> None:
        self.recorder, self.note = recorder, note
        self.stage: tuple[Any, ...] = ()

    def begin(self, stage_index: int, advance: Advance, parts: Sequence[Part] = (), generator: Generators = None) -> Advance:
        """Returns the function to call with each chunk of the epoch that begins; recordings of the same stage are kept.

        Args:
            stage_index: index of the stage.
            advance: takes one step; in each epoch of a stage it uses the same tensors.
            parts: the network, the loss and the optimizer of the stage.
            generator: source of the random numbers that the step draws, or several.
        """
        if self.stage != (stage_index, *parts):
            self.stage, self.parts, self.generator = (stage_index, *parts), parts, generator
            self.recordings: dict[Shape, Recording] = {}
            self.plain_steps = Counter[Shape]()
            self.direct: set[Shape] = set()  # shapes that are not recorded
            self.refused = False
        return partial(self._take, advance)

    def _take(self, advance: Advance, chunk: Chunk, progress: Progress) -> None:
        shape = shape_of(chunk)
        recording = self.recordings.get(shape)
        if recording is not None and recording.holds(progress):
            recording.take(chunk)
        elif self.refused or shape in self.direct or self.plain_steps[shape] < PLAIN_STEPS:
            self._directly(advance, chunk, progress)
        else:
            self._record(advance, chunk, progress)

    def _directly(self, advance: Advance, chunk: Chunk, progress: Progress) -> None:
        self.plain_steps[shape_of(chunk)] += 1
        if self.refused or self.plain_steps.total() != PLAIN_STEPS:
            return self.recorder.plainly(partial(advance, chunk, progress))
        found: list[str | None] = []
        self.recorder.plainly(lambda: found.append(obstacle(partial(advance, chunk), progress, self.parts)))
        return self._refuse(found[0]) if found[0] else None

    def _record(self, advance: Advance, chunk: Chunk, progress: Progress) -> None:
        shape, inputs, watched = shape_of(chunk), copied(chunk), noted(progress)
        former = self.recordings.get(shape)
        if former is not None and former.plays < PLAIN_STEPS:
            self.direct.add(shape)  # too few replays for what recording costs
            return self._directly(advance, chunk, progress)
        try:
            play = self.recorder.record(partial(advance, inputs, watched), self.generator)
            reason = position(watched)
        except NotRecorded as error:
            reason = str(error)
        if reason:
            self._refuse(reason)
            return self._directly(advance, chunk, progress)
        self.recordings[shape] = Recording(inputs, watched.reads, play)
        return self.recordings[shape].take(chunk)

    def _refuse(self, reason: str) -> None:
        """Gives up recording for the rest of the stage."""
        self.refused = True
        self.recordings.clear()
        for part in (each for each in self.parts if isinstance(each, nn.Module)):
            part.zero_grad(set_to_none=True)  # gradients of a recording that failed were never computed
        sentence = f"The steps of stage {self.stage[0] + 1} cannot be recorded as CUDA graphs: {reason}."
        if self.note is None:
            raise UserError(f"{sentence} Leave out `graphs`; they then run one operation at a time.")
        self.note(f"{sentence} They run one operation at a time, which is slower.")


def copied(chunk: Chunk) -> Chunk:
    """Copies the chunk into memory of its own."""
    return replace(chunk, indices=chunk.indices.clone(), raw=None if chunk.raw is None else chunk.raw.clone())


def shape_of(chunk: Chunk) -> Shape:
    """What two chunks have in common that one recorded step can take: number of images, and sizes of all tensors."""
    return (chunk.size, *(length for tensor in tensors(chunk) for length in tensor.shape))


def tensors(chunk: Chunk) -> list[Tensor]:
    """The tensors of the chunk."""
    return [chunk.indices] if chunk.raw is None else [chunk.indices, chunk.raw]
