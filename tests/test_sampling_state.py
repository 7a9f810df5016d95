"""Several processes divide one list; a place in an epoch can be kept and loaded, by any number of them and with torchdata."""

import pickle

import jaxtyping
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from longtail import weighting
from longtail.sampling import EpochSampler

LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(4), [60, 25, 10, 5]))[:99]


def sampler_of(rank=None, world=None, **given):
    return EpochSampler(LABELS, rule=weighting.power, seed=2, rank=rank, world=world, **given)


def rest_of(samplers):
    """What all processes are shown, in the order of the global list."""
    return [index for step in zip(*samplers, strict=True) for index in step]


@pytest.mark.parametrize("rule", [weighting.uniform, weighting.power])
@pytest.mark.parametrize(("images", "world"), [(99, 4), (97, 4), (99, 2), (3, 4), (1, 4), (100, 4)])
def test_every_process_has_equally_many_and_the_list_begins_anew(rule, images, world):
    parts = [EpochSampler(LABELS[:images], rule=rule, rank=rank, world=world) for rank in range(world)]
    whole = parts[0].draw().tolist()
    each = -(-images // world)
    assert [len(part) for part in parts] == [len(part.indices()) for part in parts] == [each] * world
    assert rest_of(parts) == (whole * 4)[: each * world] if images > 1 else whole * world


def test_torchs_own_sampler_repeats_as_many():
    theirs = [list(DistributedSampler(range(97), num_replicas=4, rank=rank, shuffle=False)) for rank in range(4)]
    ours = [EpochSampler(LABELS[:97], rank=rank, world=4) for rank in range(4)]
    whole = ours[0].draw()
    assert [whole[part].tolist() for part in theirs] == [list(part) for part in ours]


@pytest.mark.parametrize("stopped", [1, 2, 4])
@pytest.mark.parametrize("world", [1, 2, 4])
def test_any_number_of_processes_continues_in_the_middle_of_an_epoch(stopped, world):
    before = [sampler_of(rank, stopped) for rank in range(stopped)]
    for part in before:
        part.set_epoch(3)
        taken = iter(part)
        for _ in range(32 // stopped):
            next(taken)
    states = [part.state_dict() for part in before]
    assert states == [{"epoch": 3, "offset": 32}] * stopped
    after = [sampler_of(rank, world) for rank in range(world)]
    for part in after:
        part.load_state_dict(states[0])
        part.set_epoch(3)  # as a library does that resumes
    whole = sampler_of()
    whole.set_epoch(3)
    drawn = whole.draw().tolist()
    shown = rest_of(after)
    assert shown[:67] == drawn[32:]
    assert shown[67:] == drawn[: len(shown) - 67]
    assert {part.epoch for part in after} == {4}
    assert {len(list(part)) for part in after} == {-(-99 // world)}, "the next epoch is whole"


def test_the_state_is_that_of_the_next_iteration_unless_one_has_begun():
    sampler = sampler_of()
    assert sampler.state_dict() == {"epoch": 0, "offset": 0}
    begun = iter(sampler)
    assert sampler.state_dict() == {"epoch": 0, "offset": 0}
    next(begun)
    assert sampler.state_dict() == {"epoch": 0, "offset": 1}
    assert len(list(begun)) == 98
    assert sampler.state_dict() == {"epoch": 1, "offset": 0}


def test_another_epoch_drops_the_offset():
    sampler = sampler_of()
    sampler.load_state_dict({"epoch": 3, "offset": 50})
    sampler.set_epoch(2)
    assert sampler.state_dict() == {"epoch": 2, "offset": 0}
    sampler.load_state_dict({"epoch": 1, "offset": 99})
    assert list(sampler) == []
    assert len(list(sampler)) == 99


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({"epoch": 0, "offset": 100}, "from 0 to the number of images, 99; got epoch=0, offset=100"),
        ({"epoch": 0, "offset": -1}, "offset=-1"),
        ({"epoch": -1, "offset": 0}, "epoch=-1"),
        ({"epoch": 0}, "load_state_dict needs a whole number as `offset`; got None"),
        ({"epoch": 1.5, "offset": 0}, "as `epoch`; got 1.5"),
    ],
)
def test_a_place_that_does_not_exist_is_refused(state, said):
    with pytest.raises(ValueError, match=said):
        sampler_of().load_state_dict(state)


@pytest.mark.parametrize("given", [{"rank": 0}, {"rank": 1}, {"world": 4}])
def test_rank_and_world_come_together(given, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match="needs `rank` and `world` together, `world=1` alone"):
        EpochSampler(LABELS, **given)


def test_ranks_are_those_of_torch_when_an_iteration_begins(monkeypatch):
    sampler, whole = sampler_of(), sampler_of(world=1)
    assert (sampler.rank, sampler.world, len(sampler)) == (0, 1, 99)
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 1)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    assert (sampler.rank, sampler.world, sampler.num_replicas, len(sampler)) == (1, 2, 2, 50)
    assert sampler.indices().tolist() == sampler_of(1, 2).indices().tolist()
    assert (whole.rank, whole.world, len(list(whole))) == (0, 1, 99)


def test_a_sampler_can_be_pickled_in_the_middle_of_an_epoch():
    sampler = sampler_of()
    next(iter(sampler))
    copy = pickle.loads(pickle.dumps(sampler))
    assert copy.state_dict() == {"epoch": 0, "offset": 1}
    assert list(copy) == list(sampler)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:'set_vital' is deprecated:UserWarning")
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("seen", [2, 7, 9])
def test_torchdatas_loader_continues_after_the_batches_that_were_used(workers, seen):
    stateful = pytest.importorskip("torchdata.stateful_dataloader", reason="torchdata is not installed")

    def loader():
        images = TensorDataset(torch.arange(99))
        return stateful.StatefulDataLoader(images, batch_size=16, sampler=sampler_of(), num_workers=workers)

    def batches(of, count):
        shown = []
        while len(shown) < count:
            for (batch,) in of:
                shown.append(batch.tolist())
                if len(shown) == count:
                    return shown
        return shown

    whole, before, after = batches(loader(), 21), loader(), loader()
    assert batches(before, seen) == whole[:seen]
    after.load_state_dict(before.state_dict())
    assert batches(after, 21 - seen) == whole[seen:]


def test_a_plain_loader_continues_after_the_steps_that_were_counted():
    images = TensorDataset(torch.arange(99))
    whole = [batch.tolist() for (batch,) in DataLoader(images, batch_size=16, sampler=sampler_of())]
    sampler = sampler_of()
    sampler.load_state_dict({"epoch": 0, "offset": 3 * 16})
    rest = DataLoader(images, batch_size=16, sampler=sampler, num_workers=2)
    assert [batch.tolist() for (batch,) in rest] == whole[3:]
