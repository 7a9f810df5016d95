"""Inspection: every problem that would spoil training is found and reported, and inspection continues past broken files."""

import errno
import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from longtail.data.inspection import Group, Range, inspect
from longtail.data.opening import FORMATS, registered
from longtail.errors import BadFolder


def paint(root, counts, *, size=(6, 8), first=0):
    """Real images below root/name, all different."""
    for name, count in counts.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for i in range(first, first + count):
            seed = (*name.encode(), i)
            pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{i:03}.png")
    return root


def copy(root, source, target):
    (root / target).parent.mkdir(parents=True, exist_ok=True)
    (root / target).write_bytes((root / source).read_bytes())


def only_warning(found):
    (sentence,) = found.warnings
    return sentence


def test_a_sound_folder(tmp_path):
    found = inspect(paint(tmp_path, {"many": 101, "medium": 20, "few": 2}, size=(3, 4)))
    assert found.counts == {"few": 2, "many": 101, "medium": 20}
    assert found.splits == {}
    assert found.imbalance == 101 / 2
    assert found.groups == {"many": Group(1, 101), "medium": Group(1, 20), "few": Group(1, 2)}
    assert (found.width, found.height, found.short_side) == (Range(4, 4, 4), Range(3, 3, 3), 3)
    assert (found.modes, found.formats) == ({"RGB": 123}, {"PNG": 123})
    assert (found.corrupt, found.conflicts, found.leaks, found.duplicates) == ({}, (), (), 0)
    assert (found.missing, found.unknown, found.ignored, found.outside, found.warnings) == ({}, {}, 0, (), ())


def test_sizes_modes_and_formats(tmp_path):
    root = paint(paint(tmp_path, {"a": 2}, size=(10, 30)), {"b": 1}, size=(40, 20))
    Image.fromarray(np.zeros((5, 5), dtype=np.uint16)).save(root / "b" / "deep.png")
    Image.fromarray(np.zeros((7, 9, 4), dtype=np.uint8)).save(root / "b" / "clear.webp")
    Image.fromarray(np.zeros((50, 6), dtype=np.uint8)).convert("P").save(root / "a" / "palette.gif")
    Image.fromarray(np.zeros((8, 8), dtype=np.uint8)).save(root / "a" / "grey.jpg")
    found = inspect(root)
    assert found.width == Range(5, 9, 30)
    assert found.height == Range(5, 10, 50)
    assert found.short_side == 8
    assert found.formats == {"PNG": 4, "GIF": 1, "JPEG": 1, "WEBP": 1}
    assert sum(found.modes.values()) == 7
    assert list(found.modes.values()) == sorted(found.modes.values(), reverse=True)
    assert found.corrupt == {}


def test_corrupt_files_are_reported_and_passed_over(tmp_path):
    root = paint(tmp_path, {"a": 3, "b": 3}, size=(40, 40))
    (root / "a" / "words.jpg").write_text("these are words")
    (root / "b" / "empty.png").write_bytes(b"")
    (root / "b" / "000.png").write_bytes((root / "b" / "000.png").read_bytes()[:2000])
    found = inspect(root)
    assert set(found.corrupt) == {"a/words.jpg", "b/000.png", "b/empty.png"}
    assert found.corrupt["a/words.jpg"] == found.corrupt["b/empty.png"] == "it is no image"
    assert "truncated" in found.corrupt["b/000.png"]
    assert found.formats == {"PNG": 5}
    assert only_warning(found).startswith("3 files cannot be read (first 'a/words.jpg': it is no image). Repair or remove them,")


def test_what_is_no_file_or_cannot_be_read_is_reported_and_passed_over(tmp_path, monkeypatch):
    root = paint(tmp_path, {"a": 3, "b": 3})
    os.mkfifo(root / "a" / "pipe.png")
    (root / "b" / "x.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    read = Path.read_bytes

    def refused(self):
        if self == root / "b" / "001.png":
            raise PermissionError(errno.EACCES, "Permission denied")
        return read(self)

    monkeypatch.setattr(Path, "read_bytes", refused)
    found = inspect(root)
    assert found.corrupt == {
        "a/pipe.png": "it is a pipe",
        "b/x.png": f"it has the format EPS; formats that are read: {', '.join(name for name in FORMATS if name in registered())}",
    }
    assert found.refused == {"b/001.png": "Permission denied"}
    said = "1 file must not be read (first 'b/001.png': Permission denied). Check permissions and the disk: training stops there"
    assert any(warning.startswith(said) for warning in found.warnings)
    assert found.formats == {"PNG": 5}


def test_the_reason_is_that_of_the_file_whatever_its_name(tmp_path):
    root = paint(tmp_path, {"a (1": 3, "b) (2)": 3})
    os.mkfifo(root / "b) (2)" / "pipe (3).png")
    assert inspect(root).corrupt == {"b) (2)/pipe (3).png": "it is a pipe"}


def test_folders_of_runs_are_not_looked_at(tmp_path):
    root = paint(tmp_path, {"a": 3, "b": 3})
    (root / "runs" / "photos" / "ce" / "0-abc").mkdir(parents=True)
    (root / "runs" / "photos" / "ce" / "0-abc" / "record.json").write_text('{"experiment": "ab", "recipe": {}}')
    paint(root / "runs", {"photos": 1})
    found = inspect(root)
    assert (found.counts, found.ignored, found.outside, found.warnings) == ({"a": 3, "b": 3}, 0, (), ())


def test_nothing_can_be_read(tmp_path):
    for name in ("a/1.png", "b/1.png"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("these are words")
    found = inspect(tmp_path)
    assert (found.width, found.height, found.short_side, found.modes) == (None, None, None, {})
    assert len(found.corrupt) == 2


def test_identical_files_with_different_labels(tmp_path):
    root = paint(tmp_path, {"cat": 3, "dog": 3})
    copy(root, "cat/001.png", "dog/copy.png")
    found = inspect(root)
    assert found.conflicts == (("cat/001.png", "dog/copy.png"),)
    assert (found.leaks, found.duplicates) == ((), 0)
    assert "1 group of identical files with different labels (first 'cat/001.png' = 'dog/copy.png')" in only_warning(found)
    assert only_warning(found).endswith("Keep the file with the right label in each group.")


def test_identical_files_in_different_splits(tmp_path):
    root = paint(tmp_path, {f"{split}/{name}": 2 for split in ("train", "val", "test") for name in "ab"})
    copy(root, "train/a/000.png", "test/a/copy.png")
    copy(root, "train/b/000.png", "val/b/copy.png")
    copy(root, "train/b/001.png", "test/a/wrong.png")
    copy(root, "train/b/001.png", "train/b/again.png")
    copy(root, "test/a/001.png", "test/a/again.png")
    found = inspect(root)
    assert {frozenset(group) for group in found.leaks} == {
        frozenset({"train/a/000.png", "test/a/copy.png"}),
        frozenset({"train/b/000.png", "val/b/copy.png"}),
        frozenset({"train/b/001.png", "train/b/again.png", "test/a/wrong.png"}),
    }
    assert len(found.conflicts) == 1
    assert found.duplicates == 1
    assert [sentence.split(" (")[0] for sentence in found.warnings] == [
        "1 group of identical files with different labels",
        "3 groups of identical files in different splits",
        "Further exact copies of other files: 1. Keep one file of each set of copies.",
    ]


def test_further_copies_may_be_split_apart(tmp_path):
    root = paint(tmp_path, {"a": 3, "b": 3})
    for name in ("x", "y"):
        copy(root, "a/000.png", f"a/{name}.png")
    found = inspect(root)
    assert found.duplicates == 2
    assert only_warning(found).startswith("Further exact copies of other files: 2, which may end up in both train and test.")


def test_files_of_one_size_that_differ_are_no_copies(tmp_path):
    for name, value in (("a/1", 1), ("a/2", 2), ("b/1", 3)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((4, 4, 3), value, dtype=np.uint8)).save(tmp_path / f"{name}.bmp")
    found = inspect(tmp_path)
    assert (found.conflicts, found.duplicates) == ((), 0)


def test_splits_are_counted_and_compared(tmp_path):
    root = paint(tmp_path, {"train/a": 4, "train/b": 2, "train/c": 1, "val/a": 1, "test/a": 2, "test/c": 1, "test/Lynx": 1})
    (root / "train" / "empty").mkdir()
    found = inspect(root)
    assert found.counts == {"Lynx": 1, "a": 7, "b": 2, "c": 2}
    assert found.splits == {
        "train": {"Lynx": 0, "a": 4, "b": 2, "c": 1},
        "val": {"Lynx": 0, "a": 1, "b": 0, "c": 0},
        "test": {"Lynx": 1, "a": 2, "b": 0, "c": 1},
    }
    assert (found.imbalance, found.groups["few"]) == (4.0, Group(3, 7))
    assert found.missing == {"val": ("b", "c"), "test": ("b",)}
    assert found.unknown == {"test": ("Lynx",)}
    assert found.empty_classes == ("empty",)
    assert found.warnings == (
        "Class folders without images: empty. Add images, or remove the folders.",
        "val lacks b, c. They cannot be evaluated there: add images, or read the results without them.",
        "test lacks b. It cannot be evaluated there: add images, or read the results without it.",
        "test has Lynx, which train lacks. Rename the folder, or add training images.",
    )


def test_a_split_that_is_missing(tmp_path):
    found = inspect(paint(tmp_path, {"train/a": 2, "train/b": 2}))
    advice = "Add some, or give the folder of train alone, to have 20 % taken for test."
    assert only_warning(found) == f"There are no images for test, only for train. {advice}"
    (tmp_path / "train").rename(tmp_path / "test")
    (tmp_path / "train").mkdir()
    found = inspect(tmp_path)
    assert only_warning(found) == "There are no images for train, only for test. Add some."
    assert (found.unknown, found.imbalance) == ({}, 1.0)


def test_files_that_training_does_not_read(tmp_path):
    root = paint(tmp_path, {"train/a": 2, "train/b": 2, "test/a": 1, "test/b": 1, "more/a": 2, ".ipynb_checkpoints/a": 1})
    (root / "README.md").write_text("words")
    (root / "train" / "a" / "labels.txt").write_text("words")
    found = inspect(root)
    assert found.ignored == 2
    assert found.outside == ("more/a/000.png", "more/a/001.png")
    assert only_warning(found).startswith("2 images in folders that training does not read (more/a/000.png, more/a/001.png)")


@pytest.mark.parametrize(
    ("counts", "sentence"),
    [
        ({"a": 3}, "There is one class only (a). A classifier needs at least two."),
        ({"dev": 3, "Test": 2}, "The classes are called Test, dev. If they are splits, call their folders train, val and test."),
        (
            {"a": 3, "b": 1},
            "Classes with a single image: b. It is used for training, so the class cannot be evaluated: add images.",
        ),
        ({"a": 3, "b": 2, "c": 0}, "Class folders without images: c. Add images, or remove the folders."),
    ],
)
def test_classes_that_cannot_be_trained_or_judged(tmp_path, counts, sentence):
    assert only_warning(inspect(paint(tmp_path, counts))).startswith(sentence)


def test_a_csv(tmp_path):
    root = paint(tmp_path, {"x": 3, "unlisted": 2})
    (root / "list.csv").write_text(
        "path,label,split\nx/000.png,cat,train\nx/001.png,dog,train\nx/002.png,cat,test\nx/gone.png,dog,test\nx/000.png,cat,test\n"
    )
    found = inspect(root / "list.csv")
    assert found.splits == {"train": {"cat": 1, "dog": 1}, "test": {"cat": 2, "dog": 1}}
    assert found.corrupt == {"x/gone.png": "there is no such file"}
    assert found.leaks == (("x/000.png", "x/000.png"),)
    assert (found.ignored, found.outside) == (0, ())


def test_what_cannot_be_inspected(tmp_path):
    with pytest.raises(BadFolder, match="has no images"):
        inspect(tmp_path)
    with pytest.raises(BadFolder, match="does not exist"):
        inspect(tmp_path / "gone")
    (tmp_path / "a").mkdir()
    with pytest.raises(BadFolder, match="has no images"):
        inspect(tmp_path)


def test_progress_ends_with_all_files(tmp_path):
    seen = []
    inspect(paint(tmp_path, {"a": 70, "b": 10}, size=(2, 2)), watch=lambda done, files: seen.append((done, files)))
    assert seen == [(64, 80), (80, 80)]


def test_what_was_found_can_be_written_as_json(tmp_path):
    found = inspect(paint(tmp_path, {"a": 2, "b": 1}))
    stored = json.loads(json.dumps(asdict(found)))
    assert stored["counts"] == {"a": 2, "b": 1}
    assert stored["modes"] == {"RGB": 3}
    assert stored["warnings"] == list(found.warnings)


def test_inspection_does_not_wait_for_torch():
    program = "import sys, longtail.data.inspection; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
