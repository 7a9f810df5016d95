"""Images that do not fit into memory are read once: later, files with the same size, time and place are known by their hash."""

import os
import time

import pytest

from commands import paint
from longtail.data import folder
from longtail.data.folder import folder_data
from longtail.data.splits import fingerprint
from longtail.runs.seen import SeenFiles


@pytest.fixture
def photos(tmp_path, monkeypatch):
    monkeypatch.setattr(folder, "MEMORY_LIMIT", 0)
    monkeypatch.setattr(folder, "SAMPLE", 2)
    root = paint(tmp_path / "photos", {"apple": 8, "berry": 6})
    aged(*root.rglob("*.png"))
    monkeypatch.setattr("longtail.runs.seen.RACY", -1)
    return root


def aged(*paths):
    for path in paths:
        os.utime(path, (time.time() - 100,) * 2)


def read(root, tmp_path):
    """The data, and the number of files that were decoded."""
    seen, decoded = SeenFiles(tmp_path / "seen.csv"), []
    data = folder_data(root, size=6, seen=seen, watch=lambda done, total: decoded.append(done))
    seen.save()
    return data, len(decoded)


def test_files_are_read_once(photos, tmp_path):
    first, decoded = read(photos, tmp_path)
    again, decoded_again = read(photos, tmp_path)
    sample = len(first.train.files[:: len(first.train) // 2])
    assert (decoded, decoded_again) == (14, sample)
    assert fingerprint(first) == fingerprint(again)
    assert first.train.digests == again.train.digests


def test_a_file_that_changed_is_read_again(photos, tmp_path):
    first, _ = read(photos, tmp_path)
    other = photos / first.test.files[0]
    content = bytearray(other.read_bytes())
    content[-30] ^= 1
    paint(photos, {"apple": 1}, seed=9)
    changed, decoded = read(photos, tmp_path)
    assert decoded > 0
    assert changed.test.digests != first.test.digests or changed.train.digests != first.train.digests
    assert fingerprint(changed) != fingerprint(first)


def test_a_file_of_this_moment_is_not_remembered(photos, tmp_path, monkeypatch):
    monkeypatch.setattr("longtail.runs.seen.RACY", 10**12)
    assert read(photos, tmp_path)[1] == 14
    assert read(photos, tmp_path)[1] == 14


@pytest.mark.parametrize(
    "damage", [lambda content: b"", lambda content: content[:100], lambda content: content.replace(b"png", b"pnh")]
)
def test_a_damaged_list_is_not_used(photos, tmp_path, damage):
    first, _ = read(photos, tmp_path)
    (tmp_path / "seen.csv").write_bytes(damage((tmp_path / "seen.csv").read_bytes()))
    again, decoded = read(photos, tmp_path)
    assert decoded == 14
    assert fingerprint(again) == fingerprint(first)
