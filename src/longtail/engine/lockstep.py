"""Several trainings in one process, which take their steps together wherever they are at the same epoch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

from longtail.engine.epochs import run_epoch
from longtail.engine.loop import Entry
from longtail.engine.replay import Advance
from longtail.engine.several_networks import Member, side_by_side, train_epoch, value_or_error
from longtail.engine.stacked import Stacked
from longtail.engine.training import Due, Outcome, Training
from longtail.errors import UserError


def in_lockstep(trainings: Sequence[Training[Outcome]], way: Way) -> list[Outcome | Exception]:
    """Runs trainings of one recipe to their ends, and returns what each ends with, or the error that ended it.

    Those that are at the earliest stage and epoch train it together, while the others wait for them.

    Args:
        way: how several take their steps.
    """
    ends, due = [None] * len(trainings), dict[int, Due]()

    def go_on(index: int, call: Callable[[], Due]) -> None:
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
            group = at_the_earliest(due)
            for index, answer in zip(group, way.train([due.pop(index) for index in group]), strict=True):
                how = trainings[index].throw if isinstance(answer, Exception) else trainings[index].send
                go_on(index, partial(cast(Any, how), answer))
    finally:
        for training in trainings:
            training.close()
    return cast(list[Outcome | Exception], ends)


def at_the_earliest(due: dict[int, Due]) -> list[int]:
    """Which of the trainings are at the earliest stage and epoch."""
    places = {index: (work.index, epoch) for index, (_, work, epoch) in due.items()}
    return [index for index, place in places.items() if place == min(places.values())]


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

    def train(self, due: Sequence[Due]) -> list[Entry | Exception]:
        """Trains an epoch of networks that are all at it, and returns the entry of each, or its error."""
        if len(due) == 1:
            return [value_or_error(partial(run_epoch, *due[0]))]
        answers = value_or_error(partial(self._jointly, [(loop, work) for loop, work, _ in due], due[0][2]))
        return [answers] * len(due) if isinstance(answers, Exception) else answers

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
