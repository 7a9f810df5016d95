"""The head with one cosine classifier per expert: values by hand, the formula in loops, and its start."""

import numpy as np
import pytest
import torch

from longtail.heads import CosineHead, ExpertsHead
from reference import formulas_heads
from reference.formulas import agrees


def head_of(weight, experts):
    weight = torch.as_tensor(weight, dtype=torch.float64)
    head = ExpertsHead(weight.shape[1], len(weight), experts=experts).double()
    with torch.no_grad():
        head.weight.copy_(weight)
    return head


def drawn(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_by_hand():
    head = head_of([[1, 0, 3, 4], [0, 2, 1, 0]], experts=2)
    features = torch.tensor([[3, 4, 0, 5]], dtype=torch.float64)
    assert agrees(head.expert_logits(features).detach(), "0.6 0.8  0.8 0")
    assert agrees(head(features).detach(), "0.7 0.4")
    head.scale.fill_(30.0)
    assert agrees(head(features).detach(), "21 12")


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("experts", [1, 2, 3])
def test_against_loops(seed, experts):
    weight, features = drawn(4, 6, seed=seed), drawn(5, 6, seed=seed + 10)
    head = head_of(weight, experts)
    each = [formulas_heads.expert_cosines(f, weight.tolist(), experts) for f in features.tolist()]
    np.testing.assert_allclose(head.expert_logits(features).detach(), each, atol=1e-12)
    np.testing.assert_allclose(head(features).detach(), np.mean(each, axis=1), atol=1e-12)


def test_one_expert_is_a_cosine_head():
    cosine, features = CosineHead(6, 4).double(), drawn(5, 6)
    torch.testing.assert_close(head_of(cosine.weight.detach(), 1)(features), cosine(features))


def test_an_expert_sees_its_own_part_alone():
    head, features = head_of(drawn(4, 6), 3), drawn(5, 6, seed=1)
    before = head.expert_logits(features)
    features[:, 2:4] = drawn(5, 2, seed=2)
    after = head.expert_logits(features)
    assert [torch.equal(before[:, e], after[:, e]) for e in range(3)] == [True, False, True]


def test_it_starts_with_parts_of_unit_length():
    torch.manual_seed(0)
    head = ExpertsHead(96, 50)
    torch.testing.assert_close(head.weight.view(50, 3, 32).norm(dim=2), torch.ones(50, 3))
    assert abs(head.weight.mean().item()) < 0.01


@pytest.mark.parametrize("experts", [0, -1, 4, 7])
def test_it_says_how_many_experts_are_possible(experts):
    with pytest.raises(
        ValueError, match=rf"ExpertsHead cuts 6 features into equal parts; experts={experts} is none of 1, 2, 3, 6\."
    ):
        ExpertsHead(6, 3, experts=experts)
