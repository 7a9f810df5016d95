"""Runs trained at the same time equal runs trained alone, and an error in one of them is reported once."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from commands import ended, paint
from longtail import settings
from longtail.errors import TrainingFailed, UserError
from longtail.workflow import parallel
from longtail.workflow.one_run import train_one
from longtail.workflow.parallel import jobs_of, train_many
from longtail.workflow.request import Request
from longtail.workflow.watcher import Silent
from longtail.workflow.workers import Worker

SETTING = replace(settings.digits_lt(), epochs=2)


class Notes(Silent):
    def __init__(self):
        self.texts = []

    def note(self, text):
        self.texts.append(text)


def requests(runs, count=2, **options):
    return [Request("digits_lt", "ce", seed=seed, runs=runs, device="cpu", epochs=2, **options) for seed in range(count)]


@pytest.mark.parametrize(("asked", "cores", "runs", "expected"), [(None, 2, 8, 2), (None, 16, 3, 3), (5, 2, 8, 5), (1, 9, 9, 1)])
def test_one_run_per_core_unless_asked(monkeypatch, tmp_path, asked, cores, runs, expected):
    monkeypatch.setattr(parallel, "processors", lambda: cores)
    assert jobs_of(requests(tmp_path, runs, jobs=asked)) == expected


def test_seeds_at_once_equal_seeds_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(parallel, "processors", lambda: 2)
    data, notes = SETTING.data(Path()), Notes()
    together = train_many(requests(tmp_path / "together"), SETTING, data, watcher=notes)
    alone = [train_one(request, SETTING, data, watcher=Silent()) for request in requests(tmp_path / "alone")]
    for first, second in zip(together, alone, strict=True):
        weights, others = (load_file(result.folder / "model" / "model.safetensors") for result in (first, second))
        assert weights.keys() == others.keys()
        assert all(torch.equal(tensor, others[name]) for name, tensor in weights.items())
        assert first.report.test == second.report.test
        assert first.folder.name == second.folder.name
    assert notes.texts[0] == "2 runs, 2 at once with 1 thread each (`jobs`)"
    assert sorted(notes.texts[1:]) == ["ce, seed 0: finished", "ce, seed 1: finished"]


def test_what_fails_in_a_process_is_one_sentence_here(tmp_path):
    changes = {"stages.0.optimizer.lr": "1e38"}
    with pytest.raises(TrainingFailed, match="The loss is not finite in stage 1") as failed:
        train_many(requests(tmp_path, jobs=2, changes=changes), SETTING, SETTING.data(Path()), watcher=Silent())
    assert isinstance(failed.value, UserError)
    assert "\n" not in str(failed.value)


class Killed(Worker):
    """A process that is killed as soon as it is given seed 0."""

    def train(self, request):
        super().train(request)
        if request.seed == 0:
            self.process.kill()


def test_a_killed_process_names_its_seed_and_the_others_are_kept(tmp_path, monkeypatch):
    """The second process, and one in the place of the first, train the other seeds."""
    monkeypatch.setattr(parallel, "processors", lambda: 2)
    monkeypatch.setattr(parallel, "Worker", Killed)
    notes, before = Notes(), multiprocessing.active_children()
    with pytest.raises(TrainingFailed) as failed:
        train_many(requests(tmp_path, 3), SETTING, SETTING.data(Path()), watcher=notes)
    assert str(failed.value) == (
        "The process that trained seed 0 was killed by signal 9, SIGKILL. Often, the memory is used up: fewer seeds at once need "
        "less (`jobs=1`). The results of the other seeds are kept, and the same command continues."
    )
    assert sorted(path.parent.name[0] for path in tmp_path.glob("digits_lt/ce/*/report.json")) == ["1", "2"]
    assert notes.texts[1] == "ce, seed 0: failed, the others go on"
    assert sorted(notes.texts[2:]) == ["ce, seed 1: finished", "ce, seed 2: finished"]
    assert set(multiprocessing.active_children()) <= set(before)


CODE = "from longtail.data import folder; folder.MEMORY_LIMIT = 0; from longtail.cli import main; main()"
OPTIONS = ["--method", "ce", "--seeds", "2", "--jobs", "2", "--epochs", "500", "--size", "8", "--backbone", "resnet8"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_processes_end_with_their_parent(tmp_path, number):
    """Those that train and, below them, those that read images; SIGTERM comes to all at once, as from a scheduler."""
    photos = paint(tmp_path / "photos", {"apple": 20, "berry": 10})
    command = [sys.executable, "-c", CODE, "train", photos, *OPTIONS, "--device", "cpu", "--runs", tmp_path / "runs"]
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    with subprocess.Popen(command, **pipes) as parent, ended(parent):
        waited(lambda: len(list(tmp_path.glob("runs/photos/ce/*/state.pt"))) == 2)
        family = running_in(parent.pid)
        assert len(family) >= 1 + 2 + 2
        if number == signal.SIGTERM:
            os.killpg(parent.pid, number)
        else:
            parent.send_signal(number)
        _, errors = parent.communicate()
        waited(lambda: not running_in(parent.pid), seconds=3)
    said = "Stopped by SIGTERM. What has been stored is kept; the same command goes on from there.\n"
    assert (parent.returncode, errors) == ((-9, "") if number == signal.SIGKILL else (143, said))


def waited(condition, seconds=300):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def running_in(session):
    """Ids of the processes of a session that have not ended."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, _, of, *_ = path.read_text().rpartition(") ")[2].split()
            found += [int(path.parent.name)] if int(of) == session and state != "Z" else []
    return found
