"""Heads: the vectors of the reference document, the formulas in loops, and what training needs of them."""

import copy

import jaxtyping
import numpy as np
import pytest
import torch

from longtail.heads import AlignedHead, CausalHead, CosineHead, LinearHead, MetaHead, ScaledHead
from reference import formulas_heads
from reference.formulas import agrees

WEIGHT = torch.tensor([[3, 4], [0, 2], [0.6, 0.8]], dtype=torch.float64)
FEATURES = torch.tensor([[1, 1], [-1, 2]], dtype=torch.float64)


def linear(bias, weight=WEIGHT):
    weight = torch.as_tensor(weight, dtype=torch.float64)
    head = LinearHead(weight.shape[1], len(weight)).double()
    head.load_state_dict({"weight": weight, "bias": torch.tensor(bias, dtype=torch.float64), "scale": torch.tensor(1.0)})
    return head


def causal(weight, **values):
    weight = torch.as_tensor(weight, dtype=torch.float64)
    head = CausalHead(weight.shape[1], len(weight), **values).double()
    with torch.no_grad():
        head.weight.copy_(weight)
    return head


def fill(module, **values):
    """Sets parameters and buffers by name."""
    state = module.state_dict()
    module.load_state_dict(state | {name: torch.as_tensor(value, dtype=torch.float64) for name, value in values.items()})
    return module


def drawn(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def rows(tensor):
    return tensor.detach().tolist()


def test_linear_head():
    assert agrees(linear([0, 0, 0])(FEATURES).detach(), "7 2 1.4  5 4 1")


def test_scaled_head_scales_the_bias_too():
    head = ScaledHead(linear([0.1, -0.2, 0.3]))
    with torch.no_grad():
        head.class_scale.copy_(torch.tensor([0.5, 2, 1]))
    assert agrees(head(FEATURES).detach(), "3.55 3.6 1.7  2.55 7.6 1.3")


def test_scaled_head_starts_as_the_head_it_wraps():
    inner = linear([0.1, -0.2, 0.3])
    head = ScaledHead(inner)
    assert head.class_scale.tolist() == [1, 1, 1]
    assert torch.equal(head(FEATURES), inner(FEATURES))


def test_cosine_head_is_the_cosine():
    head = CosineHead(5, 4).double()
    features = torch.randn(6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = torch.nn.functional.cosine_similarity(features[:, None], head.weight[None], dim=2)
    torch.testing.assert_close(head(features), expected)
    torch.testing.assert_close(head(3 * features), expected)
    assert "bias" not in head.state_dict()


def test_cosine_head_starts_with_unit_rows_of_a_uniform_cube():
    torch.manual_seed(0)
    weight = CosineHead(2, 20_000).weight.detach()
    torch.testing.assert_close(weight.norm(dim=1), torch.ones(20_000))
    diagonal = (weight.abs().amin(1) / weight.abs().amax(1) > 0.5).float().mean().item()
    assert diagonal == pytest.approx(0.5, abs=0.02), "the directions of a square, not of a circle (0.41)"


def test_linear_head_starts_kaiming_normal():
    torch.manual_seed(0)
    head = LinearHead(64, 2000)
    assert head.weight.std().item() == pytest.approx((2 / 64) ** 0.5, rel=0.02)
    assert 0 < head.bias.abs().max() <= 1 / 8


def test_linear_head_can_start_as_torch_draws_it():
    torch.manual_seed(0)
    plain = torch.nn.Linear(64, 10)
    torch.manual_seed(0)
    head = LinearHead(64, 10, kaiming=False)
    assert torch.equal(head.weight, plain.weight)
    assert torch.equal(head.bias, plain.bias)


@pytest.mark.parametrize("kind", [LinearHead, CosineHead, lambda d, c: ScaledHead(LinearHead(d, c))])
def test_scale_multiplies_the_logits_and_is_saved(kind):
    head, features = kind(3, 2), torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    plain = head(features)
    head.scale.fill_(30.0)
    torch.testing.assert_close(head(features), 30 * plain)
    assert head.state_dict()["scale"] == 30


@pytest.mark.parametrize("kind", [LinearHead, CosineHead, lambda d, c: ScaledHead(CosineHead(d, c))])
def test_heads_are_exact_under_autocast(kind):
    head, features = kind(64, 10), torch.randn(8, 64, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        inside = head(features)
        assert head(features.bfloat16()).dtype == torch.float32
    assert torch.equal(inside, head(features))


# --- De-confounded training ------------------------------------------------------------------------------------------------


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


def test_two_processes_remember_what_one_does(tmp_path):
    torch.multiprocessing.spawn(in_each_process, (str(tmp_path),), nprocs=2)
    head = CausalHead(6, 3)
    for step in range(2):
        head(drawn(8, 6, seed=step).float())
    for rank in range(2):
        torch.testing.assert_close(torch.load(tmp_path / str(rank), weights_only=True), head.average)


# --- Distribution alignment ------------------------------------------------------------------------------------------------


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


# --- Dynamic meta-embedding ------------------------------------------------------------------------------------------------


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
