"""A file is written whole or not at all, and what the system refuses is said with its path."""

import errno
import os
from pathlib import Path

import pytest
from test_runs import failing

from longtail.errors import UnreadableFile, UnwritableFile
from longtail.runs.files import csv_text, read_bytes, sweep, write_bytes, write_text


def test_a_file_is_written_with_its_folders(tmp_path):
    path = write_bytes(tmp_path / "a" / "b" / "c.bin", b"\x00\xff")
    assert path.read_bytes() == b"\x00\xff"
    assert os.listdir(path.parent) == ["c.bin"]


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_the_umask_of_the_user_holds(tmp_path, umask):
    former = os.umask(umask)
    try:
        path = write_bytes(tmp_path / "a.bin", b"")
    finally:
        os.umask(former)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask


@pytest.mark.parametrize("broken", ["replace", "fsync", "open"])
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch, broken, code):
    path = write_text(tmp_path / "a.txt", "old")
    monkeypatch.setattr(os, broken, failing(code))
    with pytest.raises(OSError, match="disk is full" if code != errno.EIO else "Input/output error"):
        write_text(path, "new")
    monkeypatch.undo()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (errno.EIO, "Input/output error). The disk or the connection to it fails"),
        (errno.ESTALE, "Stale file handle). The network drive"),
        (errno.EROFS, "Read-only file system). The disk is mounted read-only"),
        (errno.EACCES, "Permission denied). Allow this user to write it"),
        (errno.EMFILE, "Too many open files). Check the disk"),
    ],
)
def test_what_the_system_refuses_is_said_with_the_path(tmp_path, monkeypatch, code, said):
    monkeypatch.setattr(os, "fsync", failing(code))
    with pytest.raises(UnwritableFile) as error:
        write_text(tmp_path / "a.txt", "new")
    assert str(error.value).startswith(f"'{tmp_path / 'a.txt'}' cannot be written ({said}")
    monkeypatch.setattr(Path, "read_bytes", failing(code))
    with pytest.raises(UnreadableFile, match=r"a\.txt' cannot be read \("):
        read_bytes(tmp_path / "a.txt")


def test_the_folder_is_flushed_after_the_rename(tmp_path, monkeypatch):
    done, fsync, replace = [], os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (done.append(os.readlink(f"/proc/self/fd/{handle}")), fsync(handle))[1])
    monkeypatch.setattr(os, "replace", lambda *paths: (done.append("rename"), replace(*paths))[1])
    write_text(tmp_path / "a.txt", "new")
    assert [Path(each).suffix or each for each in done] == [".partial", "rename", str(tmp_path)]


def test_only_half_written_files_of_that_name_are_swept(tmp_path):
    for name in (".state.pt.1a2b.partial", ".other.3c4d.partial", "kept.partial", ".lock"):
        (tmp_path / name).touch()
    sweep(tmp_path, "state.pt")
    assert sorted(os.listdir(tmp_path)) == [".lock", ".other.3c4d.partial", "kept.partial"]
    sweep(tmp_path)
    assert sorted(os.listdir(tmp_path)) == [".lock", "kept.partial"]


def test_an_interruption_while_writing_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_text(tmp_path / "a.txt", "new")
    assert os.listdir(tmp_path) == []


def test_csv(tmp_path):
    path = write_text(tmp_path / "a.csv", csv_text(("path", "label"), [("a,b.png", 1), ('"q".png', 2), ("ä.png", 3)]))
    assert path.read_text(encoding="utf-8") == 'path,label\n"a,b.png",1\n"""q"".png",2\nä.png,3\n'


def test_a_file_name_that_is_not_utf_8_keeps_its_bytes(tmp_path):
    name = os.fsdecode(b"caf\xe9.png")
    assert b"caf\xe9.png" in write_text(tmp_path / "a.csv", csv_text(("path",), [(name,)])).read_bytes()
