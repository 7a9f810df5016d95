"""Commands that share a run: one process writes it, and a fault of one ends all of them with one sentence."""

import os
import resource
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

import longtail
from commands import ended
from longtail import recipes, settings
from longtail.data.splits import hold_out
from longtail.engine.group import Place, first_host, minutes, own_place
from longtail.spec.experiment import Experiment
from longtail.together import rank
from longtail.turns import first, first_alone, of_all
from longtail.workflow.several import check_agreement

EPOCHS = 30
SECONDS = 60  # until the others end after one did
WORDS = ["-m", "longtail", "train", "digits_lt", "--method", "ce", "--device", "cpu", "--precision", "32-true"]
QUIET = {**os.environ, "OMP_NUM_THREADS": "1", "LONGTAIL_REPORT": "0", "LONGTAIL_TIMEOUT": "8"}
QUIET["GIT_OPTIONAL_LOCKS"] = "0"  # the small files of a test are no reason to leave a lock in this repository


def started(runs, number, port):
    """One of two processes of a run."""
    place = {"RANK": str(number), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    command = [sys.executable, *WORDS, "--epochs", str(EPOCHS), "--runs", str(runs)]
    kept = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    return subprocess.Popen(command, env={**QUIET, **place}, **kept)


def test_a_killed_process_ends_the_other_with_a_sentence_and_one_alone_continues(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    leading, other = (started(tmp_path, number, port) for number in (0, 1))
    with ended(leading), ended(other):
        deadline = time.monotonic() + 500
        while not list(tmp_path.rglob("state.pt")) and leading.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        other.kill()
        other.communicate()
        _, said = leading.communicate(timeout=SECONDS)
    sentences = [line for line in said.splitlines() if not line.startswith("[rank0]")]
    assert leading.returncode == 2, said
    assert sentences[-1].startswith("Another process of this run ended, or does not answer. Finished epochs are kept"), said
    assert "Traceback" not in said
    log = next(tmp_path.rglob("log.jsonl"))
    begun = log.read_text().splitlines()
    assert 0 < len(begun) < EPOCHS
    result = longtail.train("digits_lt", method="ce", epochs=EPOCHS, device="cpu", precision="32-true", runs=tmp_path)
    assert result.folder == log.parent
    assert log.read_text().splitlines()[: len(begun)] == begun


def test_a_full_disk_is_one_sentence_of_the_first_process(tmp_path):
    def small_files():
        resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))

    command = [sys.executable, *WORDS, "--devices", "2", "--epochs", "3", "--runs", str(tmp_path)]
    done = subprocess.run(command, env=QUIET, preexec_fn=small_files, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 2, done.stderr
    sentences = [line for line in done.stderr.splitlines() if line.strip()]
    assert len(sentences) == 1, done.stderr
    assert "state.pt" in sentences[0]


def agreed(held_out):
    """What a process finds whose part of the images is another."""
    setting = settings.digits_lt()
    data = hold_out(setting.data(Path()), 0.2, seed=rank() if held_out == "differs" else 0)
    try:
        check_agreement(Experiment(recipes.ce(setting), setting, data, 0 if held_out != "seed" else rank()))
    except ValueError as error:
        return str(error)
    return None


def test_processes_with_other_data_or_options_are_named(pair):
    assert pair.run(agreed, "same") == [None, None]
    for held_out, differing in (("differs", "data"), ("seed", "experiment")):
        found, again = pair.run(agreed, held_out)
        assert found == again
        assert found.startswith(f"Process 1 of 2 trains something else than process 0: {differing} ")


def in_turns(folder):
    """Who is in the block while the other one is not; and what the first one found."""
    with first_alone("test"):
        (folder / f"{rank()}").touch()
        seen = sorted(path.name for path in folder.iterdir())
        time.sleep(0.2)
    return seen, first("value", lambda: (rank(), os.getpid())), of_all("ranks", rank())


def test_the_first_process_goes_ahead_and_decides(pair, tmp_path):
    first_seen, then = pair.run(in_turns, tmp_path)
    assert (first_seen[0], then[0]) == (["0"], ["0", "1"])
    assert first_seen[1] == then[1]
    assert first_seen[1][0] == 0
    assert first_seen[2] == then[2] == [0, 1]


@pytest.mark.parametrize(
    ("variables", "place"),
    [
        ({"RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}, Place(3, 8, 1)),
        ({"SLURM_PROCID": "5", "SLURM_STEP_NUM_TASKS": "8", "SLURM_LOCALID": "2"}, Place(5, 8, 2)),
        ({"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1", "SLURM_LOCALID": "0"}, None),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "8"}, None),  # a batch script, of which srun starts the tasks
        ({"RANK": "0", "WORLD_SIZE": "1"}, None),
    ],
)
def test_the_place_is_read_of_the_launcher_s_variables(monkeypatch, variables, place):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert own_place() == place


@pytest.mark.parametrize(
    ("nodes", "host"), [("gpu1", "gpu1"), ("gpu[03-05,9]", "gpu03"), ("a7,b[1-2]", "a7"), ("c[12,14]", "c12")]
)
def test_the_first_host_of_a_list_without_scontrol(monkeypatch, nodes, host):
    monkeypatch.setenv("PATH", "")
    assert first_host(nodes) == host


@pytest.mark.parametrize("given", ["0", "-1", "soon", "nan", "inf"])
def test_a_time_that_is_none(monkeypatch, given):
    monkeypatch.setenv("LONGTAIL_TIMEOUT", given)
    with pytest.raises(ValueError, match=f"LONGTAIL_TIMEOUT is a number of minutes above 0 and below a year; got '{given}'"):
        minutes()


def test_devices_from_python_are_refused():
    with pytest.raises(ValueError, match="start the program by torchrun"):
        longtail.train("digits_lt", method="ce", devices=2)
