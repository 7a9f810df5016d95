"""A data set that is long-tailed by nature: what inspection finds in it, and how it is split."""

import os
from pathlib import Path

import numpy as np
import pytest

from longtail.data.folder import folder_data
from longtail.data.inspection import inspect

ROOT = Path(os.environ.get("LONGTAIL_DATA", "data")) / "plankton"
pytestmark = pytest.mark.skipif(
    not ROOT.is_dir(),
    reason="PlanktonSet 1.0 (the training images of the National Data Science Bowl) is not at $LONGTAIL_DATA/plankton",
)


@pytest.fixture(scope="module")
def found():
    return inspect(ROOT)


@pytest.fixture(scope="module")
def data():
    return folder_data(ROOT, size=32)


def test_counts_and_groups(found):
    assert (sum(found.counts.values()), len(found.counts)) == (30336, 121)
    assert found.imbalance == pytest.approx(219.9, abs=0.05)
    assert [found.groups[name].classes for name in ("many", "medium", "few")] == [66, 43, 12]


def test_sizes_and_modes(found):
    assert (found.width.smallest, found.width.median, found.width.largest, found.height.median) == (31, 56, 424, 53)
    assert found.modes == {"RGB": 30336}
    assert not found.corrupt


def test_the_two_identical_files_with_different_labels(found):
    assert found.conflicts == (("chaetognath_non_sagitta/14864.jpg", "chaetognath_other/271.jpg"),)


def test_every_class_is_in_both_splits(data):
    for split in (data.train, data.test):
        assert np.bincount(split.labels, minlength=121).min() >= 1
    assert len(data.train) + len(data.test) == 30336


def test_pixels_are_in_memory_and_bright(data):
    assert data.train.pixels.shape == (len(data.train), 3, 32, 32)
    assert min(data.mean) > 0.8
