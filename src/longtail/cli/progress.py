"""Progress bars with the time left; a `Watcher` of the workflow."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from longtail.cli.options import in_flags
from longtail.cli.show import console, text
from longtail.results import counted

if TYPE_CHECKING:
    from longtail.spec.experiment import Experiment
    from longtail.weighting import Progress as Position


class Bars:
    """One bar for reading files, one per training run; after the first minute a line says how long training will take."""

    def __init__(self) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        quiet = not console.is_terminal
        self.bars = Progress(*columns, console=console, transient=True, refresh_per_second=4, disable=quiet)
        self.reading_task: TaskID | None = None
        self.task: TaskID | None = None
        self.epochs: list[int] = []
        self.label = ""
        self.began, self.first, self.announced = 0.0, 0.0, False

    def __enter__(self) -> Bars:
        self.bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.bars.stop()

    def note(self, line: str) -> None:
        console.print(text(in_flags(line)), highlight=False, soft_wrap=True)

    def reading(self, done: int, total: int) -> None:
        if self.reading_task is None:
            self.reading_task = self.bars.add_task("reading images", total=total)
        self.bars.update(self.reading_task, completed=done, total=total, visible=done < total)

    def begin(self, experiment: Experiment) -> None:
        if self.task is not None:
            self.bars.remove_task(self.task)
        recipe = experiment.recipe
        self.epochs = [stage.epochs for stage in recipe.stages]
        self.label = f"{recipe.name}, seed {experiment.seed}"
        self.task = self.bars.add_task(text(self.label), total=sum(self.epochs))
        self.began, self.first, self.announced = time.monotonic(), -1.0, False

    def step(self, stage: int, progress: Position) -> None:
        assert self.task is not None
        done = sum(self.epochs[:stage]) + progress.fraction * progress.epochs
        if self.first < 0:
            self.first = done
        self.bars.update(self.task, completed=round(done, 2))
        if not self.announced and time.monotonic() - self.began > 60 and done > self.first:
            self.announced = True
            left = (time.monotonic() - self.began) / (done - self.first) * (sum(self.epochs) - done)
            self.note(f"{self.label}: {_duration(left)} more")


def _duration(seconds: float) -> str:
    if seconds < 60:
        return "less than a minute"
    return f"about {counted(round(seconds / 60), 'minute')}" if seconds < 5400 else f"about {seconds / 3600:.1f} hours"
