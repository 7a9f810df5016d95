"""The training step of a stage as one module, whose gradients several processes average."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from longtail.data.loaders import Batch
from longtail.together import SynchronisedBatchNorm, joined, world
from longtail.weighting import Progress


class WholeStep(nn.Module):
    """Computes a step's loss of a batch, that of all processes together: what reaches into the network is inside as well.

    Args:
        network: network that the step calls.
        loss: loss of the stage, with its loss on features; in several processes each is given the rows of all of them.
        step: step of the stage.
        synchronised: whether batch norm normalises over the images of all processes.
    """

    def __init__(self, network: nn.Module, loss: nn.Module, step: Callable[..., Tensor], *, synchronised: bool = True) -> None:
        super().__init__()
        self.network, self.loss, self.step, self.synchronised, self.images = network, loss, step, synchronised, 0
        for part in filter(None, (loss, getattr(loss, "feature_loss", None))) if world() > 1 else ():
            part.register_forward_pre_hook(self._join)

    def forward(self, batch: Batch, progress: Progress) -> Tensor:
        if world() == 1 or not self.synchronised:
            return self._value(batch, progress)
        with SynchronisedBatchNorm():
            return self._value(batch, progress)

    def _value(self, batch: Batch, progress: Progress) -> Tensor:
        self.images = batch.images_of_all
        value: Tensor = self.step(self.network, self.loss, batch, progress)
        return value

    def _join(self, loss: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        outputs, labels, *others = arguments
        return (joined(outputs, self.images), joined(labels, self.images), *others)


def averaged(step: WholeStep) -> nn.Module:
    """The step with gradients that are averaged over all processes, in which it has the weights of the first one.

    Which parameters get no gradient is found anew in each step, since it may depend on the step: a curriculum, the user's own.
    Buffers are not copied, since they are equal in all processes.
    """
    if world() == 1:
        return step
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nn.parallel.DistributedDataParallel(step, broadcast_buffers=False, find_unused_parameters=True)
