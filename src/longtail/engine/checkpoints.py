"""Where training continues: stored stages, the checkpoints of a stage, and what is stored at the end of each epoch and stage."""

from __future__ import annotations

from functools import partial
from typing import Any

from longtail.engine.building import StageWork
from longtail.engine.loop import History, Loop
from longtail.engine.writer import copied_to_host
from longtail.runs.starts import mark_begin, take_over

FORMS = ("fused", "foreach", "capturable")  # how an optimizer computes, not what


def load_stage(loop: Loop, key: str) -> History | None:
    """Loads the stored end of a stage into the model, and returns the history until there; None where it is not stored.

    Raises:
        UserError: the stage was trained under other conditions than this run, for which the same bits were promised.
    """
    stored = loop.compute.from_first(lambda: loop.run.load_stage(key))
    if stored is None:
        return None
    if loop.compute.leads:
        take_over(loop.run, stored["starts"])
    loop.model.load_state_dict(stored["model"])
    history = list(stored["history"])
    if loop.compute.leads:
        loop.run.write_log(history, new=len(history))
    return history


def continued(loop: Loop, work: StageWork, history: History) -> tuple[int, History]:
    """Restores a checkpoint of this stage, else runs its `start`; returns the epoch to begin with and the history before it."""
    loop.compute.restart_scale()
    state = loop.compute.from_first(lambda: next((each for each in loop.run.load_states() if belongs(each, work, history)), None))
    first = 0 if state is None else state["epoch"] + 1
    if loop.compute.leads:
        mark_begin(loop.run, work.index, first)
    if state is None:
        if work.stage.start is not None:
            work.stage.start(loop.model, work.loss, loop.experiment.data)
        if work.average is not None:
            work.average.restart()
        return first, history
    state["optimizer"] = _as_here(state["optimizer"], work)
    for name, part in _learning(loop, work).items():
        if name in state or name != "scaler":  # checkpoints of 0.1.0 have none
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
    """Writes the log, and a checkpoint after every epoch but the last, after which the stage itself is stored.

    A thread writes them while the next epoch is trained. What it cannot write, such as on a full disk, is raised as an error at
    the end of that epoch (`Loop.writer`).
    """
    if not loop.compute.leads:
        return None
    if epoch == work.stage.epochs - 1:
        return loop.writer.start(partial(loop.run.write_log, history))
    state = {"key": work.key, "epoch": epoch, "history": history, **copied_to_host(_states(loop, work))}

    def write() -> None:
        loop.run.write_log(history)
        loop.run.save_state(state)

    return loop.writer.start(write)


def end_stage(loop: Loop, work: StageWork, history: History) -> None:
    """Copies the loss's scale to the head, and stores the stage for this run and for others that begin in the same way."""
    loop.writer.wait()
    if work.average is not None:
        work.average.copy_to_network(work.average.average)
    loop.model.head.get_buffer("scale").fill_(getattr(work.loss, "scale", 1.0))
    if not loop.compute.leads:
        return
    stored = {"model": loop.model.state_dict(), "history": history, "starts": loop.run.starts}
    loop.run.save_stage(work.key, stored)
    loop.run.drop_states()


def _states(loop: Loop, work: StageWork) -> dict[str, Any]:
    """The states of the parts that learn, the learning rates as numbers wherever they lie."""
    states = {name: part.state_dict() for name, part in _learning(loop, work).items()}
    groups = [{**group, "lr": rate} for group, rate in zip(states["optimizer"]["param_groups"], work.rates, strict=True)]
    return {**states, "optimizer": {**states["optimizer"], "param_groups": groups}}


def _as_here(stored: dict[str, Any], work: StageWork) -> dict[str, Any]:
    """The stored state of the optimizer, to be computed with as this device does, whatever the device that stored it."""
    own = [{name: group[name] for name in FORMS if name in group} for group in work.optimizer.param_groups]
    return {**stored, "param_groups": [group | here for group, here in zip(stored["param_groups"], own, strict=True)]}


def _learning(loop: Loop, work: StageWork) -> dict[str, Any]:
    """The parts that learn: model, loss and optimizer, the average of the weights and the scale of gradients if any."""
    average = {} if work.average is None else {"average": work.average}
    scaler = {"scaler": loop.compute.scaler} if loop.compute.scaler.is_enabled() else {}
    return {"model": loop.model, "loss": work.loss, "optimizer": work.optimizer, **average, **scaler}
