"""The contract of heads (`Head`), and functions that heads and losses share: float32 under autocast."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from longtail.arguments import as_rows, in_a_program
from longtail.errors import UserError, WrongTypeError
from longtail.together import mean_over_processes

Features = Float[Tensor, "batch features"]
Logits = Float[Tensor, "batch classes"]


class PreciseModule(nn.Module):
    """A module whose buffers stay in float32 at least, whatever it is cast to, and whose state changes where it learns alone.

    Half precision has no number above 65,504, which counts of images and sums exceed; Apple's GPUs hold no float64, so float64
    buffers become float32 there. Parameters are cast as in any module.
    """

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        own = {name: in_full(buffer, fn) for name, buffer in self._buffers.items() if buffer is not None}
        self._buffers.update(dict.fromkeys(own))
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._buffers.update(own)
        return self

    @property
    def learning(self) -> bool:
        """Whether `forward` may change the module's state: in training mode and where gradients are recorded, only then."""
        return self.training and torch.is_grad_enabled()


def in_full(buffer: Tensor, fn: Callable[[Tensor], Tensor]) -> Tensor:
    """The buffer after a move or a cast, but in float32 where the cast was to less, or where the device holds no float64."""
    try:
        moved = fn(buffer)
    except TypeError:
        moved = fn(buffer.float())
    narrow = moved.is_floating_point() and moved.dtype.itemsize < 4
    if not narrow:
        return moved
    return torch.empty_like(moved, dtype=torch.float32) if buffer.is_meta else buffer.to(moved.device, torch.float32)


class Head(PreciseModule):
    """Base class of classifier heads: features (B, D) in, logits (B, C) out, in float32 under autocast.

    A head is built as `Head(in_features, num_classes, *, ...)`, or as `Head(head, *, ...)` where it wraps another head. A head of
    your own derives from this class, calls `super().__init__()` and multiplies its logits by `scale` in `forward`. The attributes
    are used as follows:

    scale: buffer of shape (), 1 while a stage trains, in this head and in every head inside it. When the stage ends, the `scale`
        of the loss is stored in the outermost head, so that the stored network gives the logits that the loss was computed from.
    weight: parameter (C, D), one vector per class. It is needed by heads that wrap this one, by stages that reset it, and by post
        hoc rules such as `tau_normalised`; only these refuse a head without it.
    inner: the head that this one wraps, which keeps its own `weight`; a head that wraps none has no such attribute. A loss that
        requires a class of heads checks the innermost head.
    reduced: method that averages over all processes what `forward` adds to its own buffers, so that the buffers stay equal in
        all processes.
    learning: whether `forward` may change the head's own buffers: in training mode, where gradients are recorded.

    Args:
        device: device on which `scale` is created. None: torch's default device.
    """

    scale: Tensor

    def __init__(self, *, device: torch.device | None = None) -> None:
        super().__init__()
        self.register_buffer("scale", torch.ones((), device=device))

    def reduced(self, increment: Tensor, images: int = 1) -> Tensor:
        """The mean of an increment over all processes, each of which has so many images; unchanged in one process."""
        return mean_over_processes(increment, images)

    def checked(self, features: Features, size: int) -> Features:
        """The features (B, D), in float32 at least.

        Raises:
            UserError: they are not of shape (B, D), where D is `size`.
            WrongTypeError: they are no tensor.
        """
        if in_a_program():
            return at_least_float32(features)
        name = type(self).__name__
        return at_least_float32(
            as_rows(name, needs_tensor(name, features, "features"), columns=size, name="features", of="feature")
        )


def check_head(head: object) -> Head:
    """Returns the head; raises an error, before training, if the engine could not store the loss's scale in it.

    Raises:
        UserError: it is not a `Head`, or its `scale` is not a buffer with one number.
    """
    name = type(head).__name__
    if not isinstance(head, Head):
        raise WrongTypeError(
            f"The head {name} does not derive from longtail.heads.Head: derive it, call `super().__init__()`, and multiply its "
            f"logits by `self.scale`."
        )
    scale = dict(head.named_buffers(recurse=False)).get("scale")
    if scale is None or scale.ndim:
        raise UserError(f"The head {name} replaces the buffer `scale` of longtail.heads.Head; give its attribute another name.")
    return head


def check_equal_parts(owner: str, in_features: int, **parts: int) -> None:
    """Refuses a number of parts, given as the owner's argument, into which the features cannot be cut.

    Raises:
        UserError: the number does not divide the number of features; the numbers that do are listed.
    """
    ((name, count),) = parts.items()
    if count < 1 or in_features % count:
        possible = ", ".join(str(k) for k in range(1, in_features + 1) if in_features % k == 0)
        raise UserError(f"{owner} cuts {in_features} features into equal parts; {name}={count} is none of {possible}.")


def innermost(head: nn.Module) -> nn.Module:
    """The innermost of heads that wrap each other; the head itself if it wraps none."""
    return one_inside_the_other(head)[-1]


def one_inside_the_other(head: nn.Module) -> list[nn.Module]:
    """The head, the one that it wraps, the one that this wraps, and so on to the innermost."""
    heads = [head]
    while isinstance(inner := getattr(heads[-1], "inner", None), nn.Module):
        heads.append(inner)
    return heads


def class_vectors(head: nn.Module) -> Float[Tensor, "classes features"]:
    """The `weight` (C, D) of a head, or of the innermost head if it wraps others.

    Raises:
        UserError: the head has no such weight.
    """
    core = innermost(head)
    weight = getattr(core, "weight", None)
    if not isinstance(weight, Tensor) or weight.ndim != 2:
        raise UserError(f"The head {type(core).__name__} has no `weight` of shape (C, D), which it needs to be wrapped or reset.")
    return weight


def logits_of(head: nn.Module, features: Features) -> Logits:
    """The logits of a head that another wraps; a plain `nn.Linear` of lower precision computes them in that of the features."""
    if type(head) is nn.Linear and head.weight.dtype != features.dtype:
        return linear(features, head)
    logits: Logits = head(features)
    return logits


def linear(features: Features, layer: nn.Linear) -> Logits:
    """A linear layer in the precision of the features, also where its own is lower."""
    bias = None if layer.bias is None else layer.bias.to(features.dtype)
    return nn.functional.linear(features, layer.weight.to(features.dtype), bias)


def needs_tensor(owner: str, values: object, name: str) -> Tensor:
    """Returns what a network gave; raises an error if it is no tensor."""
    if not isinstance(values, Tensor):
        raise WrongTypeError(f"{owner} needs `{name}` as a tensor, as a network gives them; got {type(values).__name__}.")
    return values


def at_least_float32(values: Tensor) -> Tensor:
    """Converts features or logits in half precision to float32; float32 and float64 are returned unchanged."""
    return values if values.dtype == torch.float64 else values.float()
