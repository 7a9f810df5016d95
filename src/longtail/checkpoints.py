"""What a stage writes as it goes: its log and the state to continue from, seldom enough to cost little."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from longtail.runs import Run

SHARE = 0.05


class Pace:
    """Says when to do what costs time, so that it takes at most SHARE of all: at once, then after 1/SHARE of what it took."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.clock = clock
        self.next = clock()

    def due(self) -> bool:
        return self.clock() >= self.next

    def spend(self, action: Callable[[], Any]) -> None:
        began = self.clock()
        action()
        ended = self.clock()
        self.next = ended + (ended - began) / SHARE


class Checkpoints:
    """Log and state of one stage, after its first epoch and then after every one that ends when it is time.

    Args:
        key: of the stage's end, by which a state is known to be of this stage.
        parts: what has a `state_dict` and is restored: model, loss, optimizer.
        logged: how many entries of the history an earlier call or stage has written.
    """

    def __init__(self, run: Run, key: str, parts: Mapping[str, Any], *, logged: int) -> None:
        self.run, self.key, self.parts, self.logged = run, key, parts, logged
        self.pace = Pace()

    def epoch_ended(self, history: Sequence[Mapping[str, Any]]) -> None:
        """Writes both, if it is time; what is not written is trained again by a command that was killed."""
        if self.pace.due():
            self.pace.spend(lambda: self._write(list(history)))

    def stage_ended(self, history: Sequence[Mapping[str, Any]]) -> None:
        """Writes the rest of the log."""
        self.run.write_log(history, new=len(history) - self.logged)

    def _write(self, history: list[Any]) -> None:
        states = {name: part.state_dict() for name, part in self.parts.items()}
        self.run.write_log(history, new=len(history) - self.logged)
        self.run.save_state({"key": self.key, "epoch": history[-1]["epoch"], "history": history, **states})
        self.logged = len(history)
