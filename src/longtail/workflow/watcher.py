"""Reports of a run's progress to whoever asked for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from longtail.spec.experiment import Experiment
    from longtail.weighting import Progress


class Watcher(Protocol):
    """Functions that a run calls to report its progress."""

    def note(self, text: str) -> None:
        """Takes a line of text for the user."""

    def reading(self, done: int, total: int) -> None:
        """Takes the number of files decoded so far, and of all files."""

    def begin(self, experiment: Experiment) -> None:
        """Is called when training starts."""

    def step(self, stage: int, progress: Progress) -> None:
        """Is called when a training step is queued."""


class Silent:
    """A watcher that reports nothing."""

    def note(self, text: str) -> None: ...

    def reading(self, done: int, total: int) -> None: ...

    def begin(self, experiment: Experiment) -> None: ...

    def step(self, stage: int, progress: Progress) -> None: ...
