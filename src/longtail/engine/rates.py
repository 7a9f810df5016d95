"""Learning rates that lie on the device, where a recorded step reads them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.optim import Optimizer


class DeviceRates:
    """The learning rates of an optimizer's groups, as one vector of which each group has an element.

    Args:
        optimizer: its groups get the elements as `lr`.
        base: learning rate of each group before the schedule.
        device: device of the parameters; in float32 on a GPU, whose fused kernels ask for it, else in float64.
    """

    def __init__(self, optimizer: Optimizer, base: Sequence[float], device: torch.device) -> None:
        self.base = torch.tensor(base, dtype=torch.float64).to(device)
        self.rates = self.base.to(torch.float64 if device.type == "cpu" else torch.float32, copy=True)
        self.factor = 1.0
        for group, rate in zip(optimizer.param_groups, self.rates.unbind(), strict=True):
            group["lr"] = rate

    def write(self, factor: float) -> None:
        """Multiplies the base rates by what the schedule says, without waiting for the device."""
        if factor != self.factor:
            self.rates.copy_(self.base * factor)
            self.factor = factor


def takes_device_rates(optimizer: Optimizer) -> bool:
    """Whether the optimizer reads its learning rate on the device: torch's own do in their fused and capturable forms."""
    own = type(optimizer).__module__.startswith("torch.optim.")
    return own and any(bool(optimizer.defaults.get(form)) for form in ("fused", "capturable"))
