"""NVIDIA's Multi-Process Service (MPS), by which the processes of several runs compute on one GPU at the same time."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

CONTROL, PIPES, LOGS = "nvidia-cuda-mps-control", "CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY"
PATIENCE = 30  # seconds for the server to start, and to end


@contextmanager
def served(note: Callable[[str], None]) -> Iterator[None]:
    """Runs an MPS server for the processes that are started inside the `with` block, and ends it, after an error as well.

    Nothing is started where the driver has no such program, or where a server is running already, which these processes then use.
    Without a server, processes take turns on the GPU.

    Args:
        note: receives a sentence where the server cannot be started.
    """
    program = shutil.which(CONTROL)
    if program is None or _running():
        yield
        return
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, _environment({PIPES: folder, LOGS: folder}):
        problem = _told(program, "-d")
        if problem:
            note(f"The runs take turns on the GPU, since NVIDIA's MPS server cannot be started: {problem}")
        try:
            yield
        finally:
            if not problem:
                _told(program, said="quit\n")


def _running() -> bool:
    """Whether a server listens in the folder that the environment names."""
    with suppress(OSError, ValueError):
        os.kill(int((Path(os.environ.get(PIPES, "/tmp/nvidia-mps")) / f"{CONTROL}.pid").read_text()), 0)
        return True
    return False


def _told(program: str, *words: str, said: str = "") -> str:
    """Runs the control program, and returns what went wrong; "" for nothing."""
    try:
        done = subprocess.run([program, *words], input=said, capture_output=True, text=True, timeout=PATIENCE, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    said_of = (done.stderr or done.stdout).strip()
    return "" if done.returncode == 0 else said_of or f"exit code {done.returncode}"


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    former = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in former.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
