"""Jobs of SLURM, with stand-ins for its commands: their options, and what SLURM refuses."""

import os

import pytest
from test_cluster import TINY, table_of

from commands import longtail
from longtail.errors import UserError
from longtail.runs.layout import jobs_folder
from longtail.workflow.cluster import run_requests
from longtail.workflow.schedulers import minutes_of
from longtail.workflow.watcher import Silent

pytestmark = pytest.mark.usefixtures("quick")
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
