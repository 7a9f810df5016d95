"""The head of de-confounded training: the reference vectors, the formulas in loops, and the average that it keeps."""

import copy

import numpy as np
import pytest
import torch

from longtail.heads import CausalHead, CosineHead
from reference import formulas_heads
from reference.formulas import agrees


def causal(weight, **values):
    weight = torch.as_tensor(weight, dtype=torch.float64)
    head = CausalHead(weight.shape[1], len(weight), **values).double()
    with torch.no_grad():
        head.weight.copy_(weight)
    return head


def drawn(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def rows(tensor):
    return tensor.detach().tolist()


def test_causal_head():
    head = causal([[1, 0, 0, 1], [0, 1, 2, 0]])
    assert agrees(head(torch.tensor([[3, 4, 0, 2]], dtype=torch.float64)).detach(), "12.412121212121212 6.206060606060607")
    head = causal([[1, 0, 0, 2], [0, 1, 1, 1], [2, 2, -1, 0]])
    logits = head(torch.tensor([[3, 4, 1, 0], [0, 2, -1, 1]], dtype=torch.float64))
    assert agrees(
        logits.detach(),
        "4.654545454545454 11.740617275801885 0.07547637483520564 5.569825722577113 7.757575757575758 11.08047166118659",
    )


def test_causal_head_adds_batch_means_to_a_decaying_sum():
    head, seen = causal(torch.eye(2), heads=1), []
    for mean in ([1, 0], [0, 1], [1, 1]):
        mean = torch.tensor(mean, dtype=torch.float64)
        head(torch.stack([mean - 5, mean + 5]))
        seen.append(head.average.clone())
    assert agrees(torch.cat(seen), "1 0 0.9 1 1.81 1.9")
    head.momentum = 0.5
    head(torch.ones(3, 2, dtype=torch.float64))
    assert agrees(head.average, "1.905 1.95")
    before = head.average.clone()
    head.eval()(torch.ones(3, 2, dtype=torch.float64))
    assert torch.equal(head.average, before)


@pytest.mark.parametrize("heads", [1, 2, 3])
@pytest.mark.parametrize("seed", range(3))
def test_causal_head_against_loops(seed, heads):
    weight, features = drawn(4, 6, seed=seed), drawn(5, 6, seed=seed + 10)
    head = causal(weight, heads=heads, temperature=9.0, shrinkage=0.125)
    expected = [formulas_heads.causal(f, rows(weight), heads, 9.0, 0.125) for f in rows(features)]
    np.testing.assert_allclose(rows(head(features)), expected, atol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_causal_head_in_one_part_without_shrinkage_is_the_cosine(seed):
    cosine = CosineHead(6, 4).double()
    head = causal(cosine.weight.detach(), heads=1, shrinkage=0.0)
    features = drawn(5, 6, seed=seed)
    torch.testing.assert_close(head(features), 16 * cosine(features), rtol=1e-12, atol=1e-12)


def test_causal_head_starts_within_the_root_of_its_features():
    torch.manual_seed(0)
    weight = CausalHead(64, 2000).weight
    assert weight.abs().max().item() == pytest.approx(1 / 8, rel=1e-3)
    assert weight.std().item() == pytest.approx(1 / 8 / 3**0.5, rel=0.02)


def test_causal_head_without_activation_is_finite():
    head, features = causal(torch.zeros(3, 4), shrinkage=0.0), torch.zeros(2, 4, dtype=torch.float64, requires_grad=True)
    logits = head(features)
    assert not logits.any()
    assert all(gradient.isfinite().all() for gradient in torch.autograd.grad(logits.sum(), [features, head.weight]))


def test_causal_head_says_which_parts_are_possible():
    with pytest.raises(ValueError, match=r"cuts 6 features into equal parts; heads=4 is none of 1, 2, 3, 6\."):
        CausalHead(6, 3, heads=4)


def test_causal_head_continues_where_it_was_saved():
    batches = [drawn(8, 6, seed=seed).float() for seed in range(4)]
    whole = CausalHead(6, 3)
    for features in batches[:2]:
        whole(features)
    continued = CausalHead(6, 3, temperature=1.0, shrinkage=0.5)
    continued.load_state_dict(copy.deepcopy(whole.state_dict()))
    for features in batches[2:]:
        assert torch.equal(whole(features), continued(features))
    assert torch.equal(whole.average, continued.average)
    assert {"weight", "average", "temperature", "shrinkage", "scale"} == set(whole.state_dict())


def test_causal_head_remembers_in_float32_under_autocast():
    head, other, features = CausalHead(6, 3), CausalHead(6, 3), drawn(8, 6).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        head(features)
    other(features.float())
    assert torch.equal(head.average, other.average)
    assert not head.average.requires_grad


def in_each_process(rank, folder):
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    head = CausalHead(6, 3)
    for step in range(2):
        head(drawn(8, 6, seed=step).float()[4 * rank : 4 * rank + 4])
    torch.save(head.average, f"{folder}/{rank}")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_remember_what_one_does(tmp_path):
    torch.multiprocessing.spawn(in_each_process, (str(tmp_path),), nprocs=2)
    head = CausalHead(6, 3)
    for step in range(2):
        head(drawn(8, 6, seed=step).float())
    for rank in range(2):
        torch.testing.assert_close(torch.load(tmp_path / str(rank), weights_only=True), head.average)


def test_an_empty_batch_teaches_nothing_that_is_not_a_number():
    head = CausalHead(6, 3)
    head(torch.zeros(0, 6))
    assert torch.equal(head.average, torch.zeros(2, 3))
    head(torch.ones(4, 6))
    assert torch.equal(head.average, torch.ones(2, 3))
