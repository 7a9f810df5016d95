"""A process ends with its parent, is told what it needs, and loads no library before it is watched."""

import multiprocessing
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest

from longtail.processes import end_with_parent

START = """
import os, signal, sys, threading
from multiprocessing import get_context
from longtail.processes import spawned

def run(connection, what):
    connection.send((os.getpid(), what, signal.getsignal(signal.SIGINT) == signal.SIG_IGN, "torch" in sys.modules))
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()

if __name__ == "__main__":
    context = get_context("spawn")
    mine, theirs = context.Pipe()
    spawned(context, run, theirs, {"epochs": 3}).start()
    theirs.close()
    print(mine.recv()[1:], flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
def test_a_process_ends_with_its_parent(tmp_path):
    """The call returns when both have closed their output: at once, although the one that is left waits for ever."""
    (tmp_path / "start.py").write_text(START)
    done = subprocess.run([sys.executable, tmp_path / "start.py"], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (-9, "({'epochs': 3}, True, False)\n", "")


def test_an_error_outside_the_main_thread_is_shown_after_the_parent_may_have_ended_this_process(monkeypatch):
    happened, error = [], ConnectionResetError("broken")
    for_ever = SimpleNamespace(join=threading.Event().wait)
    monkeypatch.setattr(multiprocessing, "parent_process", lambda: for_ever)
    monkeypatch.setattr(sys, "excepthook", lambda *shown: happened.append(shown))
    monkeypatch.setattr(time, "sleep", happened.append)
    end_with_parent()
    sys.excepthook(type(error), error, None)
    assert happened == [1, (ConnectionResetError, error, None)]
