"""Signals end a command as an interrupt does: one sentence, an exit code that schedulers understand, and SLURM asked again."""

import errno
import multiprocessing
import os
import signal
import subprocess
import time

import pytest

from commands import longtail, paint
from longtail.data import folder
from longtail.data.readers import naming_dead_workers
from longtail.engine.devices import make_compute
from longtail.errors import TrainingFailed

ARRAY = {"SLURM_ARRAY_JOB_ID": "41", "SLURM_ARRAY_TASK_ID": "2"}
KEPT = "What has been stored is kept; the same command goes on from there."


@pytest.fixture(autouse=True)
def heard_signals():
    """Signals are heard, also where the tests run under nohup."""
    former = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGHUP, signal.SIGTERM)}
    yield
    for number, handler in former.items():
        signal.signal(number, handler)


@pytest.fixture
def training(monkeypatch):
    """Training is replaced by a function that sends a signal to its own process."""

    def use(number):
        def run_train(*_, **__):
            os.kill(os.getpid(), number)
            time.sleep(0.2)
            print("went on")

        monkeypatch.setattr("longtail.cli.train.run_train", run_train)

    return use


@pytest.fixture
def scontrol(tmp_path, monkeypatch):
    """A stand-in for SLURM's command, which writes down its arguments and ends with an exit code."""

    def use(code):
        path = tmp_path / "scontrol"
        path.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\necho "Invalid job id specified" >&2\nexit {code}\n')
        path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    return use


@pytest.fixture(autouse=True)
def ended_children():
    """A stop leaves the end of child processes unhandled, as the program ends; the tests go on."""
    former = signal.getsignal(signal.SIGCHLD)
    yield
    signal.signal(signal.SIGCHLD, former)


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_ends_with_a_sentence_and_its_code(training, name, code):
    before = signal.getsignal(signal.Signals[name])
    training(signal.Signals[name])
    said = longtail("train", "digits_lt")
    assert (said.code, said.err, said.out) == (code, f"Stopped by {name}. {KEPT}\n", "")
    assert signal.getsignal(signal.Signals[name]) == before


def test_a_signal_that_is_ignored_stays_ignored(training, monkeypatch):
    training(signal.SIGHUP)
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        said = longtail("train", "digits_lt")
    finally:
        signal.signal(signal.SIGHUP, former)
    assert (said.code, said.out) == (0, "went on\n")


def test_processes_that_end_by_the_same_signal_are_no_error(monkeypatch):
    """Torch raises one for each that reads images, wherever the program is, such as where its objects are deleted."""
    noticed = []

    def run_train(*_, **__):
        signal.signal(signal.SIGCHLD, lambda *_: noticed.append(1))
        child = subprocess.Popen(["sleep", "60"])
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.2)
        finally:
            child.terminate()
            child.wait()

    monkeypatch.setattr("longtail.cli.train.run_train", run_train)
    said = longtail("train", "digits_lt")
    assert (said.code, said.err, noticed) == (143, f"Stopped by SIGTERM. {KEPT}\n", [])


def test_a_second_signal_does_not_interrupt_the_end(monkeypatch):
    ended = []

    def run_train(*_, **__):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.2)
        finally:
            os.kill(os.getpid(), signal.SIGHUP)
            ended.append(1)

    monkeypatch.setattr("longtail.cli.train.run_train", run_train)
    assert (longtail("train", "digits_lt").code, ended) == (143, [1])


def test_the_exit_code_is_the_same_where_the_terminal_is_gone(training, monkeypatch):
    def gone(*_, **__):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("longtail.cli.app.typer.secho", gone)
    training(signal.SIGHUP)
    assert longtail("train", "digits_lt").code == 129


@pytest.fixture
def usr1():
    former = signal.getsignal(signal.SIGUSR1)
    yield
    signal.signal(signal.SIGUSR1, former)


@pytest.mark.parametrize(
    ("job", "code", "asked", "said"),
    [
        ({"SLURM_JOB_ID": "41"}, 0, "requeue 41\n", "SLURM queues the job 41 again."),
        (
            {"SLURM_JOB_ID": "43", "SLURM_ARRAY_JOB_ID": "41", "SLURM_ARRAY_TASK_ID": "2"},
            0,
            "requeue 41_2\n",
            "SLURM queues the job 41_2 again.",
        ),
        ({"SLURM_JOB_ID": "41"}, 1, "requeue 41\n", "SLURM refused to queue the job 41 again: Invalid job id specified"),
        ({}, 0, None, "It was not queued again, since this is no job of SLURM."),
    ],
)
def test_slurm_is_asked_to_queue_the_job_again(training, scontrol, usr1, monkeypatch, tmp_path, job, code, asked, said):
    for name in ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in job.items():
        monkeypatch.setenv(name, value)
    scontrol(code)
    training(signal.SIGUSR1)
    found = longtail("train", "digits_lt", "--requeue-signal", "usr1")
    assert (found.code, found.err) == (128 + signal.SIGUSR1, f"Stopped by SIGUSR1. {KEPT} {said}\n")
    assert (tmp_path / "asked").exists() == (asked is not None)
    assert asked is None or (tmp_path / "asked").read_text() == asked


def test_without_scontrol_that_is_said(training, usr1, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "41")
    monkeypatch.delenv("SLURM_ARRAY_JOB_ID", raising=False)
    monkeypatch.setenv("PATH", "")
    training(signal.SIGUSR1)
    said = longtail("train", "digits_lt", "--requeue-signal", "SIGUSR1").err
    assert "SLURM could not be asked to queue the job 41 again ([Errno 2] No such file or directory: 'scontrol')." in said


@pytest.mark.parametrize("name", ["USR9", "KILL", ""])
def test_a_signal_that_there_is_not(name):
    sentence = longtail("train", "digits_lt", "--requeue-signal", name).sentence
    assert sentence == f"There is no signal '{name}' that a program can catch; give USR1, USR2 or TERM."


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["demo", "--seeds", 1], "This is one of 2 processes, as torchrun or srun starts them, and only `longtail train` and"),
        (["train", "digits_lt"], "Several processes train one method; name it with --method, or choose one in a process alone."),
        (["train", "digits_lt", "--method", "ce", "--graphs"], "--graphs records the steps of a process alone; leave it out"),
        (["train", "digits_lt", "--method", "ce", "--jobs", 2], "--jobs trains several seeds at once, and here several"),
    ],
)
@pytest.mark.parametrize(
    "variables",
    [{"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}, {"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "2"}],
    ids=["torchrun", "srun"],
)
def test_what_several_processes_cannot_do_is_refused(monkeypatch, tmp_path, variables, words, said):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert longtail(*words, "--runs", tmp_path).sentence.startswith(said)


@pytest.mark.parametrize(
    "variables", [{"SLURM_NTASKS": "4", "SLURM_JOB_NAME": "train", "SLURM_NNODES": "2"}, {"WORLD_SIZE": "2"}]
)
def test_variables_of_a_cluster_alone_change_nothing(monkeypatch, variables):
    """They are set for a job of several tasks although one process runs."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    compute = make_compute("cpu", "32-true")
    assert (compute.world, compute.rank, str(compute.device)) == (1, 0, "cpu")


def test_a_killed_reader_of_images_is_one_sentence(monkeypatch, tmp_path):
    photos = paint(tmp_path / "photos", {"apple": 40, "berry": 20})
    monkeypatch.setattr(folder, "MEMORY_LIMIT", 0)
    killed, others = [], multiprocessing.active_children()

    def step(self, stage, progress):
        workers = [each for each in multiprocessing.active_children() if each not in others]
        if workers and progress.epoch == 1 and not killed:
            killed.append(workers[0].pid)
            workers[0].kill()
            time.sleep(0.5)

    monkeypatch.setattr("longtail.cli.progress.Bars.step", step)
    options = ("--method", "ce", "--epochs", 50, "--size", 8, "--backbone", "resnet8", "--runs", tmp_path / "runs")
    sentence = longtail("train", photos, *options).sentence
    assert sentence == (
        f"Process {killed[0]}, which read images, was killed (Killed); often, the memory or the shared memory is used up. "
        "Finished epochs are kept, and the same command continues."
    )
    assert list((tmp_path / "runs").glob("photos/ce/*/state.pt"))


def test_other_errors_are_left_alone():
    with pytest.raises(RuntimeError, match="something else"), naming_dead_workers():
        raise RuntimeError("something else")
    with pytest.raises(TrainingFailed, match=r"Processes 7, 8, which read images, ended unexpectedly;"), naming_dead_workers():
        raise RuntimeError("DataLoader worker (pid(s) 7, 8) exited unexpectedly")
