"""The paired bootstrap: against a slow loop, the published interval of one class, coverage, sign, identical runs."""

import math
import random
import statistics

import pytest
import torch

from longtail.bootstrap import AT_ONCE, T95, class_differences, difference
from longtail.errors import UserError

COUNTS = (30, 12, 4, 1)
LABELS = torch.arange(len(COUNTS)).repeat_interleave(torch.tensor(COUNTS))
EQUAL = torch.ones(len(COUNTS))


def drawn(rate, seed, seeds=1, labels=LABELS):
    return torch.rand(seeds, len(labels), generator=torch.Generator().manual_seed(seed)) < rate


def slow_interval(first, second, labels, prior, draws, seed=0):
    """The same bootstrap, image by image: own class, or with one more image all classes, or two that speak for one method."""
    generator = random.Random(seed)
    classes = {int(label): [i for i, other in enumerate(labels) if other == label] for label in labels}
    total = sum(prior[label] for label in classes)
    share = {label: prior[label] / total for label in classes}
    means = [[statistics.fmean(float(run[i]) for run in method) for i in range(len(labels))] for method in (first, second)]
    value = [after - before for before, after in zip(*means, strict=True)]
    observed = sum(share[c] * statistics.fmean(value[i] for i in members) for c, members in classes.items())
    images = 1 / sum(share[c] ** 2 / len(members) for c, members in classes.items())

    def one_image(members):
        if generator.random() < 2 / (images + 2):
            return generator.choice((-1.0, 1.0))
        if generator.random() < 1 / (len(members) + 1):
            members = classes[generator.choices(list(share), weights=list(share.values()))[0]]
        return value[generator.choice(members)]

    deviations = []
    for _ in range(draws):
        deviation = 0.0
        for label, members in classes.items():
            n = len(members)
            drawn_mean = statistics.fmean(one_image(members) for _ in range(n))
            expected = images / (images + 2) * (n * statistics.fmean(value[i] for i in members) + observed) / (n + 1)
            enlarged = (1 - n / (n + 1) ** 2) ** -0.5
            deviation += share[label] * enlarged * (drawn_mean - expected)
        deviations.append(deviation)
    deviations.sort()
    centre = observed * images / (images + 2)
    return observed, centre + deviations[int(0.025 * draws)], centre + deviations[int(0.975 * draws)]


@pytest.mark.parametrize("prior", [(1.0, 1.0, 1.0, 1.0), (0.6, 0.3, 0.1, 0.0)], ids=["mean recall", "class prior"])
@pytest.mark.parametrize("seeds", [1, 2])
def test_it_is_the_slow_bootstrap(prior, seeds):
    """At several seeds an image's outcome is a mean over them; equal runs at all seeds leave no part for the seeds."""
    first, second = drawn(0.5, 1), drawn(0.8, 2)
    first, second = first.repeat(seeds, 1), second.repeat(seeds, 1)
    used = [label for label, share in enumerate(prior) if share]
    shown = torch.isin(LABELS, torch.tensor(used))
    value, low, high = slow_interval(first[:, shown], second[:, shown], LABELS[shown].tolist(), prior, 4000)
    found = difference(first, second, LABELS, torch.tensor(prior), paired=True, draws=4000)
    assert found.value == pytest.approx(value)
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.025)


def test_the_interval_of_one_class_is_that_of_bonett_and_price():
    """12 images: 5 only the second has right, 1 only the first; (f12 + 1) / (n + 2) and so on, by hand."""
    first = torch.tensor([[True] + [False] * 5 + [True] * 6])
    second = torch.tensor([[False] + [True] * 5 + [True] * 6])
    labels = torch.zeros(12, dtype=torch.long)
    [found, empty] = class_differences(first, second, labels, 2, paired=True)
    more, less = 6 / 14, 2 / 14
    half = 1.959964 * math.sqrt((more + less - (more - less) ** 2) / 14)
    assert empty is None
    assert found.value == pytest.approx(4 / 12)
    assert (found.low, found.high) == pytest.approx((more - less - half, more - less + half), abs=1e-6)


def test_the_seeds_part_is_student_s():
    """Methods that are right on all images or on none at a seed differ by seeds alone, nearly, on many images."""
    labels = torch.zeros(200_000, dtype=torch.long)
    accuracy = torch.tensor([0.50, 0.54, 0.52])
    second = (torch.arange(200_000) / 200_000)[None] < accuracy[:, None]
    first = torch.zeros_like(second)
    half = T95[1] * statistics.stdev(accuracy.tolist()) / math.sqrt(3)
    for paired in (True, False):
        found = difference(first, second, labels, torch.ones(1), paired=paired, draws=200)
        assert (found.low, found.high) == pytest.approx((0.52 - half, 0.52 + half), abs=2e-3)
    [only] = class_differences(first, second, labels, 1, paired=True)
    assert only.high - only.low == pytest.approx(2 * half, rel=0.02)


def test_methods_that_share_a_first_stage_are_compared_seed_by_seed():
    """Accuracies of 40, 60 and 50 % and 2 points more at each seed: no seed part where they are paired, a wide one else."""
    labels, rank = torch.zeros(1000, dtype=torch.long), torch.arange(1000)[None] / 1000
    accuracy = torch.tensor([[0.4], [0.6], [0.5]])
    first, second = rank < accuracy, rank < accuracy + 0.02
    paired, other = (difference(first, second, labels, torch.ones(1), paired=each) for each in (True, False))
    assert not paired.within_noise
    assert other.within_noise
    assert other.high - other.low > 5 * (paired.high - paired.low)


@pytest.mark.parametrize(
    ("counts", "seeds", "spread"),
    [
        ((50,) * 8, (1, 1), 0.0),
        ((3,) * 30, (1, 1), 0.0),
        ((60, 30, 12, 6, 3, 2, 1, 1) * 4, (1, 1), 0.0),
        ((150,) * 6, (3, 3), 0.04),
        ((150,) * 6, (5, 1), 0.04),
        ((150,) * 6, (1, 10), 0.04),
    ],
    ids=["common classes", "rare classes", "long tail", "three seeds", "five seeds and one", "one seed and ten"],
)
def test_intervals_hold_the_true_difference_nineteen_times_in_twenty(counts, seeds, spread):
    """The second method is better by a different amount in each class; images are the same for both, as their difficulty is."""
    generator = torch.Generator().manual_seed(len(counts))
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    rates = 0.3 + 0.3 * torch.rand(len(counts), generator=generator)
    gains = 0.3 * torch.rand(len(counts), generator=generator)
    held, times = 0, 250
    for _ in range(times):
        difficulty = torch.rand(len(labels), generator=generator)
        effects = [spread * torch.randn(number, 1, generator=generator) for number in seeds]
        first, second = difficulty < rates[labels] + effects[0], difficulty < (rates + gains)[labels] + effects[1]
        found = difference(first, second, labels, torch.ones(len(counts)), paired=seeds[0] == seeds[1], draws=200)
        held += found.low <= float(gains.mean()) <= found.high
    assert 0.92 <= held / times <= 0.99


def test_turned_round_it_has_the_other_sign_to_the_bit():
    for seeds in (1, 3):
        first, second = drawn(0.5, 3, seeds), drawn(0.7, 4, seeds)
        there, back = (difference(*pair, LABELS, EQUAL, paired=True) for pair in ((first, second), (second, first)))
        assert (back.value, back.low, back.high) == (-there.value, -there.high, -there.low)
        pairs = zip(
            class_differences(first, second, LABELS, 4, paired=True),
            class_differences(second, first, LABELS, 4, paired=True),
            strict=True,
        )
        for one, other in pairs:
            assert (other.value, other.low, other.high) == pytest.approx((-one.value, -one.high, -one.low))


def test_identical_runs_differ_by_nothing_within_a_little():
    hits = drawn(0.6, 5)
    found = difference(hits, hits, LABELS, EQUAL, paired=True)
    assert found.value == 0.0
    assert found.within_noise
    assert found.low == -found.high < 0, "nothing tells the two apart, however few the images are"
    few = difference(hits[:, :3], hits[:, :3], LABELS[:3], EQUAL, paired=True)
    assert few.low == -few.high < 0
    many = torch.zeros(6000, dtype=torch.long)
    found = difference(drawn(0.6, 6, 1, many), drawn(0.6, 6, 1, many), many, torch.ones(1), paired=True)
    assert -0.002 < found.low < 0 < found.high < 0.002


def test_no_interval_has_the_width_zero_or_leaves_the_possible():
    """One method is right everywhere, the other nowhere, on one to three images."""
    for images in (1, 2, 3):
        labels = torch.arange(images)
        always, never = torch.ones(1, images, dtype=torch.bool), torch.zeros(1, images, dtype=torch.bool)
        found = difference(never, always, labels, torch.ones(images), paired=True)
        assert found.high == found.value == 1.0
        assert -1 <= found.low < 1
        for each in class_differences(never, always, labels, images, paired=True):
            assert -1 <= each.low < each.high == 1.0


def test_draws_in_parts_are_the_draws_at_once_but_for_chance(monkeypatch):
    first, second = drawn(0.5, 7), drawn(0.8, 8)
    whole = difference(first, second, LABELS, EQUAL, paired=True)
    assert AT_ONCE >= 2**20
    monkeypatch.setattr("longtail.bootstrap.AT_ONCE", 64)
    parts = difference(first, second, LABELS, EQUAL, paired=True)
    assert parts.value == whole.value
    assert (parts.low, parts.high) == pytest.approx((whole.low, whole.high), abs=0.03)


def test_a_prior_without_images_is_refused():
    with pytest.raises(UserError, match="a share of the prior are needed"):
        difference(drawn(0.5, 1), drawn(0.5, 2), LABELS, torch.zeros(4), paired=True)
