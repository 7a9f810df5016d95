"""The loss for the Trainer of transformers: its mode, and accumulated batches without labels."""

from importlib import import_module

import pytest
import torch

from longtail.losses import CrossEntropyLoss, GCLLoss

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
