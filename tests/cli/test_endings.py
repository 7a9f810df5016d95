"""How a command ends where the disk is full, where it is interrupted, and where the program itself is at fault."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from small_runs import contents, train

from commands import longtail


@pytest.mark.parametrize("survived", [0, 3, 7])
def test_a_full_disk_loses_nothing_and_the_same_command_continues(survived, photos, finished, tmp_path, monkeypatch):
    writes, flush = [], os.fsync

    def until_full(handle):
        writes.append(handle)
        if len(writes) > survived:
            raise OSError(errno.ENOSPC, "No space left on device")
        flush(handle)

    before = contents(finished)
    command = (photos, finished.parents[2], "--seed", survived + 1, "--epochs", 3)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", until_full)
        assert "The disk is full: '" in train(*command).sentence
    assert len(writes) == survived + 1
    assert contents(finished) == before
    assert not list(finished.parents[2].rglob(".*.partial")), "no temporary file is left"
    continued = json.loads((Path(train(*command).folder) / "report.json").read_text())
    whole = json.loads((Path(train(*command, "--runs", tmp_path).folder) / "report.json").read_text())
    assert continued["test"] == whole["test"]


def test_a_disk_that_is_really_full(photos, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=160k", "tmpfs", str(small)]
    try:
        mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount here")
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    try:
        assert "The disk is full: '" in train(photos, small / "runs").sentence
        assert list(small.rglob("record.json"))
        assert not list(small.rglob(".*.partial"))
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_an_unforeseen_error_keeps_its_traceback(monkeypatch):
    def broken(*_, **__):
        return int("x" * 3) if json.loads("[") else None

    monkeypatch.setattr("longtail.cli.look.run_doctor", broken)
    with pytest.raises(json.JSONDecodeError):
        longtail("doctor")


def test_debug_shows_the_traceback_of_a_mistake(monkeypatch):
    monkeypatch.setenv("LONGTAIL_DEBUG", "1")
    with pytest.raises(ValueError, match="There is no list 'x'"):
        longtail("list", "x")


def test_interrupted_with_a_sentence(monkeypatch):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr("longtail.cli.look.run_doctor", interrupted)
    said = longtail("doctor")
    assert said.code == 130
    assert said.err == "Interrupted. What has been stored is kept; the same command goes on from there.\n"


def test_a_real_process_ends_in_the_same_way(tmp_path):
    program = "from longtail.cli import main; main()"
    ran = subprocess.run(
        [sys.executable, "-c", program, "train", str(tmp_path)], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert (ran.returncode, ran.stdout, ran.stderr.count("\n")) == (2, "", 1)
    assert ran.stderr.startswith(f"'{tmp_path}' has no images. Expected one folder per class")
    assert not list(tmp_path.iterdir())
