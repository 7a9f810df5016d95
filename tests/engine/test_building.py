"""The optimizer of a stage: fused where the recipe leaves it open."""

from functools import partial
from types import SimpleNamespace

import pytest
import torch

from longtail.engine.optimizers import new_optimizer


@pytest.mark.parametrize(
    ("chosen", "fused"), [({}, True), ({"fused": False}, False), ({"foreach": True}, None), ({"foreach": False}, None)]
)
@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.AdamW])
def test_a_recipe_may_choose_how_its_optimizer_steps(kind, chosen, fused):
    weight = torch.nn.Parameter(torch.ones(3))
    stage = SimpleNamespace(optimizer=partial(kind, lr=0.1, **chosen))
    optimizer = new_optimizer(stage, [{"params": [weight]}], torch.device("cpu"))
    assert (optimizer.defaults["fused"], optimizer.defaults["foreach"]) == (fused, chosen.get("foreach"))
    weight.sum().backward()
    optimizer.step()
    assert (weight < 1).all()


def test_an_optimizer_that_cannot_be_fused_is_built_as_it_is():
    weight = torch.nn.Parameter(torch.ones(3))
    stage = SimpleNamespace(optimizer=partial(torch.optim.Rprop, lr=0.1))
    assert "fused" not in new_optimizer(stage, [{"params": [weight]}], torch.device("cpu")).defaults
