"""Heads: the vectors of the reference document, the formulas in loops, and what training needs of them."""

import pytest
import torch

from longtail.heads import CosineHead, ExpertsHead, LinearHead, ScaledHead
from reference.formulas import agrees

WEIGHT = torch.tensor([[3, 4], [0, 2], [0.6, 0.8]], dtype=torch.float64)
FEATURES = torch.tensor([[1, 1], [-1, 2]], dtype=torch.float64)


def linear(bias, weight=WEIGHT):
    weight = torch.as_tensor(weight, dtype=torch.float64)
    head = LinearHead(weight.shape[1], len(weight)).double()
    head.load_state_dict({"weight": weight, "bias": torch.tensor(bias, dtype=torch.float64), "scale": torch.tensor(1.0)})
    return head


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


@pytest.mark.parametrize("kind", [LinearHead, CosineHead, ExpertsHead, lambda d, c: ScaledHead(CosineHead(d, c))])
def test_a_batch_without_images_has_no_logits(kind):
    assert kind(6, 4)(torch.zeros(0, 6)).shape == (0, 4)


@pytest.mark.parametrize("kind", [LinearHead, CosineHead, lambda d, c: ScaledHead(CosineHead(d, c))])
def test_heads_are_exact_under_autocast(kind):
    head, features = kind(64, 10), torch.randn(8, 64, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        inside = head(features)
        assert head(features.bfloat16()).dtype == torch.float32
    assert torch.equal(inside, head(features))
