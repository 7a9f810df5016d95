"""Checkpoints cost a twentieth of the time at most, and miss nothing for longer."""

import json

import pytest
import torch

from longtail.checkpoints import SHARE, Checkpoints, Pace
from longtail.runs import Run


class Clock:
    """Stands still until it is told to move."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now

    def move(self, seconds):
        self.now += seconds


@pytest.fixture
def clock():
    return Clock()


def checkpoints(folder, clock, monkeypatch, logged=0):
    """Of a run that takes a second to save its state."""
    kept = Checkpoints(Run(folder), "key", {"model": torch.nn.Linear(2, 2)}, logged=logged)
    kept.pace = Pace(clock)
    save = kept.run.save_state
    monkeypatch.setattr(kept.run, "save_state", lambda state: (clock.move(1), save(state)))
    return kept


def epochs(count):
    numbers = {"loss": 0.5, "learning_rate": 0.1, "images_per_second": 9.0}
    return [{"stage": 0, "epoch": epoch, **numbers} for epoch in range(count)]


def logged(run):
    return [json.loads(line)["epoch"] for line in (run.folder / "log.jsonl").read_text().splitlines()]


def test_the_pace_keeps_to_its_share(clock):
    pace, spent = Pace(clock), 0
    for _ in range(1000):
        clock.move(0.25)
        if pace.due():
            pace.spend(lambda: clock.move(0.5))
            spent += 0.5
    assert 0.9 * SHARE < spent / (clock.now - 100) <= SHARE


def test_the_first_epoch_is_kept_and_then_whatever_ends_when_it_is_time(tmp_path, clock, monkeypatch):
    kept, seen = checkpoints(tmp_path, clock, monkeypatch), []
    for count in range(1, 51):
        clock.move(1.5)
        kept.epoch_ended(epochs(count))
        seen.append(kept.run.load_state()["epoch"])
        assert logged(kept.run) == list(range(seen[-1] + 1))
    assert sorted(set(seen)) == [0, 14, 28, 42]


def test_epochs_longer_than_the_wait_are_all_kept(tmp_path, clock, monkeypatch):
    kept = checkpoints(tmp_path, clock, monkeypatch)
    for count in range(1, 6):
        clock.move(21)
        kept.epoch_ended(epochs(count))
        assert kept.run.load_state()["epoch"] == count - 1


def test_the_end_of_a_stage_writes_the_rest_of_the_log_once(tmp_path, clock, monkeypatch):
    drawn = []
    monkeypatch.setattr(Run, "write_log", lambda run, entries, *, new=1: drawn.append([e["epoch"] for e in entries[-new:]]))
    kept = checkpoints(tmp_path, clock, monkeypatch, logged=2)
    for count in (3, 4, 5):
        kept.epoch_ended(epochs(count))
    kept.stage_ended(epochs(6))
    assert drawn == [[2], [3, 4, 5]]
