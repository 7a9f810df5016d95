"""Several trainings in one process, which take their steps together wherever they are at the same epoch."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

from longtail.engine.batches import batch_sizes
from longtail.engine.epochs import run_epoch
from longtail.engine.loop import Entry
from longtail.engine.replay import Advance
from longtail.engine.several_networks import Member, side_by_side, train_epoch, value_or_error
from longtail.engine.stacked import Stacked
from longtail.engine.training import Due, Outcome, Training
from longtail.errors import UserError, reason


def in_lockstep(trainings: Sequence[Training[Outcome]], way: Way) -> list[Outcome | Exception]:
    """Runs trainings to their ends, and returns what each ends with, or the error that ended it.

    Those that are at the earliest stage and epoch, with batches that are cut alike, train it together, while the others wait. One
    whose stage another training has goes on once that stage is stored, or the other one has failed.

    Args:
        way: how several take their steps.
    """
    ends, due = [None] * len(trainings), dict[int, Due | None]()

    def go_on(index: int, call: Callable[[], Due | None]) -> None:
        due.pop(index, None)
        try:
            due[index] = call()
        except StopIteration as end:
            ends[index] = end.value
        except Exception as error:
            ends[index] = cast(Any, error)

    try:
        for index, training in enumerate(trainings):
            go_on(index, partial(next, training))
        while due:
            for index, answer in one_round(due, way):
                how = trainings[index].throw if isinstance(answer, Exception) else trainings[index].send
                go_on(index, partial(cast(Any, how), answer))
    finally:
        for training in trainings:
            training.close()
    return cast(list[Outcome | Exception], ends)


def one_round(due: dict[int, Due | None], way: Way) -> list[tuple[int, Any]]:
    """Trains an epoch of those that take it together, and returns what is to be sent to which trainings.

    Those that wait for a stage are asked to look again. Where no other is left, the first of them is to wait for the lock.
    """
    ready = {index: each for index, each in sorted(due.items()) if each is not None}
    waiting = sorted(due.keys() - ready.keys())
    group = at_the_earliest(ready) if ready else []
    answers = way.train([ready[index] for index in group]) if group else []
    return [*zip(group, answers, strict=True), *((index, not ready and index == waiting[0]) for index in waiting)]


def at_the_earliest(due: dict[int, Due]) -> list[int]:
    """Which of the trainings are at the earliest stage and epoch, with batches that are cut as those of the first of them."""
    places = {index: (work.index, epoch) for index, (_, work, epoch) in due.items()}
    cuts = {index: batch_sizes(work.stage, len(loop.experiment.data.train)) for index, (loop, work, _) in due.items()}
    first = min(places, key=lambda index: places[index])
    return [index for index in due if (places[index], cuts[index]) == (places[first], cuts[first])]


class StepFailed(RuntimeError):  # noqa: N818
    """A step of several networks failed as a whole; trainings that begin again, at their checkpoints, take steps of their own."""


class Way:
    """How networks that are at the same epoch take their steps: as branches of one, or with their backbones computed as one.

    Args:
        stacked: whether backbones are computed as one, in the stages that allow it.
        note: takes a sentence on a stage that does not.
    """

    def __init__(self, *, stacked: bool, note: Callable[[str], None]) -> None:
        self.stacked, self.note = stacked, note
        self.members: list[Member] = []
        self.advance: Advance | None = None
        self.refused: set[int] = set()  # indices of stages
        self.apart = False  # whether a step has failed

    def train(self, due: Sequence[Due]) -> list[Entry | Exception]:
        """Trains an epoch of networks that are all at it, and returns the entry of each, or its error."""
        if len(due) == 1 or self.apart:
            return [value_or_error(partial(run_epoch, *each)) for each in due]
        answers = value_or_error(partial(self._jointly, [(loop, work) for loop, work, _ in due], due[0][2]))
        return self._failed(answers, len(due)) if isinstance(answers, Exception) else answers

    def _failed(self, error: Exception, count: int) -> list[Entry | Exception]:
        self.members, self.advance, self.apart = [], None, True  # gives back their memory, as the next line that of the step
        traceback.clear_frames(error.__traceback__)
        why = reason(error).removesuffix(".")
        self.note(f"A step of {count} runs has failed ({why}). Each goes on from its last checkpoint, with steps of its own.")
        return [StepFailed(str(error)) for _ in range(count)]

    def _jointly(self, members: list[Member], epoch: int) -> list[Entry | Exception]:
        if self.advance is None or [id(work) for _, work in members] != [id(work) for _, work in self.members]:
            self.members, self.advance = members, None  # gives back the memory of the former ones first
            self.advance = self._joined(members)
        answers = train_epoch(members, self.advance, epoch, members[0][0].replay)
        if isinstance(self.advance, Stacked):
            self.advance.give_back()
        return answers

    def _joined(self, members: list[Member]) -> Advance:
        """The function that takes a step of all networks; the same one as long as they stay the same, as recordings need it."""
        stage = members[0][1].index
        if self.stacked and stage not in self.refused:
            try:
                return Stacked(members)
            except UserError as error:
                self.refused.add(stage)
                self.note(f"{error} In stage {stage + 1} they are branches of one step.")
        return side_by_side(members)
