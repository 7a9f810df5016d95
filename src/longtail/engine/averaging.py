"""The exponential moving average of a network's weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """Exponential moving average of the parameters and the statistics of a network: a <- a + (w - a) / n after every step.

    n is a share of the steps of the whole stage, so that the weights at its beginning do not count in the end, however short the
    stage is; numbers that are not floating point are those of the network.

    Args:
        model: the network that is trained.
        steps: number n of steps that the average extends over.
    """

    def __init__(self, model: nn.Module, *, steps: float) -> None:
        self.weight = 1 / max(steps, 1.0)
        self.network = {name: tensor for name, tensor in model.state_dict().items() if tensor.is_floating_point()}
        self.average = {name: tensor.clone() for name, tensor in self.network.items()}

    def restart(self) -> None:
        """Begins at the network's present weights."""
        self.load_state_dict(self.network)

    @torch.no_grad()
    def update(self) -> None:
        """Adds the weights after one more step; nothing is read back from the device."""
        torch._foreach_lerp_(list(self.average.values()), list(self.network.values()), self.weight)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Inside the `with` block the network has the averaged weights."""
        own = {name: tensor.clone() for name, tensor in self.network.items()}
        self.copy_to_network(self.average)
        try:
            yield
        finally:
            self.copy_to_network(own)

    @torch.no_grad()
    def copy_to_network(self, tensors: dict[str, Tensor]) -> None:
        """Overwrites the weights of the network."""
        for name, tensor in self.network.items():
            tensor.copy_(tensors[name])

    def state_dict(self) -> dict[str, Tensor]:
        """The averaged tensors by their names in the network."""
        return self.average

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Continues from stored averages."""
        for name, tensor in self.average.items():
            tensor.copy_(state[name])
