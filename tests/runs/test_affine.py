"""A linear head and its rule as one layer: the same scores, and nothing else is taken for linear."""

from functools import partial

import pytest
import torch

from longtail.heads import AlignedHead, CosineHead, LinearHead, ScaledHead
from longtail.inference import (
    Predictions,
    as_trained,
    deconfounded,
    logit_adjusted,
    nearest_class_mean,
    rebalanced,
    retrained,
    tau_normalised,
    temperature_scaled,
)
from longtail.runs.affine import affine

CONFIG = {"class_counts": [60, 30, 10]}
RETRAINED = {"weight": torch.tensor([[1.0, 0, 2, 0], [0, 3, 0, 1], [1, 1, 0, 0]]), "bias": torch.tensor([0.5, 0.0, -1.0])}
RULES = [
    partial(retrained, **RETRAINED, mean=torch.tensor([1.0, 2, 3, 4]), deviation=torch.tensor([1.0, 2.0, 0.5, 4.0])),
    as_trained,
    logit_adjusted,
    partial(logit_adjusted, tau=0.4),
    partial(tau_normalised, tau=0.7),
    partial(temperature_scaled, temperature=2.5),
]


def plain(scale=3.0):
    head = LinearHead(4, 3)
    head.scale.fill_(scale)
    return head


def scaled():
    head = ScaledHead(plain(1.0))
    head.class_scale.data.copy_(torch.tensor([0.5, 1.0, 2.0]))
    head.scale.fill_(2.0)
    return head


@pytest.mark.parametrize("rule", RULES, ids=["retrained", "as trained", "tau 1", "tau 0.4", "norms", "temperature"])
@pytest.mark.parametrize("build", [plain, scaled])
def test_one_layer_gives_the_rule_s_scores(build, rule):
    torch.manual_seed(0)
    head, features = build(), 5 * torch.randn(7, 4)
    counts = torch.tensor(CONFIG["class_counts"], dtype=torch.float64)
    expected = rule(Predictions(features, head(features), torch.full((7,), -1), counts, dict(head.state_dict())))
    layer = affine(head, CONFIG, rule)
    assert (layer.weight.dtype, head.weight.dtype if build is plain else head.inner.weight.dtype) == (torch.float32,) * 2
    torch.testing.assert_close(layer(features), expected, rtol=1e-5, atol=1e-5)


def test_logit_adjustment_is_a_change_of_the_bias():
    head = plain()
    layer = affine(head, CONFIG, partial(logit_adjusted, tau=2.0))
    torch.testing.assert_close(layer.weight, 3 * head.weight)
    torch.testing.assert_close(layer.bias, 3 * head.bias - 2 * torch.tensor([0.6, 0.3, 0.1]).log())


@pytest.mark.parametrize(
    ("head", "rule"),
    [
        (CosineHead(4, 3), as_trained),
        (ScaledHead(CosineHead(4, 3)), as_trained),
        (AlignedHead(LinearHead(4, 3)), as_trained),
        (ScaledHead(AlignedHead(LinearHead(4, 3))), as_trained),
        (LinearHead(4, 3), nearest_class_mean),
        (LinearHead(4, 3), rebalanced),
        (LinearHead(4, 3), deconfounded),
        (LinearHead(4, 3), lambda predictions: predictions.logits),
    ],
)
def test_what_is_not_known_to_be_linear_is_left_alone(head, rule):
    assert affine(head, CONFIG, rule) is None
