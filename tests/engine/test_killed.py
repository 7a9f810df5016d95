"""A command that is killed and started again ends with the same bits as one that was not interrupted."""

import os
import signal
import subprocess
import sys
import time

from digits_runs import equal, log_of
from safetensors.torch import load_file

from longtail.workflow import train as workflow

COMMAND = [
    sys.executable,
    "-c",
    "from longtail.cli import main; main()",
    "train",
    "digits_lt",
    "--method",
    "gcl",
    "--epochs",
    "8",
]
COMMAND += ["--set", "stages.1.epochs=8", "--device", "cpu", "--precision", "32-true", "--runs"]


def killed_in(runs, index):
    """Starts the command, kills it once two epochs of a stage are in the log, and says which stages the log knows."""
    process = subprocess.Popen([*COMMAND, str(runs)], stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})
    deadline = time.monotonic() + 120
    while process.poll() is None and stages_logged(runs).count(index) < 2 and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    return process.wait(), stages_logged(runs)


def stages_logged(runs):
    return [entry["stage"] for folder in runs.glob("digits_lt/gcl/*") for entry in log_of(folder)]


def test_a_killed_command_given_again_ends_in_the_same_bits(tmp_path):
    for index in (0, 1):
        code, logged = killed_in(tmp_path / "killed", index)
        assert code == -signal.SIGKILL
        assert set(logged) == set(range(index + 1))
        assert 2 <= logged.count(index) < 8
    options = {"method": "gcl", "epochs": 8, "changes": {"stages.1.epochs": 8}, "device": "cpu", "precision": "32-true"}
    continued, whole = (workflow.train("digits_lt", runs=tmp_path / name, **options) for name in ("killed", "whole"))
    assert continued.folder.name == whole.folder.name
    assert equal(*(load_file(result.folder / "model" / "model.safetensors") for result in (continued, whole)))
