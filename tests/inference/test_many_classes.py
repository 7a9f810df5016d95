"""Parts whose memory would grow beyond need with the number of classes."""

import pytest
import torch

from longtail.inference.retrained import remembered_steps
from longtail.losses import GALALoss


@pytest.mark.parametrize(
    ("classes", "features", "steps"), [(100, 64, 100), (1000, 2048, 100), (8142, 2048, 16), (10**6, 2048, 5)]
)
def test_re_training_remembers_as_many_steps_as_fit_into_two_gibibytes(classes, features, steps):
    assert remembered_steps(classes * features) == steps
    bytes_of_history = 2 * steps * 4 * classes * features
    assert steps in (5, 100) or 2**31 * (1 - 1 / steps) < bytes_of_history <= 2**31


def test_gala_keeps_vectors_alone():
    """The authors' code keeps two C x C matrices: 530 MB at 8,142 classes."""
    loss = GALALoss([1] * 8142)
    assert max(buffer.numel() for buffer in loss.buffers()) == 8142
    loss(torch.zeros(2, 8142, requires_grad=True), torch.tensor([0, 1]))
    assert max(buffer.numel() for buffer in loss.buffers()) == 8142
