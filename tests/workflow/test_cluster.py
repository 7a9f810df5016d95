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

from commands import ended, longtail, paint
from longtail.errors import UserError
from longtail.runs.layout import jobs_folder
from longtail.runs.seals import read_json, write_json
from longtail.spec.own_code import read_own
from longtail.workflow import cluster, schedulers
from longtail.workflow.cluster import run_requests
from longtail.workflow.cluster_job import carry_out
from longtail.workflow.request import Request
from longtail.workflow.schedulers import Local, Slurm, minutes_of
from longtail.workflow.stored import END, LOCK, Submitted, as_plain, read_request, stored
from longtail.workflow.watcher import Silent

TINY = {"epochs": 1, "size": 8, "backbone": "resnet8", "device": "cpu", "precision": "32-true", "symmetry": "none"}


class Notes(Silent):
    def __init__(self):
        self.texts = []

    def note(self, text):
        self.texts.append(text)


@pytest.fixture
def photos(tmp_path):
    return paint(tmp_path / "photos", {"apple": 24, "berry": 12, "citron": 6})


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(Slurm, "poll", 0.1)
    monkeypatch.setattr(cluster, "LATE", 0.0)


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


SBATCH = """#!/usr/bin/env python3
import pathlib, subprocess, sys, os
here = pathlib.Path(__file__).parent
(here / "script").write_text(pathlib.Path(sys.argv[1]).read_text())
if (here / "refuse").exists():
    sys.exit("sbatch: error: invalid partition specified: gpu")
names = {"SLURM_JOB_ID": "8", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "0", "SLURM_CPUS_ON_NODE": "1"}
with open(here / "printed", "w") as printed:
    job = subprocess.Popen(["bash", sys.argv[1]], env={**os.environ, **names}, stdout=printed, stderr=printed)
(here / "job").write_text(str(job.pid))
print("Submitted batch job 7")
"""
SRUN = """#!/usr/bin/env python3
import os, sys
words = sys.argv[1:]
while words[0].startswith("-"):
    del words[: 2 if words[0] in ("--output", "--error") else 1]
os.execvp(words[0], words)
"""
SQUEUE = """#!/bin/bash
state=$(ps -o state= -p $(cat ${0%/*}/job 2>/dev/null) 2>/dev/null)
if [ -n "$state" ] && [ "$state" != Z ]; then echo 7_0; fi
"""


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Stand-ins for SLURM's commands: the first job of an array runs, the others are gone at once."""
    folder = tmp_path / "slurm"
    folder.mkdir()
    for name, text in {"sbatch": SBATCH, "srun": SRUN, "squeue": SQUEUE}.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


def test_jobs_of_slurm_are_an_array_with_the_options_of_sbatch(photos, tmp_path, slurm):
    runs = tmp_path / "runs"
    options = ["partition=gpu", "time=4:00:00", "cpus-per-task=3", "exclusive"]
    words = ["train", photos, "--method", "ce", "--seeds", 2, "--jobs", 1, "--on", "slurm", "--runs", runs]
    words += [word for each in options for word in ("--slurm", each)]
    said = longtail(*words, *[word for name, value in TINY.items() for word in (f"--{name}", value)])
    lines = (slurm / "script").read_text().splitlines()
    asked = {line.removeprefix("#SBATCH --").partition("=")[::2] for line in lines if line.startswith("#SBATCH")}
    wanted = {("partition", "gpu"), ("time", "240"), ("cpus-per-task", "3"), ("exclusive", ""), ("array", "0-1%1")}
    assert wanted | {("signal", "USR2@90"), ("job-name", "longtail")} <= asked
    assert any(line.startswith("srun ") and "--cpus-per-task=3" in line for line in lines)
    assert said.code == 2
    assert "ce, seed 0" in said.out
    assert "ce, seed 1" not in said.out
    log = jobs_folder(runs).resolve() / "logs" / "7_1_0_log.out"
    assert f"ce on {photos}, seed 1: The job ended without a result: it was killed, or ran out of memory or time. Log: {log}" in (
        said.text
    )
    assert said.err == "1 of 2 jobs failed. Finished runs are kept, and the same command submits only what is missing.\n"


def test_what_slurm_refuses_is_one_sentence(photos, tmp_path, slurm):
    (slurm / "refuse").touch()
    with pytest.raises(UserError, match="SLURM did not take the jobs: sbatch: error: invalid partition specified: gpu"):
        run_requests(table_of(photos, tmp_path)[:2], on="slurm", folder=tmp_path / "jobs", watcher=Silent())


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


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("90", 90), ("4:30", 5), ("4:00:00", 240), ("2-3", 3060), ("1-0:30", 1470), ("1-00:00:01", 1441), ("0:59", 1)],
)
def test_times_are_those_of_sbatch(text, minutes):
    """The forms of `sbatch --time`, by hand; a part of a minute counts as one."""
    assert minutes_of(text) == minutes


@pytest.mark.parametrize("text", ["", "0", "1h", "-5", "1:2:3:4", "1-", "0:00"])
def test_other_times_are_refused(text):
    with pytest.raises(UserError, match="time=MINUTES"):
        minutes_of(text)


def test_a_request_travels_as_text_and_back(photos, tmp_path):
    request = Request(
        photos,
        "balpoe",
        variants={"tau": (0.1, 1, 2e-17)},
        changes={"stages.0.loss.scale": "20"},
        weights=tmp_path / "w\udcff.safetensors",
        imbalance=100.0,
        runs=tmp_path,
    )
    job = stored(request, tmp_path / "jobs")
    job.write(threads=3)
    back, own, threads = read_request(job.folder)
    assert (replace(back, data=photos), own, threads) == (request, {}, 3)
    with pytest.raises(UserError, match=r"`variants` has <object"):
        as_plain(Request("x", variants={"rule": object()}))


def test_a_job_is_another_one_when_its_result_would_be(photos, tmp_path):
    own = tmp_path / "mine.py"
    own.write_text("from longtail.recipes import ce as softer")
    request = Request(photos, f"{own}:softer", runs=tmp_path, **TINY)
    names = [stored(request, tmp_path).folder.name]
    names.append(stored(replace(request, seed=1), tmp_path).folder.name)
    names.append(stored(replace(request, epochs=2), tmp_path).folder.name)
    paint(photos, {"apple": 25})
    os.utime(photos / "apple" / "000.png", (1, 1))
    names.append(stored(request, tmp_path).folder.name)
    own.write_text("from longtail.recipes import gcl as softer")
    read_own(own)
    names.append(stored(request, tmp_path).folder.name)
    assert len(set(names)) == 5
    assert all(name.startswith("mine.py_softer-") for name in names)
    assert stored(replace(request, jobs=7, fresh=True), tmp_path).folder.name == names[-1]


def test_a_job_is_another_one_when_an_image_is_replaced_at_the_same_size_and_time(photos, tmp_path):
    request, image = Request(photos, "ce", runs=tmp_path, **TINY), photos / "apple" / "000.png"
    before, name = image.stat(), stored(request, tmp_path).folder.name
    content = bytearray(image.read_bytes())
    content[-1] ^= 1
    image.write_bytes(content)
    os.utime(image, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (image.stat().st_size, image.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert stored(request, tmp_path).folder.name != name


@pytest.mark.parametrize("file", ["model/model.safetensors", "split.csv"])
def test_a_run_whose_files_are_missing_or_damaged_is_not_finished(photos, tmp_path, file):
    request = Request(photos, "ce", runs=tmp_path / "runs", **TINY)
    job = stored(request, jobs_folder(request.runs))
    job.write(threads=1)
    folder = carry_out(request, Silent())
    write_json(job.folder, END, {"run": str(folder.relative_to(request.runs))})
    assert job.finished()[0] == folder
    whole = (folder / file).read_bytes()
    (folder / file).write_bytes(whole[:-1])
    assert job.finished() is None
    (folder / file).unlink()
    assert job.finished() is None
    assert carry_out(request, Silent()) == folder
    assert job.finished()[0] == folder


def test_a_job_refuses_code_that_changed_after_it_was_submitted(photos, tmp_path):
    own = tmp_path / "mine.py"
    own.write_text("from longtail.recipes import ce as softer")
    job = stored(Request(photos, f"{own}:softer", runs=tmp_path, **TINY), tmp_path / "jobs")
    job.write(threads=1)
    own.write_text("from longtail.recipes import gcl as softer")
    former = signal.getsignal(signal.SIGUSR2)
    try:
        with pytest.raises(UserError, match=r"mine\.py' has changed since the job was submitted"):
            schedulers.StoredJob(str(job.folder))()
    finally:
        signal.signal(signal.SIGUSR2, former)
    assert "has changed since the job was submitted; give the same command again." in job.problem
