"""Functions that check a loss against the contract of `Loss`, set its class weights and say whether it needs a generator."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from functools import cache
from typing import Any, Literal

from torch import Tensor, nn

from longtail.errors import UserError, WrongTypeError
from longtail.heads.base import innermost
from longtail.losses.base import Loss
from longtail.losses.ranges import OneWarning
from longtail.weighting import Weights


def check_contract(loss: object, classes: int) -> None:
    """Refuses a loss that the engine cannot train with, before its stage begins.

    A plain `nn.Module` is accepted like a `Loss` if it has a buffer `weight` and, if it scales its logits, a `scale`.

    Args:
        loss: the stage's loss on the CPU, with its `feature_loss` where there is one.
        classes: number of classes C.

    Raises:
        UserError: `forward`, the class weights or the scale are missing or of the wrong type, or the loss draws random numbers
            but takes no generator.
    """
    name = type(loss).__name__
    if not isinstance(loss, nn.Module):
        raise WrongTypeError(f"A stage's `loss` must build a torch.nn.Module; it built {name}.")
    if type(loss).forward is nn.Module.forward:
        raise UserError(f"The loss {name} has no `forward(self, logits, labels)`; write one that returns a scalar.")
    weights = _class_weights(loss)
    if not weights or any(weight.shape != (classes,) or not weight.is_floating_point() for weight in weights):
        raise UserError(
            f"The loss {name} needs a buffer `weight` of {classes} floating-point numbers, the class weights that each epoch "
            f"sets: derive {name} from longtail.losses.Loss, and weight the images by `self.weight`."
        )
    _check_no_hidden_modules(loss)
    _check_scale(loss)
    needs_generator(loss)
    if (feature_loss := getattr(loss, "feature_loss", None)) is not None:
        needs_generator(feature_loss)


def check_head_of(loss: nn.Module, head: nn.Module) -> None:
    """Refuses a head that is not of the class that the loss, or a loss inside it, requires.

    Raises:
        UserError: the innermost head is not of the class in `requires_head`.
    """
    for part in _parts(loss):
        needed = getattr(type(part), "requires_head", None)
        if needed is not None and not isinstance(innermost(head), needed):
            raise UserError(
                f"{type(part).__name__} needs a {needed.__name__}, but the recipe's head is {type(head).__name__}. "
                f"Set the recipe's head to {needed.__name__}."
            )
        watched = getattr(part, "range", None)
        if needed is not None and isinstance(watched, OneWarning):
            watched.done = True  # what a head of the class gives needs no look


def set_class_weights(loss: nn.Module, weight: Weights) -> None:
    """Overwrites the class weights (C,) of a loss and of the losses that it contains, but not those of its `feature_loss`."""
    for own in _class_weights(loss):
        own.copy_(weight)


def needs_generator(loss: nn.Module) -> bool:
    """Whether a loss must be called with `generator=`: its `forward` takes it, or passes its keywords on to a loss that does.

    Raises:
        UserError: the loss draws random numbers, or contains one that does, but its `forward` takes no generator.
    """
    taken = _how_generator_is_taken(type(loss).forward)
    if taken == "by name":
        return True
    parts = _parts(loss)
    drawing = next((part for part in parts if _draws(part)), None)
    if taken == "among keywords":
        return drawing is not None or not any(isinstance(part, Loss) for part in parts[1:])
    if drawing is not None:
        contains = "" if drawing is loss else f"contains {type(drawing).__name__}, which "
        raise UserError(
            f"The loss {type(loss).__name__} {contains}draws random numbers, but its `forward` takes no `generator`: write "
            f"`forward(self, logits, labels, *, generator=None)` and pass `generator` on, so that a resumed run draws the same "
            f"numbers."
        )
    return False


def _check_no_hidden_modules(loss: nn.Module) -> None:
    """Refuses modules kept in a plain list or dictionary, which neither device, class weights nor generator would reach."""
    for part in _parts(loss):
        for name, value in vars(part).items():
            inside = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple, set)) else ()
            if not name.startswith("_") and any(isinstance(item, nn.Module) for item in inside):
                raise UserError(
                    f"The loss {type(loss).__name__} keeps modules in the plain attribute `{name}`; use torch.nn.ModuleList or "
                    f"torch.nn.ModuleDict, so that training finds them."
                )


def _check_scale(loss: nn.Module) -> None:
    name, scale = type(loss).__name__, getattr(loss, "scale", 1.0)
    number = scale.item() if isinstance(scale, Tensor) and scale.ndim == 0 else scale
    if not (isinstance(number, (int, float)) and 0 < number < math.inf):
        raise UserError(f"The loss {name} needs one finite number above 0 as `scale`, the factor on its logits; got {scale!r}.")
    scaled = next((part for part in _parts(loss) if isinstance(part, Loss) and part.scale != 1), None)
    if number == 1 and scaled is not None:
        raise UserError(
            f"The loss {name} contains {type(scaled).__name__} with a scale of {scaled.scale}, but has none of its own: set "
            f"`self.scale` in {name} to the factor on its logits, which the head keeps when the stage ends."
        )


def _class_weights(loss: nn.Module) -> list[Tensor]:
    parts = [part for part in _parts(loss) if part is loss or isinstance(part, Loss)]
    return [buffer for part in parts for name, buffer in part.named_buffers(recurse=False) if name == "weight"]


def _parts(loss: nn.Module) -> list[nn.Module]:
    """The loss and all modules inside it, except its `feature_loss`, which is called separately."""
    inside = (child.modules() for name, child in loss.named_children() if name != "feature_loss")
    return [loss, *(part for modules in inside for part in modules)]


def _draws(part: nn.Module) -> bool:
    return getattr(part, "draws_random_numbers", False) or _how_generator_is_taken(type(part).forward) == "by name"


@cache
def _how_generator_is_taken(forward: Callable[..., Any]) -> Literal["by name", "among keywords", "not at all"]:
    parameters = inspect.signature(forward).parameters
    if "generator" in parameters:
        return "by name"
    return "among keywords" if any(p.kind is p.VAR_KEYWORD for p in parameters.values()) else "not at all"
