"""Torch's global generators are seeded for a while, and restored."""

from contextlib import suppress

import pytest
import torch

from longtail.streams import own_random_numbers, seeded_generators


@pytest.mark.parametrize("seeded", [own_random_numbers, seeded_generators])
def test_the_generator_of_the_cpu_is_seeded_and_restored_after_an_error_too(seeded):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    drawn = []
    with suppress(KeyError), seeded(5):
        drawn.append(torch.rand(4))
        raise KeyError
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(drawn[0], torch.rand(4, generator=torch.Generator().manual_seed(5)))


def test_gpus_that_the_program_does_not_use_are_not_seeded(monkeypatch):
    """`torch.manual_seed` seeds all of them, at once or when they are first used."""
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda seed: pytest.fail(f"seeded with {seed}"))
    with seeded_generators(5):
        pass


class Generators:
    """Stand-ins for the generators of two GPUs."""

    def __init__(self):
        self.states = [torch.tensor([1]), torch.tensor([2])]

    def __getitem__(self, gpu):
        return type("Generator", (), {"manual_seed": lambda _, seed: self.states.__setitem__(gpu, torch.tensor([seed]))})()

    def __len__(self):
        return len(self.states)


def test_gpus_in_use_are_seeded_and_restored(monkeypatch):
    gpus = Generators()
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "default_generators", gpus)
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda gpu: gpus.states[gpu].clone())
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, gpu: gpus.states.__setitem__(gpu, state))
    with seeded_generators(5):
        assert [state.item() for state in gpus.states] == [5, 5]
    assert [state.item() for state in gpus.states] == [1, 2]
