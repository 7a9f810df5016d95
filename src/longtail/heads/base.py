"""The contract of heads (`Head`), and what heads and losses share: float32 under autocast, and means over processes."""

from __future__ import annotations

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn

from longtail.errors import UserError, WrongTypeError

Features = Float[Tensor, "batch features"]
Logits = Float[Tensor, "batch classes"]


class Head(nn.Module):
    """A classifier head as the engine trains it: features (B, D) in, logits (B, C) out, in float32 under autocast.

    Built `Head(in_features, num_classes, *, ...)`, or `Head(head, *, ...)` where it wraps another. A head of your own derives
    from this class, calls `super().__init__()` and multiplies its logits by `scale` in `forward`. What is done with each
    attribute:

    scale: buffer (), 1 while a stage trains, in this head and in every head inside. When the stage ends, the outermost head
        keeps the `scale` of the loss here, so that the stored logits are those the loss saw.
    weight: parameter (C, D), one vector per class, for heads that wrap this one, for stages that reset it, and for post hoc
        rules such as `tau_normalised`. Only those refuse a head without.
    inner: the head that this one wraps, which keeps its own `weight`; a head that wraps none has no such attribute. A loss that
        requires a head asks for the innermost one.
    reduced: method for what `forward` adds to its own buffers, so that all processes hold the same.

    Args:
        device: where `scale` is created. None: torch's default device.
    """

    scale: Tensor

    def __init__(self, *, device: torch.device | None = None) -> None:
        super().__init__()
        self.register_buffer("scale", torch.ones((), device=device))

    def reduced(self, increment: Tensor) -> Tensor:
        """The mean of an increment over all processes, whose batches are equally large; unchanged alone."""
        return mean_over_processes(increment)


def check_head(head: object) -> Head:
    """The head, refused before training where the engine could not keep the loss's scale in it.

    Raises:
        UserError: it is no `Head`, or its `scale` is not a buffer with one number.
    """
    name = type(head).__name__
    if not isinstance(head, Head):
        raise WrongTypeError(
            f"The head {name} does not derive from longtail.heads.Head: derive it, call `super().__init__()`, and multiply its "
            f"logits by `self.scale`."
        )
    scale = dict(head.named_buffers(recurse=False)).get("scale")
    if scale is None or scale.ndim:
        raise UserError(f"The head {name} replaces the buffer `scale` of longtail.heads.Head; name its own attribute otherwise.")
    return head


def innermost(head: nn.Module) -> nn.Module:
    """The head at the core of heads that wrap each other; a head that wraps none itself."""
    while isinstance(inner := getattr(head, "inner", None), nn.Module):
        head = inner
    return head


def class_vectors(head: nn.Module) -> Float[Tensor, "classes features"]:
    """The `weight` (C, D) of a head, of the innermost one where it wraps others.

    Raises:
        UserError: there is none.
    """
    core = innermost(head)
    weight = getattr(core, "weight", None)
    if not isinstance(weight, Tensor) or weight.ndim != 2:
        raise UserError(f"The head {type(core).__name__} has no `weight` of shape (C, D), which it needs to be wrapped or reset.")
    return weight


def at_least_float32(values: Tensor) -> Tensor:
    """Half-precision features or logits as float32; float32 and float64 stay what they are."""
    return values if values.dtype == torch.float64 else values.float()


def mean_over_processes(value: Tensor) -> Tensor:
    """The mean of a tensor over all processes of torch's process group; unchanged where there is no group."""
    if not (dist.is_available() and dist.is_initialized()):
        return value
    total = value.clone()
    dist.all_reduce(total)
    return total / dist.get_world_size()
