"""Requests trained as jobs of a scheduler equal those trained here; what fails is named, and only what is missing is trained."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from commands import ended, longtail
from longtail.errors import UserError
from longtail.runs.layout import jobs_folder
from longtail.runs.seals import read_json
from longtail.workflow import cluster
from longtail.workflow.cluster import run_requests
from longtail.workflow.cluster_job import carry_out
from longtail.workflow.request import Request
from longtail.workflow.schedulers import Local
from longtail.workflow.stored import LOCK, Submitted, stored
from longtail.workflow.watcher import Silent

pytestmark = pytest.mark.usefixtures("quick")
TINY = {"epochs": 1, "size": 8, "backbone": "resnet8", "device": "cpu", "precision": "32-true", "symmetry": "none"}


class Notes(Silent):
    def __init__(self):
        self.texts = []

    def note(self, text):
        self.texts.append(text)


def table_of(photos, runs, **options):
    return [
        Request(photos, method, seed=seed, runs=runs, **{**TINY, **options})
        for method in ("ce", "logit_adjusted")
        for seed in (0, 1)
    ]


def same_bits(first, second):
    weights, others = (load_file(folder / "model" / "model.safetensors") for folder in (first, second))
    return weights.keys() == others.keys() and all(torch.equal(tensor, others[name]) for name, tensor in weights.items())


def waited(condition, seconds=300):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def worker_in(folder):
    """Number of the process that holds the lock of a job's folder; None where there is none."""
    with suppress(OSError, ValueError, KeyError):
        return json.loads((folder / LOCK).read_text())["pid"]
    return None


class Killed(Local):
    """Kills the job of cross-entropy at seed 1 as soon as it has begun; counts the jobs that run at the same time."""

    most = 0

    def submit(self, requests):
        for each in requests:
            if (each.request.method, each.request.seed) == ("ce", 1):
                threading.Thread(target=lambda each=each: os.kill(waited(lambda: worker_in(each.folder)), signal.SIGKILL)).start()
        return super().submit(requests)

    def running(self, jobs):
        found = super().running(jobs)
        Killed.most = max(Killed.most, len(found))
        return found


def test_a_table_of_jobs_equals_one_process_and_a_killed_job_is_made_again_alone(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "processors", lambda: 2)
    monkeypatch.setattr(cluster, "Local", Killed)
    runs, notes = tmp_path / "runs", Notes()
    requests = table_of(photos, runs)
    how = {"on": "local", "folder": jobs_folder(runs), "jobs": 2}
    outcomes = run_requests(requests, watcher=notes, **how)
    assert [each.request for each in outcomes] == requests
    assert [bool(each.problem) for each in outcomes] == [False, True, False, False]
    job = stored(requests[1], jobs_folder(runs)).submitted
    assert outcomes[1].problem == (
        f"ce on {photos}, seed 1: The job ended without a result: it was killed, or ran out of memory or time. Log: {job.log}"
    )
    assert "Starting with JobEnvironment" in Path(job.log).read_text()
    assert Killed.most == 2
    assert notes.texts[0] == "4 jobs: 0 finished before, 0 running, 4 to submit"
    assert any(text.startswith(f"ce on {photos}, seed 1: failed") for text in notes.texts)

    monkeypatch.setattr(cluster, "Local", Local)
    logs = sorted((jobs_folder(runs) / "logs").glob("*.out"))
    again = run_requests(requests, watcher=(later := Notes()), **how)
    assert later.texts == ["4 jobs: 3 finished before, 0 running, 1 to submit", f"ce on {photos}, seed 1: finished"]
    assert len(sorted((jobs_folder(runs) / "logs").glob("*.out"))) == len(logs) + 1
    for request, outcome in zip(requests, again, strict=True):
        alone = carry_out(replace(request, runs=tmp_path / "alone"), Silent())
        assert same_bits(outcome.folder, alone)
        assert read_json(outcome.folder, "report.json")["test"] == read_json(alone, "report.json")["test"]
        assert outcome.folder.name == alone.name
        assert read_json(outcome.folder, "record.json")["starts"][0]["threads"] == torch.get_num_threads() == 1


ON_ONE_CORE = """
import os, signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background commands inherit that it is ignored
os.sched_setaffinity(0, [*os.sched_getaffinity(0)][:1])
from longtail.cli import main
main()
"""
LONG = {**TINY, "epochs": 120}  # so that the signals find it at work on a busy machine, too
WORDS = [word for name, value in LONG.items() for word in (f"--{name}", value)]


def test_jobs_go_on_after_ctrl_c_and_continue_to_the_bit_after_the_scheduler_ended_them(photos, tmp_path):
    runs = tmp_path / "runs"
    words = ["train", photos, "--method", "ce", "--seeds", "1", "--on", "local", "--runs", runs, *WORDS]
    command = [sys.executable, "-c", ON_ONE_CORE, *map(str, words)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    with subprocess.Popen(command, **pipes) as parent, ended(parent):
        waited(lambda: list(runs.glob("photos/ce/*/state.pt")) or parent.poll())
        folder = next(runs.glob("jobs/ce-0-*"))
        first = worker_in(folder)
        os.kill(first, signal.SIGUSR2)  # as a scheduler does it before it ends a job
        os.killpg(parent.pid, signal.SIGINT)  # as a terminal does it
        out, err = parent.communicate()
        continued(runs, folder, words, first, out)
    assert parent.returncode == 130, err
    alone = carry_out(Request(photos, "ce", runs=tmp_path / "alone", **LONG), Silent())
    assert same_bits(next(runs.glob("photos/ce/0-*")), alone)


def continued(runs, folder, words, first, out):
    """The command left its job running, and, given again, waits for it; the job went on where the signal ended it."""
    job = json.loads((folder / "submitted.json").read_text())["job"]
    assert out.splitlines()[-1] == f"1 job goes on; the same command waits for it, and this ends it: kill {job}"
    waited(lambda: worker_in(folder) not in (None, first))
    said = longtail(*words)
    assert said.out.startswith("1 job: 0 finished before, 1 running, 0 to submit"), said
    starts = read_json(Path(said.folder), "record.json")["starts"]
    assert len(starts) == 2
    assert 1 < starts[1]["from"]["epoch"] <= LONG["epochs"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--on", "cloud"), "There is no scheduler 'cloud'. There are: slurm, local."),
        (("--slurm", "partition=gpu"), "--slurm has options of sbatch; they need --on slurm."),
        (("--slurm", "partition=gpu", "--on", "local"), "--slurm has options of sbatch; they need --on slurm."),
        (
            ("--on", "slurm"),
            'There is no SLURM on this machine (Could not detect "srun", are you indeed on a slurm cluster?); give',
        ),
        (("--on", "slurm", "--slurm", "array=0-3"), "--slurm array is set by longtail, as each run is one process of one job"),
        (("--on", "slurm", "--slurm", "time=soon"), "'soon' is no time; give --slurm time=MINUTES, or HH:MM:SS, or D-HH."),
        (("--on", "local", "--method", "cee"), "There is no method 'cee'. Did you mean 'ce'?"),
        (("--on", "local", "--epochs", "0"), "--epochs must be at least 1; got 0."),
        (("--on", "local", "--runs", "photos/runs"), "where a folder is a class; choose another one with --runs DIR."),
    ],
)
def test_mistakes_are_said_before_anything_is_submitted(photos, tmp_path, monkeypatch, options, sentence):
    monkeypatch.chdir(tmp_path)
    assert sentence in longtail("train", "photos", "--method", "ce", *options).sentence
    assert not list(tmp_path.rglob("submitted.json"))


def test_without_submitit_the_extra_is_named(photos, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    sentence = longtail("train", photos, "--method", "ce", "--on", "local", "--runs", tmp_path).sentence
    assert sentence == "Jobs are submitted by submitit, which is missing: pip install 'longtail[cluster]'."


def test_a_request_that_cannot_be_used_does_not_end_the_others(tmp_path, monkeypatch):
    """The usable one is not submitted here: its job is said to be running until it has ended."""
    good = Request("digits_lt", "ce", runs=tmp_path)
    monkeypatch.setattr(Local, "submit", lambda self, requests: [Submitted("local", "1", "log") for _ in requests])
    bad = [replace(good, method="cee"), Request(tmp_path / "gone", "ce", runs=tmp_path)]
    outcomes = run_requests([bad[0], good, bad[1]], on="local", folder=tmp_path / "jobs", watcher=Silent())
    assert outcomes[0].problem.startswith("cee on digits_lt, seed 0: There is no method 'cee'.")
    assert outcomes[1].problem.endswith("The job ended without a result: it was killed, or ran out of memory or time. Log: log")
    assert outcomes[2].problem.startswith(f"ce on {tmp_path}/gone, seed 0: '{tmp_path}/gone' does not exist")
    with pytest.raises(UserError, match="There is no method 'cee'"):
        run_requests(bad, on="local", folder=tmp_path / "jobs", watcher=Silent())
