"""One process at a time writes a run folder; the system frees a lock when its process ends, however it ends."""

import errno
import os
import re
import signal
import subprocess
import sys
import threading
import time

import pytest
from filelock import FileLock

from longtail.errors import InUse, UnwritableFile
from longtail.runs.files import sweep_dead
from longtail.runs.locks import is_held
from longtail.runs.run import Run
from longtail.runs.settled import settled

HOLDER = """
import sys, time
from pathlib import Path
from longtail.runs.folder import RunFolder
with RunFolder(Path(sys.argv[1])).locked():
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", HOLDER, tmp_path / "run"], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_who_comes_second_is_told_who_holds_the_folder(tmp_path, holder):
    with pytest.raises(InUse) as error, Run(tmp_path / "run").locked():
        pass
    host, since = re.escape(os.uname().nodename), r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d\d:\d\d"
    assert re.fullmatch(
        rf"'.*/run' is in use by process {holder.pid} on {host}, since {since}\. Wait until that ends, stop it, or choose "
        rf"another folder with `runs=DIR`\.",
        str(error.value),
    )


def test_the_lock_of_a_dead_process_is_free(tmp_path, holder):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with Run(tmp_path / "run").locked():
        assert f'"pid": {os.getpid()}' in (tmp_path / "run" / ".lock").read_text()
    assert {path.name: path.read_text() for path in (tmp_path / "run").iterdir()} == {".lock": ""}


def test_a_lock_is_held_while_its_process_lives(tmp_path, holder):
    path = tmp_path / "run" / ".lock"
    assert (is_held(path), is_held(tmp_path / "other")) == (True, False)
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert not is_held(path)
    assert not (tmp_path / "other").exists()


def test_of_two_that_need_a_measured_choice_one_measures(tmp_path):
    """The second one comes while the first one measures, and takes what that found."""
    began, go_on, found = threading.Event(), threading.Event(), []

    def measure():
        began.set()
        assert go_on.wait(30)
        return "slow"

    def ask(choose):
        found.append(settled(tmp_path, "photos", "key", ("slow", "fast"), choose))

    threads = [threading.Thread(target=ask, args=(choose,)) for choose in (measure, lambda: "fast")]
    threads[0].start()
    assert began.wait(30)
    threads[1].start()
    threads[1].join(0.3)
    assert threads[1].is_alive()
    go_on.set()
    for thread in threads:
        thread.join(30)
    assert found == ["slow", "slow"]


def test_who_needs_a_stage_that_another_one_trains_waits_for_it(tmp_path):
    said, done = [], []
    first, second = (Run(tmp_path / name, shared=tmp_path / "stages", note=said.append) for name in "ab")

    def wait():
        with second.stage_locked("key"):
            done.append(second.load_stage("key"))

    with first.stage_locked("key"):
        thread = threading.Thread(target=wait)
        thread.start()
        time.sleep(2.5)
        first.save_stage("key", {"history": []})
        assert done == []
    thread.join(10)
    assert done == [{"key": "key", "history": []}]
    (sentence,) = said
    assert sentence.startswith(
        f"Waiting for the stage key, which is in use by process {os.getpid()} on {os.uname().nodename}, since "
    )


def test_a_file_system_that_cannot_lock_is_named(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError(errno.ENOLCK, "No locks available")

    said = []
    monkeypatch.setattr(FileLock, "acquire", fail)
    with Run(tmp_path / "run", note=said.append).locked():
        pass
    assert said == [f"The file system of '{tmp_path / 'run'}' cannot lock files: take care that no second process writes there."]


def test_a_lock_of_somebody_else_is_no_lock_of_ours(tmp_path, monkeypatch):
    """A folder in which nobody may write needs no lock; where we may write, a lock that we may not take is an error."""

    def fail(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(FileLock, "acquire", fail)
    with (
        pytest.raises(UnwritableFile, match=r"run/\.lock' cannot be written \(Permission denied\)"),
        Run(tmp_path / "run").locked(),
    ):
        pass
    monkeypatch.setattr(os, "access", lambda *_: False)
    with Run(tmp_path / "run").locked():
        pass


def test_a_folder_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "run").touch()
    with pytest.raises(UnwritableFile, match=r"run/\.lock' cannot be written"), Run(tmp_path / "run").locked():
        pass


def test_half_written_files_are_swept_under_the_lock_alone(tmp_path):
    run = Run(tmp_path / "run", shared=tmp_path / "stages")
    for name in ("run/.state.pt.x.1.a.partial", "run/model/.config.json.x.1.b.partial", "stages/.key.pt.x.1.c.partial"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    run.save_stage("key", {})
    assert len(list(tmp_path.rglob("*.partial"))) == 3
    with run.locked(), run.stage_locked("key"):
        run.open({"experiment": "a"})
    assert list(tmp_path.rglob("*.partial")) == []


def test_files_written_without_a_lock_are_swept_when_their_process_is_dead(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    host = os.uname().nodename
    names = [f".a.csv.{host}.{pid}.abcd.partial" for pid in (dead.pid, os.getpid(), 1)] + [f".a.csv.other.{dead.pid}.ab.partial"]
    for name in names:
        (tmp_path / name).touch()
    sweep_dead(tmp_path / "a.csv")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names[1:])


ORPHANED = """
import multiprocessing, sys, time
from pathlib import Path
from longtail.runs.folder import RunFolder
with RunFolder(Path(sys.argv[1])).locked():
    multiprocessing.get_context("fork").Process(target=time.sleep, args=(3,)).start()
    print("held", flush=True)
    time.sleep(60)
"""


def test_the_lock_is_waited_for_while_children_of_a_dead_process_end(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", ORPHANED, tmp_path / "run"], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    process.kill()
    process.wait()
    process.stdout.close()
    with Run(tmp_path / "run").locked():
        pass
