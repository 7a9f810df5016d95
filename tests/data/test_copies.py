"""Held-out copies of training images, and copies with two labels, are counted and said before anything is trained."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from commands import longtail, paint
from longtail.data.copies import said_of_copies, said_of_two_labels
from longtail.data.splits import Data, Split


def split_of(*digests):
    return Split(tuple(map(str, range(len(digests)))), np.zeros(len(digests), dtype=np.int64), digests=digests)


def data_of(train, test, val=None):
    return Data(split_of(*train), split_of(*test), ("a", "b"), 8, (0.5,) * 3, (0.5,) * 3, None if val is None else split_of(*val))


@pytest.mark.parametrize(
    ("data", "beginning"),
    [
        (data_of(["x", "y", "z"], ["u", "y"]), "1 of 2 test images is a copy of a training image, so results look better"),
        (data_of(["x", "x"], ["x", "x", "y"]), "2 of 3 test images are copies of training images, so"),
        (data_of(["x"], ["x"], ["x", "v"]), "1 of 2 validation images and 1 of 1 test image are copies of training images, so"),
        (data_of(["x", "y"], ["u", "u"], ["v"]), ""),
        (data_of(["", ""], ["", ""]), ""),
        (data_of([], []), ""),
    ],
)
def test_copies_are_counted_by_content(data, beginning):
    said = said_of_copies(data, "my photos")
    assert said.startswith(beginning)
    assert bool(beginning) == ("`longtail inspect 'my photos'` finds them; keep one file of each." in said)


def labelled(split, *labels):
    return replace(split, labels=np.array(labels))


def test_contents_with_two_labels_are_counted_once_each():
    data = data_of(["x", "y", "x", "x", "y", ""], ["y", "", "z"], ["z"])
    train, test, val = (data.train, 0, 1, 1, 0, 1, 0), (data.test, 0, 1, 1), (data.val, 0)
    of_two = replace(data, train=labelled(*train), test=labelled(*test), val=labelled(*val))
    assert said_of_two_labels(data, "photos") == "", "all have one label"
    assert said_of_two_labels(of_two, "my photos") == (
        "3 images lie in two classes or more, byte for byte (first '0' and '2'): keep the file with the right label of each. "
        "`longtail inspect 'my photos'` lists them."
    )


@pytest.mark.slow
def test_train_says_so(tmp_path):
    photos = paint(tmp_path / "photos" / "train", {"apple": 4, "berry": 3}).parent
    paint(photos / "test", {"apple": 2, "berry": 2}, seed=1)
    shutil.copy(photos / "train/apple/000.png", photos / "test/berry/copy.png")
    how = ("--method", "ce", "--epochs", 1, "--size", 8, "--backbone", "resnet8", "--device", "cpu", "--no-report")
    found = longtail("train", photos, *how, "--runs", tmp_path / "runs")
    assert found.code == 0, found.err
    assert "1 of 5 test images is a copy of a training image" in found.text + found.err
    assert "1 image lies in two classes or more" in found.text + found.err
