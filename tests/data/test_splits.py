"""Splits are drawn per class, are repeatable, and are identified by their fingerprint."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from longtail.data.splits import Data, Split, counts_of, fingerprint, hold_out, pixel_statistics, stratified

COUNTS = (30, 10, 3, 2, 1)


def some_split(counts=COUNTS, part="train"):
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    pixels = torch.arange(len(labels), dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 2, 2).contiguous()
    names = tuple(f"{part}/{i}.png" for i in range(len(labels)))
    return Split(names, labels, pixels, digests=tuple(map(str, range(100, 100 + len(labels)))))


def some_data(**changes):
    data = Data(some_split(), some_split((2,) * 5, "test"), tuple("abcde"), 2, (0.5,) * 3, (0.25,) * 3)
    return replace(data, **changes)


def test_counts():
    assert counts_of(np.array([0, 2, 2]), 4) == [1, 0, 2, 0]
    assert some_data().class_counts == list(COUNTS)


def test_take_keeps_everything_together():
    split = some_split()
    part = split.take([7, 3, 3])
    assert len(part) == 3
    assert part.files == ("train/7.png", "train/3.png", "train/3.png")
    assert part.labels.tolist() == split.labels[[7, 3, 3]].tolist()
    assert part.pixels[:, 0, 0, 0].tolist() == [7, 3, 3]
    assert part.digests == ("107", "103", "103")
    assert replace(split, pixels=None, digests=()).take(np.array([1])).pixels is None


def test_splits_by_name():
    data = some_data()
    assert list(data.splits) == ["train", "test"]
    assert list(replace(data, val=data.test).splits) == ["train", "val", "test"]


@pytest.mark.parametrize("share", [0.1, 0.2, 0.5, 0.9, 1.0])
def test_stratified_takes_a_share_of_each_class_and_never_all(share):
    labels = some_split().labels
    chosen = stratified(labels, 5, share, seed=0, at_least_one_of=2)
    assert np.array_equal(chosen, np.unique(chosen))
    for label, count in enumerate(COUNTS):
        expected = 0 if count == 1 else min(max(round(share * count), 1), count - 1)
        assert (labels[chosen] == label).sum() == expected


def test_stratified_depends_on_its_seed():
    labels = some_split().labels
    once, again, other = (stratified(labels, 5, 0.3, seed=seed, at_least_one_of=2) for seed in (0, 0, 1))
    assert np.array_equal(once, again)
    assert not np.array_equal(once, other)


def test_stratified_passes_over_classes_without_images():
    assert stratified(np.array([0, 0, 2, 2]), 4, 0.5, seed=0, at_least_one_of=2).shape == (2,)


def test_hold_out_moves_images_out_of_train():
    data = some_data()
    held = hold_out(data, 0.2, seed=0)
    assert counts_of(held.val.labels, 5) == [6, 2, 1, 0, 0]
    assert held.class_counts == [24, 8, 2, 2, 1]
    assert sorted((*held.train.files, *held.val.files)) == sorted(data.train.files)
    assert held.test is data.test
    assert {file: int(p[0, 0, 0]) for file, p in zip(held.val.files, held.val.pixels, strict=True)} == {
        file: int(file[6:-4]) for file in held.val.files
    }


def test_hold_out_leaves_a_validation_split_alone():
    data = some_data(val=some_split((1,) * 5, "val"))
    assert hold_out(data, 0.2, seed=0) is data
    assert hold_out(some_data(), 0, seed=0).val is None


@pytest.mark.parametrize("share", [-0.1, 1, 20])
def test_hold_out_refuses_what_is_no_share(share):
    with pytest.raises(ValueError, match="must lie between 0 and 1; got"):
        hold_out(some_data(), share, seed=0)


def test_fingerprint_is_of_names_labels_and_content():
    data = some_data()
    train = data.train
    changes = [
        {"train": replace(train, labels=np.roll(train.labels, 1))},
        {"train": replace(train, files=("other.png", *train.files[1:]))},
        {"train": replace(train, digests=("1", *train.digests[1:]))},
        {"train": train.take(range(len(train) - 1))},
        {"train": data.test, "test": data.train},
        {"classes": tuple("abcdf")},
        {"size": 4},
        {"val": data.test},
    ]
    prints = [fingerprint(some_data(**change)) for change in ({}, *changes)]
    assert len(set(prints)) == len(prints)
    assert fingerprint(some_data(mean=(0.1,) * 3)) == prints[0]
    assert fingerprint(some_data(train=replace(train, pixels=None))) == prints[0]


def test_without_files_the_content_is_the_pixels():
    train = replace(some_split(), digests=())
    other = train.pixels.clone()
    other[0, 0, 0, 0] += 1
    assert fingerprint(some_data(train=replace(train, pixels=other))) != fingerprint(some_data(train=train))


def test_one_changed_label_changes_the_fingerprint():
    labels = some_split().labels.copy()
    labels[0] = (labels[0] + 1) % 5
    assert fingerprint(some_data(train=replace(some_split(), labels=labels))) != fingerprint(some_data())


@pytest.mark.parametrize(("low", "high", "shape"), [(0, 256, (20, 3, 5, 4)), (250, 256, (1, 3, 300, 400)), (0, 2, (7, 3, 1, 1))])
def test_pixel_statistics_are_exact(low, high, shape):
    pixels = torch.from_numpy(np.random.default_rng(0).integers(low, high, shape, dtype=np.uint8))
    mean, std = pixel_statistics(pixels)
    flat = pixels.numpy().astype(np.float64).transpose(1, 0, 2, 3).reshape(3, -1) / 255
    assert mean == tuple(round(value, 4) for value in flat.mean(1).tolist())
    assert std == tuple(max(round(value, 4), round(1 / 255, 4)) for value in flat.std(1).tolist())


def test_pixel_statistics_of_one_colour_do_not_divide_by_zero():
    mean, std = pixel_statistics(torch.full((4, 3, 2, 2), 51, dtype=torch.uint8))
    assert mean == (0.2, 0.2, 0.2)
    assert min(std) > 0
