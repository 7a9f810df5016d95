"""Digits: real images that need no download, with a long-tailed training set."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from longtail.data.digits import digits_lt
from longtail.data.imbalance import exponential_counts
from longtail.data.splits import fingerprint, pixel_statistics


def test_the_usual_tail():
    data = digits_lt()
    assert data.classes == tuple("0123456789")
    assert data.class_counts == [8, 78, 3, 122, 51, 33, 21, 5, 2, 13]
    assert sorted(data.class_counts, reverse=True) == exponential_counts(10, 122, 50)
    assert len(data.test) == 599
    assert (data.size, data.train.pixels.shape[1:], data.train.pixels.dtype) == (8, (3, 8, 8), torch.uint8)
    assert (data.mean, data.std) == pixel_statistics(data.train.pixels)


def test_a_third_of_each_class_is_for_test_whatever_the_tail():
    whole, tailed = digits_lt(imbalance=None), digits_lt()
    assert len(whole.train) + len(whole.test) == 1797
    assert tailed.test.files == whole.test.files
    assert set(tailed.train.files) < set(whole.train.files)
    assert not set(whole.train.files) & set(whole.test.files)
    images = np.bincount(load_digits().target)
    assert np.bincount(whole.test.labels).tolist() == [round(int(count) / 3) for count in images]


def test_pixels_belong_to_their_labels():
    bundle, data = load_digits(), digits_lt()
    indices = [int(file.removeprefix("digits/")) for file in data.train.files]
    assert np.array_equal(bundle.target[indices], data.train.labels)
    expected = (bundle.images[indices] * 255 / 16).round()
    assert all(np.array_equal(data.train.pixels[:, channel].numpy(), expected) for channel in range(3))


def test_split_and_cut_depend_on_the_split_seed_alone():
    once, again, other = (digits_lt(split_seed=seed) for seed in (0, 0, 1))
    assert fingerprint(once) == fingerprint(again) != fingerprint(other)


def test_a_tail_that_the_digits_do_not_allow():
    with pytest.raises(ValueError, match="An imbalance of 100 needs at least 200 images in the largest class"):
        digits_lt(imbalance=100)
