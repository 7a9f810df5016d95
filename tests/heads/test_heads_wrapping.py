"""Heads that wrap another (distribution alignment, dynamic meta-embedding): vectors, loops, and initial values."""

import jaxtyping
import numpy as np
import pytest
import torch
from test_heads import linear
from test_heads_causal import drawn, rows

from longtail.heads import AlignedHead, CosineHead, LinearHead, MetaHead, ScaledHead
from reference import formulas_heads
from reference.formulas import agrees


def fill(module, **values):
    """Sets parameters and buffers by name."""
    state = module.state_dict()
    module.load_state_dict(state | {name: torch.as_tensor(value, dtype=torch.float64) for name, value in values.items()})
    return module


def aligned(scale):
    head = AlignedHead(linear([0, 0.1, -0.1], [[1, 0], [0, 1], [0.5, -0.5]]))
    weights = {"confidence.weight": [[0.3, -0.2]], "confidence.bias": [0.1]}
    return fill(head, class_scale=scale, class_shift=[-0.2, 0.3, 0.5], **weights)


def test_aligned_head():
    features, paper = torch.tensor([[1, 2], [0.5, -1]], dtype=torch.float64), torch.tensor([1.1, 1.5, 2], dtype=torch.float64)
    head = aligned(paper - 1)
    assert agrees(head.inner(features).detach(), "1 2.1 -.6 .5 -.9 .65")
    assert agrees(head.confidence(features).sigmoid().detach(), "0.5 0.610639233949222")
    assert agrees(
        head(features).detach(),
        "0.95 2.775 -0.65 0.40840411490761674 -0.9915958850923833 1.3522351190416053",
    )
    assert agrees(
        aligned(paper)(features).detach(),
        "1.45 3.825 -0.95 0.7137237318822277 -1.5411711956466831 1.7491506211085999",
    )


@pytest.mark.parametrize("seed", range(3))
def test_aligned_head_against_loops(seed):
    inner, features = linear(rows(drawn(4, seed=seed)), drawn(4, 6, seed=seed + 1)), drawn(5, 6, seed=seed + 2)
    a, b, v, c = drawn(4, seed=seed + 3), drawn(4, seed=seed + 4), drawn(1, 6, seed=seed + 5), drawn(1, seed=seed + 6)
    head = fill(AlignedHead(inner), **{"class_scale": a - 1, "class_shift": b, "confidence.weight": v, "confidence.bias": c})
    pairs = zip(rows(features), rows(inner(features)), strict=True)
    expected = [formulas_heads.aligned(f, z, rows(a), rows(b), rows(v[0]), c.item()) for f, z in pairs]
    np.testing.assert_allclose(rows(head(features)), expected, atol=1e-12)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", [LinearHead, CosineHead])
def test_aligned_head_starts_as_the_head_it_wraps_in_the_paper(seed, kind):
    torch.manual_seed(seed)
    inner, features = kind(6, 4), torch.randn(5, 6)
    head = AlignedHead(inner, start="paper")
    assert torch.equal(head(features), inner(features))
    assert 0 < head.confidence.weight.abs().max() < 0.05
    assert not head.confidence.bias.any()


def test_aligned_head_starts_saturated_as_released():
    head, features = AlignedHead(LinearHead(2048, 3)), torch.full((1, 2048), 0.45)
    torch.nn.init.zeros_(head.confidence.bias)
    assert head.confidence(features).item() == pytest.approx(92.16, rel=1e-5)
    torch.testing.assert_close(head(features), 2 * head.inner(features))
    assert not torch.autograd.grad(head(features).sum(), head.confidence.weight)[0].any()


def test_aligned_head_names_its_starts(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match="no start 'zero'; it has 'released' and 'paper'"):
        AlignedHead(LinearHead(6, 4), start="zero")


def meta(memory, hallucinator, selector, weight, **values):
    """A head from lists; `hallucinator` and `selector` are pairs of rows and biases."""
    named = {"memory": memory, "weight": weight, "selector.weight": selector[0], "selector.bias": selector[1]}
    return fill(MetaHead(linear(hallucinator[1], hallucinator[0]), **values), **named)


def test_meta_head():
    eye = [[1.0, 0.0], [0.0, 1.0]]
    head = meta([[1, 0], [0, 2]], (eye, [0, 0.5]), ([[0.5, 0], [0, -0.5]], [0, 0]), [[1, 1], [2, -1]])
    v = torch.tensor([[2, 1]], dtype=torch.float64)
    assert agrees(torch.cdist(v, head.memory), "1.4142135623730951 2.23606797749979")
    assert agrees(head.hallucinator(v).softmax(1).detach(), "0.6224593312018547 0.3775406687981455")
    assert agrees(head.selector(v).tanh().detach(), "0.7615941559557649 -0.46211715726000974")
    squashed = head.embed(v).detach()
    assert agrees(squashed, "0.9164159204991781 0.24116029607896775")
    assert agrees(squashed / (1 - squashed.norm()), "17.494255852078755 4.6037174023236656")
    assert agrees(head(v).detach(), "13.096479879722791 11.38907447133396")


@pytest.mark.parametrize("seed", range(3))
def test_meta_head_against_loops(seed):
    memory, weight, v = drawn(4, 6, seed=seed), drawn(4, 6, seed=seed + 1), drawn(5, 6, seed=seed + 2)
    first, second = (drawn(4, 6, seed=seed + 3), drawn(4, seed=seed + 4)), (drawn(6, 6, seed=seed + 5), drawn(6, seed=seed + 6))
    pairs = [tuple(map(rows, pair)) for pair in (first, second)]
    head = meta(memory, pairs[0], pairs[1], weight, reach=3.0, cosine_scale=5.0)
    embedded = [formulas_heads.meta_feature(row, rows(memory), *pairs, 3.0) for row in rows(v)]
    expected = [formulas_heads.meta_logits(row, rows(weight), 5.0) for row in embedded]
    np.testing.assert_allclose(rows(head(v)), expected, atol=1e-12)


def test_meta_head_copies_the_first_classifier():
    torch.manual_seed(0)
    stage_1 = LinearHead(64, 50)
    head = MetaHead(stage_1)
    assert torch.equal(head.hallucinator.weight, stage_1.weight)
    assert torch.equal(head.hallucinator.bias, stage_1.bias)
    torch.nn.init.zeros_(head.hallucinator.weight)
    assert stage_1.weight.all()
    assert head.weight.abs().max().item() == pytest.approx(1 / 8, rel=1e-2)
    assert {name for name, _ in head.named_buffers() if name.endswith("scale")} == {"scale"}


def test_meta_head_on_a_centroid_is_finite():
    head, features = MetaHead(LinearHead(6, 4)), torch.zeros(2, 6)
    head.memory.normal_()
    features[1] = head.memory[2]
    for start in (features, torch.stack([head.memory[0], head.memory[1]])):
        v = start.clone().requires_grad_()
        logits = head(v)
        assert logits.isfinite().all()
        assert all(gradient.isfinite().all() for gradient in torch.autograd.grad(logits.sum(), [v, *head.parameters()]))


def test_meta_head_sends_its_memory_no_gradient():
    head = MetaHead(LinearHead(6, 4))
    head(torch.randn(3, 6)).sum().backward()
    assert not head.memory.requires_grad
    assert head.memory.grad is None


@pytest.mark.parametrize("head", [CosineHead(6, 4), ScaledHead(LinearHead(6, 4))])
def test_meta_head_needs_weight_and_bias(head):
    with pytest.raises(ValueError, match=f"weight and bias, such as LinearHead; got {type(head).__name__}"):
        MetaHead(head)


@pytest.mark.parametrize("wrapper", [ScaledHead, AlignedHead, MetaHead])
def test_wrappers_follow_the_head_they_wrap(wrapper):
    built = wrapper(LinearHead(6, 4).double())
    assert {p.dtype for p in built.parameters()} == {torch.float64}
    assert built(drawn(3, 6)).dtype == torch.float64
    assert {p.device.type for p in wrapper(LinearHead(6, 4).to("meta")).parameters()} == {"meta"}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("wrapper", [ScaledHead, AlignedHead, MetaHead])
def test_wrappers_of_torch_s_own_layer_compute_in_float32(wrapper, dtype):
    built = wrapper(torch.nn.Linear(6, 4)).to(dtype)
    assert built(drawn(3, 6).to(dtype)).dtype == torch.float32
