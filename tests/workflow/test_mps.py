"""NVIDIA's MPS server is started for several processes on a GPU and ended after them; a stand-in notes what it is told."""

import os

import pytest

from longtail.workflow import mps, parallel
from longtail.workflow.request import Request
from longtail.workflow.watcher import Silent
from longtail.workflow.workers import Work

STAND_IN = """#!/bin/sh
echo "$1$(cat) in $CUDA_MPS_PIPE_DIRECTORY" >> {log}
{rest}
"""


class Server:
    """A stand-in for the control program, first on PATH, and what it was told."""

    def __init__(self, folder, monkeypatch):
        self.log, self.program, self.notes = folder / "log", folder / mps.CONTROL, []
        self.behave("exit 0")
        monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
        monkeypatch.setenv(mps.PIPES, str(folder / "nobody"))

    def behave(self, rest):
        self.program.write_text(STAND_IN.format(log=self.log, rest=rest))
        self.program.chmod(0o755)

    @property
    def told(self):
        return [line.split(" in ") for line in self.log.read_text().splitlines()] if self.log.exists() else []


@pytest.fixture
def server(tmp_path, monkeypatch):
    return Server(tmp_path, monkeypatch)


def test_the_server_runs_inside_the_block_and_ends_with_it(server):
    before = os.environ[mps.PIPES]
    with mps.served(server.notes.append):
        inside = os.environ[mps.PIPES]
        assert server.told == [["-d", inside]]
        assert inside != before
    assert server.told == [["-d", inside], ["quit", inside]]
    assert (os.environ[mps.PIPES], mps.LOGS in os.environ, server.notes) == (before, False, [])
    assert not os.path.exists(inside)


def test_the_server_ends_after_an_error(server):
    with pytest.raises(ZeroDivisionError), mps.served(server.notes.append):
        raise ZeroDivisionError
    assert [word for word, _ in server.told] == ["-d", "quit"]


def test_a_server_that_runs_already_is_used_and_left(server, tmp_path, monkeypatch):
    monkeypatch.setenv(mps.PIPES, str(tmp_path))
    (tmp_path / f"{mps.CONTROL}.pid").write_text(f"{os.getpid()}\n")
    with mps.served(server.notes.append):
        assert os.environ[mps.PIPES] == str(tmp_path)
    assert server.told == []


def test_what_keeps_the_server_from_starting_is_said_and_ends_nothing(server):
    server.behave("echo 'no permission' >&2; exit 1")
    with mps.served(server.notes.append):
        pass
    (said,) = server.notes
    assert "take turns" in said
    assert "no permission" in said
    assert len(server.told) == 1


def test_without_the_program_nothing_happens(server, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with mps.served(server.notes.append):
        pass
    assert (server.told, server.notes) == ([], [])


class Failing:
    def __init__(self, context, work):
        raise ZeroDivisionError


@pytest.mark.parametrize(("device", "told"), [("cuda", ["-d", "quit"]), ("cpu", [])])
def test_runs_at_once_have_a_server_on_a_gpu_alone(server, monkeypatch, device, told):
    monkeypatch.setattr(parallel, "chosen_device", lambda asked: device)
    monkeypatch.setattr(parallel, "Worker", Failing)
    with pytest.raises(ZeroDivisionError):
        parallel.in_processes([Request("digits_lt", "ce")], Work(1), Silent(), 2)
    assert [word for word, _ in server.told] == told
