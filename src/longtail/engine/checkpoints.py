"""Where training continues: stored stages, the checkpoints of a stage, and what is stored at the end of each epoch and stage."""

from __future__ import annotations

from typing import Any

from longtail.engine.building import StageWork
from longtail.engine.loop import History, Loop
from longtail.runs.starts import mark_begin, take_over


def load_stage(loop: Loop, key: str) -> History | None:
    """Loads the stored end of a stage into the model, and returns the history until there; None where it is not stored.

    Raises:
        UserError: the stage was trained under other conditions than this run, for which the same bits were promised.
    """
    stored = loop.run.load_stage(key)
    if stored is None:
        return None
    take_over(loop.run, stored["starts"])
    loop.model.load_state_dict(stored["model"])
    history = list(stored["history"])
    loop.run.write_log(history, new=len(history))
    return history


def continued(loop: Loop, work: StageWork, history: History) -> tuple[int, History]:
    """Restores a checkpoint of this stage, else runs its `start`; returns the epoch to begin with and the history before it."""
    state = next((state for state in loop.run.load_states() if belongs(state, work, history)), None)
    first = 0 if state is None else state["epoch"] + 1
    mark_begin(loop.run, work.index, first)
    if state is None:
        if work.stage.start is not None:
            work.stage.start(loop.model, work.loss, loop.experiment.data)
        return first, history
    for name, part in _learning(loop, work).items():
        part.load_state_dict(state[name])
    return first, list(state["history"])


def belongs(state: dict[str, Any], work: StageWork, history: History) -> bool:
    """Whether a checkpoint is one of this stage: of its key, of one of its epochs but the last, and with that many entries."""
    if state.get("key") != work.key or not {"epoch", "history", "model", "loss", "optimizer"} <= state.keys():
        return False
    entries = [(entry["stage"], entry["epoch"]) for entry in state["history"][len(history) :]]
    trained = state["epoch"] + 1
    return 0 < trained < work.stage.epochs and entries == [(work.index, epoch) for epoch in range(trained)]


def save_epoch(loop: Loop, work: StageWork, epoch: int, history: History) -> None:
    """Writes the log, and a checkpoint after every epoch but the last, after which the stage itself is stored."""
    loop.run.write_log(history)
    if epoch < work.stage.epochs - 1:
        states = {name: part.state_dict() for name, part in _learning(loop, work).items()}
        loop.run.save_state({"key": work.key, "epoch": epoch, "history": history, **states})


def end_stage(loop: Loop, work: StageWork, history: History) -> None:
    """Copies the loss's scale to the head, and stores the stage for this run and for others that begin in the same way."""
    if work.average is not None:
        work.average.copy_to_network(work.average.average)
    loop.model.head.get_buffer("scale").fill_(getattr(work.loss, "scale", 1.0))
    stored = {"model": loop.model.state_dict(), "history": history, "starts": loop.run.starts}
    loop.run.save_stage(work.key, stored)
    loop.run.drop_states()


def _learning(loop: Loop, work: StageWork) -> dict[str, Any]:
    """The parts that learn: model, loss and optimizer, and the average of the weights where the stage takes one."""
    average = {} if work.average is None else {"average": work.average}
    return {"model": loop.model, "loss": work.loss, "optimizer": work.optimizer, **average}
