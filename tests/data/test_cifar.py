"""CIFAR-LT: the published counts, and the published images."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from longtail.data.cifar import MEAN, STD, cifar_lt

ROOT = Path(os.environ.get("LONGTAIL_DATA", "data"))
FOLDERS = {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}
COUNTS = {
    "cifar10": "5000 2997 1796 1077 645 387 232 139 83 50",
    "cifar100": """500 477 455 434 415 396 378 361 344 328 314 299 286 273 260 248 237 226 216 206 197 188 179 171 163 156 149
        142 135 129 123 118 112 107 102 98 93 89 85 81 77 74 70 67 64 61 58 56 53 51 48 46 44 42 40 38 36 35
        33 32 30 29 27 26 25 24 23 22 21 20 19 18 17 16 15 15 14 13 13 12 12 11 11 10 10 9 9 8 8 7 7 7 6 6 6 6
        5 5 5 5""",
}
# Ranks within the class, in dataset order, of the images that the LDAM code keeps first.
FIRST = {
    "cifar10": {0: "398 3833 4836 4572 636 2545 1161 2230", 1: "597 332 521 3935 4800 1102 4304 1826",
                9: "2204 3816 2206 2507 1926 4765 368 3808"},
    "cifar100": {0: "90 254 283 445 461 15 316 489", 1: "277 307 436 88 261 57 413 459", 99: "348 153 363 361 299"},
}  # fmt: skip
TOTALS = {"cifar10": {200: 11203, 50: 13996, 10: 20431}, "cifar100": {200: 9502, 50: 12608, 10: 19573}}


@pytest.fixture(scope="module", params=["cifar10", "cifar100"])
def full(request):
    if not (ROOT / FOLDERS[request.param]).is_dir():
        pytest.skip(
            f"The official files of {request.param} are not at '{ROOT / FOLDERS[request.param]}'. Unpack the archive of "
            f"https://www.cs.toronto.edu/~kriz/cifar.html there, or set LONGTAIL_DATA to the folder that has it."
        )
    return request.param, cifar_lt(ROOT, name=request.param, imbalance=None)


def cut(name, full, monkeypatch, **options):
    """cifar_lt without reading the files again."""
    splits = {True: (full.train, full.classes), False: (full.test, full.classes)}
    monkeypatch.setattr("longtail.data.cifar._read", lambda root, name, *, train, download: splits[train])
    return cifar_lt(ROOT, name=name, **options)


def test_the_whole_set(full):
    name, data = full
    each = {"cifar10": 5000, "cifar100": 500}[name]
    assert data.class_counts == [each] * len(data.classes)
    assert np.bincount(data.test.labels).tolist() == [each // 5] * len(data.classes)
    assert data.train.pixels.shape == (50000, 3, 32, 32)
    assert data.test.pixels.dtype == torch.uint8
    assert data.classes[0] == {"cifar10": "airplane", "cifar100": "apple"}[name]
    assert (data.mean, data.std, data.size, data.val) == (MEAN, STD, 32, None)


def test_the_published_counts(full, monkeypatch):
    name, whole = full
    data = cut(name, whole, monkeypatch)
    assert data.class_counts == [int(count) for count in COUNTS[name].split()]
    assert len(data.train) == {"cifar10": 12406, "cifar100": 10847}[name]
    assert len(data.test) == 10000


def test_the_published_totals_of_other_imbalances(full, monkeypatch):
    name, whole = full
    for imbalance, total in TOTALS[name].items():
        assert len(cut(name, whole, monkeypatch, imbalance=imbalance).train) == total


def test_the_published_images(full, monkeypatch):
    name, whole = full
    data = cut(name, whole, monkeypatch)
    for label, printed in FIRST[name].items():
        ranks = [int(rank) for rank in printed.split()]
        expected = np.flatnonzero(whole.train.labels == label)[ranks]
        kept = np.flatnonzero(data.train.labels == label)[: len(ranks)]
        assert [data.train.files[i] for i in kept] == [f"train/{i}" for i in expected]
        assert torch.equal(data.train.pixels[kept], whole.train.pixels[expected])


def test_a_smaller_tail_lies_inside_a_larger_one(full, monkeypatch):
    name, whole = full
    steep, flat = (cut(name, whole, monkeypatch, imbalance=imbalance) for imbalance in (100, 10))
    assert set(steep.train.files) < set(flat.train.files)


def test_another_split_seed_takes_other_images(full, monkeypatch):
    name, whole = full
    usual, other = (cut(name, whole, monkeypatch, split_seed=seed) for seed in (0, 1))
    assert usual.class_counts == other.class_counts
    assert usual.train.files != other.train.files


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_missing_files_are_named_with_the_way_to_get_them(tmp_path, name):
    with pytest.raises(FileNotFoundError, match=rf"are not below '.*' \({FOLDERS[name]}/\)\. Give their folder with `root=DIR`"):
        cifar_lt(tmp_path, name=name)
