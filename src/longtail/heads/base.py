"""What heads share."""

from __future__ import annotations

from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor

Features = Float[Tensor, "batch features"]
Logits = Float[Tensor, "batch classes"]


class Head(Protocol):
    """What the loop knows of a head: it keeps the loss's scale at the end of a stage."""

    scale: Tensor


def at_least_float32(features: Tensor) -> Tensor:
    """Half-precision features as float32; float32 and float64 stay what they are."""
    return features if features.dtype == torch.float64 else features.float()
