"""Log and checkpoints are written by a thread while the next epoch is trained, and hold what was true when it was started."""

import threading

import pytest
import torch
from taped import FEW, SETTING, Tape, same
from torch import nn

from longtail import recipes
from longtail.engine.devices import make_compute
from longtail.engine.replay import Replay
from longtail.engine.training import train_stages
from longtail.engine.writer import Writer, copied_to_host
from longtail.errors import OutOfSpace
from longtail.runs.run import Run
from longtail.spec.experiment import Experiment
from longtail.spec.recipe import with_epochs

FULL = "The disk is full"


class InterruptedRun(Exception):  # noqa: N818
    """Stands for whatever ends a process."""


def trained(run, build=recipes.ce, *, watch=None, replay=None):
    experiment = Experiment(with_epochs(build(SETTING), 4), SETTING, FEW)
    return train_stages(experiment, run, make_compute("cpu", "32-true"), watch=watch, replay=replay)


def cut_off(epoch, step=0):
    def watch(stage, progress):
        if (progress.epoch, progress.step) == (epoch, step):
            raise InterruptedRun

    return watch


def full():
    raise OutOfSpace(FULL)


def interrupted(writer):
    writer.start(full)
    raise InterruptedRun


def test_one_function_runs_at_a_time_and_leaving_waits_for_the_last():
    done, writer = [], Writer()
    with writer:
        for number in range(3):
            writer.start(lambda number=number: done.append((number, threading.current_thread().name)))
    assert [number for number, _ in done] == [0, 1, 2]
    assert {name for _, name in done} == {"writer_0"}


def test_an_error_is_raised_once_by_the_next_call():
    writer = Writer()
    with writer:
        writer.start(full)
        with pytest.raises(OutOfSpace, match=FULL):
            writer.wait()
        writer.wait()
        writer.start(full)
        with pytest.raises(OutOfSpace, match=FULL):
            writer.start(print)


def test_an_error_of_the_last_function_is_raised_unless_another_one_is_on_its_way():
    with pytest.raises(OutOfSpace), Writer() as writer:
        writer.start(full)
    with pytest.raises(InterruptedRun), Writer() as writer:
        interrupted(writer)


def test_a_copied_state_has_memory_of_its_own_and_keeps_what_modules_note():
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).to(memory_format=torch.channels_last)
    state = {"model": module.state_dict(), "groups": [{"lr": 0.1, "params": [0]}], "epoch": 3}
    copy = copied_to_host(state)
    kept = module[0].weight.detach().clone()
    nn.init.zeros_(module[0].weight)
    assert torch.equal(copy["model"]["0.weight"], kept)
    assert copy["model"]["0.weight"].stride() == module[0].weight.stride()
    assert copy["model"]._metadata == state["model"]._metadata
    assert (copy["groups"], copy["epoch"]) == (state["groups"], 3)
    assert copy["groups"][0] is not state["groups"][0]


@pytest.mark.slow
def test_a_checkpoint_holds_the_epoch_after_which_it_was_started_and_follows_the_log(tmp_path, monkeypatch):
    """The first checkpoint is written no earlier than in the middle of the next epoch."""
    written, underway = [], threading.Event()
    save, log = Run.save_state, Run.write_log

    def late(run, state):
        assert underway.wait(60)
        written.append(("state", state["epoch"]))
        save(run, state)

    def noted(run, entries, **options):
        written.append(("log", entries[-1]["epoch"]))
        log(run, entries, **options)

    def watch(stage, progress):
        if (progress.epoch, progress.step) == (1, 3):
            underway.set()
        cut_off(2)(stage, progress)

    whole, _ = trained(Run(tmp_path / "whole"))
    monkeypatch.setattr(Run, "save_state", late)
    monkeypatch.setattr(Run, "write_log", noted)
    with pytest.raises(InterruptedRun):
        trained(Run(tmp_path / "cut"), watch=watch)
    assert written == [("log", 0), ("state", 0), ("log", 1), ("state", 1)]
    newest, before = Run(tmp_path / "cut").load_states()
    assert (newest["epoch"], before["epoch"]) == (1, 0)
    continued, history = trained(Run(tmp_path / "cut"))
    assert same(whole.state_dict(), continued.state_dict())
    assert [entry["epoch"] for entry in history] == [0, 1, 2, 3]


@pytest.mark.slow
def test_a_full_disk_ends_training_with_the_epoch_after_it(tmp_path, monkeypatch):
    seen, save = [], Run.save_state
    with monkeypatch.context() as patch:
        patch.setattr(Run, "save_state", lambda run, state: full() if state["epoch"] == 1 else save(run, state))
        with pytest.raises(OutOfSpace, match=FULL):
            trained(Run(tmp_path / "run"), watch=lambda stage, progress: seen.append(progress.epoch))
    assert set(seen) == {0, 1, 2}
    continued, _ = trained(Run(tmp_path / "run"))
    assert same(continued.state_dict(), trained(Run(tmp_path / "whole"))[0].state_dict())


@pytest.mark.slow
@pytest.mark.parametrize("recorded_first", [True, False])
def test_a_run_is_continued_whether_its_steps_were_recorded_or_not(recorded_first, tmp_path):
    replays = [Replay(Tape()), None] if recorded_first else [None, Replay(Tape())]
    with pytest.raises(InterruptedRun):
        trained(Run(tmp_path / "cut"), watch=cut_off(2, 2), replay=replays[0])
    state = next(Run(tmp_path / "cut").load_states())
    assert [type(group["lr"]) for group in state["optimizer"]["param_groups"]] == [float]
    continued, history = trained(Run(tmp_path / "cut"), replay=replays[1])
    whole, entries = trained(Run(tmp_path / "whole"))
    assert same(whole.state_dict(), continued.state_dict())
    assert [entry["loss"] for entry in history] == [entry["loss"] for entry in entries]
