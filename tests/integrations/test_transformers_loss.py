"""The loss for the Trainer of transformers: its mode, and accumulated batches without labels."""

from importlib import import_module

import pytest
import torch

from longtail.losses import CrossEntropyLoss, GALALoss, GCLLoss

pytest.importorskip("transformers", reason="transformers is not installed")
transformers = import_module("longtail.integrations.transformers")
LABELS = torch.tensor([0, 2, 1, 0])
IGNORED = torch.full((4,), -100)


@pytest.fixture
def logits():
    return torch.randn(8, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()


def test_noise_is_drawn_only_where_gradients_are_recorded(logits):
    loss = GCLLoss([100, 10, 1])
    compute = transformers.loss_function(loss)
    outputs = {"logits": logits[:4].clamp(-1, 1)}
    with torch.no_grad():
        first, second = compute(outputs, LABELS), compute(outputs, LABELS, 4)
    assert first == second == loss.eval()(outputs["logits"], LABELS)
    loss.train()
    assert compute(outputs, LABELS) != compute(outputs, LABELS)
    assert loss.training


@pytest.mark.parametrize("first", [LABELS, torch.tensor([0, -100, 1, -100])])
def test_a_batch_without_labels_adds_nothing_to_accumulated_ones(logits, first):
    compute = transformers.loss_function(CrossEntropyLoss([100, 10, 1]))
    count = (first != -100).sum()
    total = compute({"logits": logits[:4]}, first, count) + compute({"logits": logits[4:]}, IGNORED, count)
    total.backward()
    expected = torch.nn.functional.cross_entropy(logits[:4], first)
    torch.testing.assert_close(total, expected)
    torch.testing.assert_close(logits.grad, torch.autograd.grad(expected, logits)[0])


def test_gala_learns_nothing_from_a_batch_without_labels(logits):
    loss = GALALoss([100, 10, 1])
    before = {name: value.clone() for name, value in loss.state_dict().items()}
    total = transformers.loss_function(loss)({"logits": logits[:4]}, IGNORED, torch.tensor(8))
    total.backward()
    assert total == 0
    assert not logits.grad.any()
    assert all(torch.equal(value, before[name]) for name, value in loss.state_dict().items())
