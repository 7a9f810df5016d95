"""The published profiles, totals and image choices of CIFAR-10-LT and CIFAR-100-LT, and cuts of other data."""

from collections import Counter

import numpy as np
import pytest
import torch

from longtail.data.groups import group_of_each, shot_groups
from longtail.data.imbalance import cut_counts, exponential_counts, imbalance_factor, long_tailed_subset, step_counts
from longtail.errors import UserError

CIFAR10 = {
    200: (11203, "5000 2775 1540 854 474 263 146 81 45 25"),
    100: (12406, "5000 2997 1796 1077 645 387 232 139 83 50"),
    50: (13996, "5000 3237 2096 1357 878 568 368 238 154 100"),
    20: (17023, "5000 3584 2569 1842 1320 946 678 486 348 250"),
    10: (20431, "5000 3871 2997 2320 1796 1391 1077 834 645 500"),
}
CIFAR100 = {  # total, rarest class, many / medium / few
    200: (9502, 2, (30, 31, 39)),
    100: (10847, 5, (35, 35, 30)),
    50: (12608, 10, (41, 41, 18)),
    20: (15907, 25, (53, 47, 0)),
    10: (19573, 50, (69, 31, 0)),
}
CIFAR100_AT_100 = """
500 477 455 434 415 396 378 361 344 328 314 299 286 273 260 248 237 226 216 206 197 188 179 171 163 156 149 142 135 129
123 118 112 107 102 98 93 89 85 81 77 74 70 67 64 61 58 56 53 51 48 46 44 42 40 38 36 35 33 32 30 29 27 26 25 24 23 22 21
20 19 18 17 16 15 15 14 13 13 12 12 11 11 10 10 9 9 8 8 7 7 7 6 6 6 6 5 5 5 5
"""
FIRST_OF_CIFAR10 = {
    0: "398 3833 4836 4572 636 2545 1161 2230",
    1: "597 332 521 3935 4800 1102 4304 1826",
    9: "2204 3816 2206 2507 1926 4765 368 3808",
}
FIRST_OF_CIFAR100 = {
    0: "90 254 283 445 461 15 316 489",
    1: "277 307 436 88 261 57 413 459",
    99: "348 153 363 361 299 353 338 99",
}


def numbers(text):
    return [int(word) for word in text.split()]


@pytest.mark.parametrize("imbalance", CIFAR10)
def test_cifar10_counts(imbalance):
    total, counts = CIFAR10[imbalance]
    assert exponential_counts(10, 5000, imbalance) == numbers(counts)
    assert sum(exponential_counts(10, 5000, imbalance)) == total


@pytest.mark.parametrize("imbalance", CIFAR100)
def test_cifar100_counts_and_groups(imbalance):
    total, rarest, groups = CIFAR100[imbalance]
    counts = exponential_counts(100, 500, imbalance)
    assert (sum(counts), counts[-1]) == (total, rarest)
    assert tuple(len(members) for members in shot_groups(counts).values()) == groups


def test_cifar100_at_100_count_by_count():
    assert exponential_counts(100, 500, 100) == numbers(CIFAR100_AT_100)
    assert imbalance_factor(exponential_counts(100, 500, 200)) == 250


def test_balanced_and_single_class_profiles():
    assert exponential_counts(3, 7, 1) == [7, 7, 7]
    assert exponential_counts(1, 7, 1) == [7]


def test_step_counts():
    assert step_counts(10, 5000, 100) == [5000] * 5 + [50] * 5
    assert step_counts(5, 500, 10) == [500, 500, 50, 50, 50]


@pytest.mark.parametrize(
    ("classes", "images", "first"), [(10, 5000, FIRST_OF_CIFAR10), (100, 500, FIRST_OF_CIFAR100)], ids=["10", "100"]
)
@pytest.mark.parametrize("order", ["grouped", "interleaved"])
def test_the_images_are_those_of_the_ldam_code(classes, images, first, order):
    labels = np.arange(classes * images) % classes
    labels = np.sort(labels) if order == "grouped" else labels
    counts = exponential_counts(classes, images, 100)
    subset = long_tailed_subset(labels, counts)
    starts = np.concatenate([[0], np.cumsum(counts)])
    for label, ranks in first.items():
        kept = subset[starts[label] : starts[label + 1]]
        within_class = np.searchsorted(np.flatnonzero(labels == label), kept)
        shown = numbers(ranks)[: counts[label]]
        assert within_class[: len(shown)].tolist() == shown


def test_subset_has_the_counts_and_no_image_twice():
    labels = np.random.default_rng(0).integers(0, 4, 400)
    subset = long_tailed_subset(labels, [50, 20, 5, 0])
    assert np.bincount(labels[subset], minlength=4).tolist() == [50, 20, 5, 0]
    assert len(set(subset.tolist())) == len(subset)
    assert (np.diff(labels[subset]) >= 0).all()


def test_subsets_are_nested_and_depend_on_the_seed_alone():
    labels = np.repeat(np.arange(10), 100)
    large, small = (set(long_tailed_subset(labels, exponential_counts(10, 100, f)).tolist()) for f in (10, 50))
    assert small < large
    np.random.seed(7)
    assert set(long_tailed_subset(labels, exponential_counts(10, 100, 50)).tolist()) == small
    assert set(long_tailed_subset(labels, exponential_counts(10, 100, 50), seed=1).tolist()) != small


def test_the_global_generator_is_left_alone():
    np.random.seed(3)
    expected = np.random.RandomState(3).random()
    long_tailed_subset([0, 0, 1], [1, 1])
    assert np.random.random() == expected


def test_too_few_images_name_the_class():
    with pytest.raises(ValueError, match="Class 1 has 2 images, but 3 were asked for"):
        long_tailed_subset([0, 0, 0, 1, 1], [3, 3])


@pytest.mark.parametrize("imbalance", CIFAR10)
def test_a_cut_of_balanced_cifar_is_the_published_profile(imbalance):
    assert cut_counts([5000] * 10, imbalance) == exponential_counts(10, 5000, imbalance)
    assert cut_counts([500] * 100, imbalance) == exponential_counts(100, 500, imbalance)


@pytest.mark.parametrize("seed", range(5))
def test_a_cut_is_the_longest_that_fits(seed):
    available = np.random.default_rng(seed).integers(20, 200, 6)
    kept, ranked = np.array(cut_counts(available, 5)), np.argsort(-available, kind="stable")
    n_max = int(kept.max())
    assert (kept <= available).all()
    assert kept[ranked].tolist() == exponential_counts(6, n_max, 5)
    assert (np.array(exponential_counts(6, n_max + 1, 5)) > available[ranked]).any()


def test_a_cut_ranks_by_count_and_keeps_the_order_of_ties():
    assert cut_counts([40, 90, 40, 60], 2) == [40, 65, 32, 51], "65 is the largest n with int(n 2^(-2/3)) <= 40"


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: cut_counts([100, 50], 60), "at least 120 images in the largest class, but these data allow 100"),
        (lambda: cut_counts([100, 50], 60), "largest imbalance they allow is about 50"),
        (lambda: cut_counts([100, 100], 0.5), "a finite number of at least 1; got 0.5"),
        (lambda: exponential_counts(10, 100, 0.1), "a finite number of at least 1; got 0.1"),
        (lambda: exponential_counts(10, 100, float("nan")), "a finite number of at least 1; got nan"),
        (lambda: step_counts(10, 100, float("inf")), "got inf"),
        (lambda: shot_groups([3, 2], rule="quarters"), "no group rule 'quarters'; there are 'shots' and 'auto'"),
    ],
)
def test_errors_say_what_exists(call, said):
    with pytest.raises(ValueError, match=said):
        call()


def test_shot_groups_hold_20_and_100_in_the_middle():
    assert shot_groups([101, 100, 20, 19]) == {"many": [0], "medium": [1, 2], "few": [3]}


def test_automatic_groups_are_thirds_by_count():
    assert shot_groups([3, 90, 7, 50, 1, 8], rule="auto") == {"many": [1, 3], "medium": [2, 5], "few": [0, 4]}
    assert [len(g) for g in shot_groups(list(range(1, 11)), rule="auto").values()] == [4, 3, 3]


@pytest.mark.parametrize("kind", [dict, lambda pairs: Counter(dict(pairs)), lambda pairs: list(dict(sorted(pairs)).values())])
def test_counts_may_be_given_by_class_index(kind):
    counts = kind([(2, 19), (0, 500), (1, 100)])
    assert shot_groups(counts) == {"many": [0], "medium": [1], "few": [2]}
    assert group_of_each(counts) == ["many", "medium", "few"]
    assert imbalance_factor(counts) == 500 / 19
    assert cut_counts(counts, 10) == cut_counts([500, 100, 19], 10)
    plain = [500, 100, 19]
    for given in (np.array(plain, dtype="uint16"), torch.tensor(plain)):
        assert shot_groups(given) == shot_groups(plain)
        assert imbalance_factor(given) == 500 / 19


@pytest.mark.parametrize("counts", [{"cat": 5, "dog": 1}, {1: 5, 2: 3}, "91", [[9], [1]], 4, [], [1.0, float("nan")]])
def test_counts_of_another_kind_are_refused(counts):
    for function in (shot_groups, group_of_each, imbalance_factor, lambda each: cut_counts(each, 10)):
        with pytest.raises(ValueError, match="`class_counts`"):
            function(counts)


@pytest.mark.parametrize("counts", [[10, 0], [0, 0], {0: 3, 2: 1}])
def test_the_imbalance_needs_images_of_each_class(counts):
    with pytest.raises(UserError, match=r"needs classes that all have images|`class_counts`"):
        imbalance_factor(counts)


def test_a_subset_needs_class_indices():
    assert long_tailed_subset(np.array([0, 0, 1], dtype="uint8"), {1: 1, 0: 2}).tolist() in ([0, 1, 2], [1, 0, 2])
    for labels in ([0.0, 1.0], ["a", "b"], [[0], [1]], [True, False]):
        with pytest.raises(ValueError, match="`labels` must be class indices"):
            long_tailed_subset(labels, [1, 1])


def test_counts_below_0_are_refused():
    with pytest.raises(UserError, match="`class_counts` must be 0 or above; got -1 for class 0"):
        imbalance_factor([-1, 5])
    with pytest.raises(UserError, match="must be 0 or above"):
        long_tailed_subset([0, 0, 1], [-1, 1])
