"""The epoch's indices: repeatable, the same for any number of processes, and distributed as n_j w_j."""

from functools import partial

import jaxtyping
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from longtail import weighting
from longtail.sampling import EpochSampler
from longtail.streams import epoch_seed
from reference.formulas import draw_probabilities

COUNTS = [60, 25, 10, 5]
LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(4), COUNTS))


def epoch_of(sampler, epoch):
    sampler.epoch = epoch
    return list(sampler)


def test_uniform_is_a_permutation():
    sampler = EpochSampler(LABELS, seed=0)
    assert sorted(sampler) == list(range(100))
    assert list(sampler) != list(range(100))
    assert len(sampler) == 100


@pytest.mark.parametrize("rule", [weighting.uniform, weighting.power, weighting.effective_number])
def test_an_epoch_depends_on_its_number_and_seed_alone(rule):
    sampler, again = EpochSampler(LABELS, rule=rule, seed=3), EpochSampler(LABELS.tolist(), rule=rule, seed=3)
    first = [epoch_of(sampler, epoch) for epoch in (0, 1, 2)]
    torch.manual_seed(99)
    assert epoch_of(again, 2) == first[2], "a resumed run starts in the middle"
    assert epoch_of(sampler, 0) == first[0]
    assert first[0] != first[1]
    assert epoch_of(EpochSampler(LABELS, rule=rule, seed=4), 0) != first[0]


@pytest.mark.parametrize("world", [1, 2, 4])
@pytest.mark.parametrize("rule", [weighting.uniform, weighting.power])
def test_processes_share_one_list(world, rule):
    whole = EpochSampler(LABELS, rule=rule, seed=1).draw()
    parts = [EpochSampler(LABELS, rule=rule, seed=1, rank=r, world=world) for r in range(world)]
    assert torch.equal(torch.stack([part.indices() for part in parts], 1).flatten(), whole)
    assert all(len(part) == len(list(part)) == 100 // world for part in parts)


@pytest.mark.parametrize(
    "rule",
    [
        weighting.power,
        partial(weighting.power, exponent=-0.5),
        weighting.reverse,
        partial(weighting.effective_number, beta=0.9),
        weighting.class_based_effective_number,
    ],
)
def test_classes_are_drawn_in_proportion_to_count_times_weight(rule):
    sampler = EpochSampler(LABELS, rule=rule, seed=0)
    drawn = np.bincount(LABELS[np.concatenate([epoch_of(sampler, e) for e in range(100)])], minlength=4)
    expected = np.array(draw_probabilities(COUNTS, rule(COUNTS).tolist()))
    deviation = (drawn / 10_000 - expected) / np.sqrt(expected * (1 - expected) / 10_000)
    assert np.abs(deviation).max() < 4


def test_images_of_a_class_are_drawn_alike():
    sampler = EpochSampler([0] * 10 + [1] * 2, rule=weighting.power)
    seen = np.bincount(np.concatenate([epoch_of(sampler, e) for e in range(1000)]), minlength=12)
    assert np.abs(seen[:10] / 600 - 1).max() < 0.2
    assert np.abs(seen[10:] / 3000 - 1).max() < 0.1


def test_rules_follow_the_epoch():
    sampler = EpochSampler(LABELS, rule=weighting.progressive, epochs=20)
    assert sorted(epoch_of(sampler, 0)) == list(range(100)), "the first epoch is instance-balanced"
    assert len(set(epoch_of(sampler, 19))) < 100
    deferred = EpochSampler(LABELS, rule=partial(weighting.deferred, rule=weighting.power, start=0.5), epochs=10)
    assert [len(set(epoch_of(deferred, epoch))) == 100 for epoch in (0, 4, 5, 9)] == [True, True, False, False]


def test_a_class_index_without_images_takes_no_part():
    sampler = EpochSampler([0, 0, 0, 2], rule=weighting.power, seed=0)
    drawn = np.concatenate([epoch_of(sampler, e) for e in range(500)])
    assert (drawn == 3).mean() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("rule", [weighting.uniform, weighting.power])
def test_works_in_a_dataloader(rule):
    sampler = EpochSampler(LABELS, rule=rule, seed=2)
    loader = DataLoader(TensorDataset(torch.arange(100)), batch_size=32, sampler=sampler)
    orders = [torch.cat([batch for (batch,) in loader]).tolist() for _ in range(3)]
    assert orders == [epoch_of(EpochSampler(LABELS, rule=rule, seed=2), epoch) for epoch in range(3)]
    assert len({tuple(order) for order in orders}) == 3
    sampler.set_epoch(1)
    assert torch.cat([batch for (batch,) in loader]).tolist() == orders[1], "a resumed loop continues at its epoch"
    assert sampler.epoch == 2
    assert len(loader) == 4


def test_an_epoch_that_is_broken_off_counts_as_one():
    sampler = EpochSampler(LABELS, seed=2)
    next(iter(sampler))
    assert list(sampler) == epoch_of(EpochSampler(LABELS, seed=2), 1)


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_and_plain_loops_see_the_same_epochs(workers):
    loader = DataLoader(
        TensorDataset(torch.arange(100)),
        batch_size=50,
        sampler=EpochSampler(LABELS),
        num_workers=workers,
        persistent_workers=workers > 0,
    )
    seen = [torch.cat([batch for (batch,) in loader]).tolist() for _ in range(2)]
    assert seen == [epoch_of(EpochSampler(LABELS), epoch) for epoch in range(2)]


@pytest.mark.parametrize("rule", [weighting.progressive, partial(weighting.deferred, rule=weighting.power)])
def test_epochs_beyond_the_last_are_drawn_as_the_last(rule):
    sampler = EpochSampler(LABELS, rule=rule)
    for epoch in (1, 2, 7):
        drawn = np.bincount(LABELS[epoch_of(sampler, epoch)], minlength=4)
        assert np.abs(drawn - 25).max() < 20, "class-balanced"


def test_drawing_leaves_the_global_random_numbers():
    before, numpys = torch.get_rng_state(), np.random.get_state()[1].copy()
    list(EpochSampler(LABELS, rule=weighting.power))
    assert torch.equal(torch.get_rng_state(), before)
    assert (np.random.get_state()[1] == numpys).all()


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor, np.ndarray.tolist])
@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int32", ">i8"])
def test_labels_of_any_integer_type_are_the_same_labels(kind, dtype):
    given = kind(LABELS.astype(dtype if kind is not torch.as_tensor else dtype.replace(">i8", "int64")))
    sampler = EpochSampler(given, rule=weighting.power, seed=np.int64(3))
    assert list(sampler) == list(EpochSampler(LABELS, rule=weighting.power, seed=3))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"labels": []}, "needs the label of at least one image"),
        ({"labels": [0, -1]}, r"class indices from 0 as `labels`; `labels\[1\]` is -1"),
        ({"labels": [0, -100]}, r"`labels\[1\]` is -100"),
        ({"labels": [0.0, 1.0]}, "as integers; got torch.float64"),
        ({"labels": [True, False]}, "as integers; got torch.bool"),
        ({"labels": ["a", "b"]}, "a list of numbers; got list"),
        ({"labels": [[0], [1]]}, r"class indices of shape \(B,\)"),
        ({"seed": 1.5}, "a whole number as `seed`; got 1.5"),
        ({"seed": -1}, "`seed` of at least 0; got -1"),
        ({"rank": 1, "world": 1}, "rank=1, world=1"),
        ({"rank": 0, "world": 0}, "world=0"),
        ({"rank": 0.5, "world": 2}, "whole number as `rank`; got 0.5"),
        ({"epochs": "3"}, "whole number as `epochs`; got '3'"),
        ({"rule": lambda counts, progress: torch.ones(5)}, r"of shape \(2,\); got"),
        ({"rule": lambda counts, progress: -counts}, "weights that are negative"),
        ({"rule": lambda counts, progress: counts / 0.0}, "not finite"),
    ],
)
def test_what_a_sampler_cannot_use_is_refused(given, said, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=said):
        list(EpochSampler(**{"labels": [0, 1], **given}))


def test_set_epoch_takes_whole_numbers_alone(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(TypeError, match=r"set_epoch needs a whole number as `epoch`; got 0.5"):
        EpochSampler(LABELS).set_epoch(0.5)
    with pytest.raises(ValueError, match=r"set_epoch needs an `epoch` of at least 0; got -1"):
        EpochSampler(LABELS).set_epoch(-1)


def test_epoch_seed_mixes_its_parts():
    seeds = {epoch_seed(a, b) for a in range(30) for b in range(30)}
    assert len(seeds) == 900
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert epoch_seed(1, 2) == epoch_seed(1, 2)


@pytest.mark.parametrize("classes", [3, 5])
def test_more_images_than_torch_draws_from_are_drawn_class_by_class(monkeypatch, classes):
    counts = [600, 250, 100, 50, 5][:classes]
    labels = torch.arange(classes).repeat_interleave(torch.tensor(counts))[torch.randperm(sum(counts))]
    monkeypatch.setattr("longtail.sampling.MOST_CATEGORIES", 100)
    sampler = EpochSampler(labels, rule=weighting.power, seed=3)
    drawn = torch.cat([sampler.draw() for sampler.epoch in range(40)])
    shares = torch.bincount(labels[drawn], minlength=classes) / len(drawn)
    assert shares.tolist() == pytest.approx([1 / classes] * classes, abs=0.02)
    times = torch.bincount(drawn, minlength=len(labels))
    for label, count in enumerate(counts):
        own = times[labels == label]
        assert own.min() > 0 or count > 100
        assert own.float().std() < 1.5 * own.float().mean().sqrt() + 1e-6
