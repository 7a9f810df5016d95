"""Runs trained at the same time equal runs trained alone, and an error in one of them is reported once."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from longtail import settings
from longtail.errors import TrainingFailed, UserError
from longtail.workflow import parallel
from longtail.workflow.one_run import Silent, train_one
from longtail.workflow.parallel import jobs_of, train_many
from longtail.workflow.request import Request

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


class Killing(Notes):
    """Kills the process that trains seed 1 once the other one is finished; its note says so, and none of its own."""

    def note(self, text):
        super().note(text)
        if "finished" in text:
            for process in multiprocessing.active_children():
                process.kill()


def test_a_killed_process_names_its_seed_and_the_others_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(parallel, "processors", lambda: 2)
    quick, long = requests(tmp_path)
    asked = [quick, replace(long, epochs=500)]
    notes = Killing()
    with pytest.raises(TrainingFailed) as failed:
        train_many(asked, SETTING, SETTING.data(Path()), watcher=notes)
    assert str(failed.value) == (
        "The process that trained seed 1 was killed by signal 9, SIGKILL; often, the memory is used up. The results of the "
        "other seeds are kept, and the same command continues; fewer seeds at once need less memory (`jobs=1`)."
    )
    assert [path.parent.name[0] for path in tmp_path.glob("digits_lt/ce/*/report.json")] == ["0"]
    assert multiprocessing.active_children() == []


COMMAND = [sys.executable, "-c", "from longtail.cli import main; main()", "train", "digits_lt", "--method", "ce", "--seeds", "2"]
COMMAND += ["--jobs", "2", "--epochs", "500", "--device", "cpu", "--runs"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_processes_end_with_their_parent(tmp_path, number):
    parent = subprocess.Popen([*COMMAND, tmp_path], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    waited(lambda: len(list(tmp_path.glob("digits_lt/ce/*/state.pt"))) == 2)
    workers = children_of(parent.pid)
    assert len(workers) >= 2
    parent.send_signal(number)
    _, errors = parent.communicate()
    said = "Stopped by SIGTERM. What has been computed is kept; the same command continues.\n"
    assert (parent.returncode, errors) == ((-9, "") if number == signal.SIGKILL else (143, said))
    waited(lambda: not any(is_running(pid) for pid in workers), seconds=5)


def waited(condition, seconds=90):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def children_of(parent):
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
            command = Path(f"/proc/{pid}/cmdline").read_text()
        except OSError:
            continue
        if int(fields[1]) == parent and "spawn_main" in command:
            found.append(int(pid))
    return found


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[0] != "Z"
    except OSError:
        return False
