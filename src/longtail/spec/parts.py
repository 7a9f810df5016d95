"""Restores parts from their descriptions. Only parts that are listed here are restored, so that no file decides what is run."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any

import torch

from longtail import heads, inference, losses, networks, schedules, steps, weighting
from longtail.errors import UserError
from longtail.losses import clouds
from longtail.networks import TimmBackbone
from longtail.networks.timm_backbone import is_timm_name
from longtail.spec.description import MOVED, public_path

Parts = Mapping[str, Callable[..., Any]]
PACKAGES = ("heads", "inference", "losses", "networks", "schedules", "steps", "weighting")
NONE: Parts = {}


def defined_in(module: ModuleType) -> Parts:
    """Functions and classes that a package exports, or that a module defines, by the name that descriptions give them."""
    names = getattr(module, "__all__", None) or [n for n in vars(module) if not n.startswith("_")]
    found = [
        vars(module)[name] for name in names if inspect.isfunction(vars(module)[name]) or inspect.isclass(vars(module)[name])
    ]
    return {public_path(part): part for part in found if part.__module__.startswith(module.__name__)}


def _taking(module: ModuleType, *positional: str) -> Parts:
    """Those parts of a package whose only arguments beside keywords are these."""
    return {name: part for name, part in defined_in(module).items() if _positional(part) == positional}


def _positional(part: Callable[..., Any]) -> tuple[str, ...]:
    try:
        parameters = inspect.signature(part).parameters.values()
    except (TypeError, ValueError):
        return ("",)
    return tuple(each.name for each in parameters if each.kind is not each.KEYWORD_ONLY)


PARTS: Parts = {
    **{
        n: part
        for m in (heads, inference, losses, networks, schedules, steps, weighting, clouds)
        for n, part in defined_in(m).items()
    },
    **{public_path(part): part for part in vars(torch.optim).values() if inspect.isclass(part)},
}
"""Every part that may be an argument of another one. None of them reads a file, downloads or runs a command."""


@dataclass(frozen=True)
class Slot:
    """A place in a model's description, and the parts that may stand there.

    Args:
        kind: what stands there, in words.
        parts: the parts, by their public import path.
        given: number of arguments that the part is called with.
        named: further arguments that the part is called with by name.
    """

    kind: str
    parts: Parts
    given: int = 0
    named: tuple[str, ...] = ()


BACKBONE = Slot("a backbone", _taking(networks))
BACKBONE_WRAPPER = Slot("a wrapper of backbones", _taking(networks, "backbone"), 1, ("image_size",))
HEAD = Slot("a head", _taking(heads, "in_features", "num_classes"), 2)
HEAD_WRAPPER = Slot("a wrapper of heads", _taking(heads, "head"), 1)
LOSS = Slot("a loss", _taking(losses, "class_counts"), 1)
RULE = Slot("an inference rule", _taking(inference, "predictions"), 1)


def restore(description: Any, slot: Slot | None = None, *, own: Parts = NONE) -> Any:
    """Restores the function or partial that `describe` described. Nothing is imported, and nothing is called.

    Args:
        description: a description, as JSON gives it.
        slot: the place that the part is for; None for any part or value.
        own: functions and classes of a user's own that may be restored as well, by name.

    Raises:
        UserError: a name is not that of a part, or is not one for that place; an argument is no plain value, or does not fit.
    """
    if slot is None and isinstance(description, list):
        return tuple(restore(item, own=own) for item in description)
    if slot is None and not (isinstance(description, dict) and "call" in description):
        return _value(description, own)
    if not isinstance(description, dict) or not isinstance(description.get("call"), str):
        place = slot.kind if slot else "a part"
        raise UserError(f"In place of {place}, which is described by its name and arguments, it has {_shown(description)}.")
    function = _found(description["call"], slot, own)
    keywords = {str(name): restore(value, own=own) for name, value in description.items() if name != "call"}
    _check_arguments(function, keywords, slot)
    return partial(function, **keywords) if keywords else function


def _value(value: Any, own: Parts) -> Any:
    if isinstance(value, dict):
        return {str(name): restore(each, own=own) for name, each in value.items()}
    if value is None or isinstance(value, (bool, int, str)) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise UserError(f"An argument has to be a number, a text, a list or a part; got {_shown(value)}.")


def _found(recorded: str, slot: Slot | None, own: Parts) -> Callable[..., Any]:
    name = MOVED.get(recorded, recorded)
    part = own.get(name) or (slot.parts if slot else PARTS).get(name)
    if part is not None:
        return part
    if name in PARTS and slot:
        raise UserError(f"'{recorded}' is not {slot.kind}.")
    if name.startswith(tuple(f"longtail.{package}." for package in PACKAGES)):
        raise UserError(f"'{recorded}' does not exist in this version of longtail, or is not made to be named in a file.")
    raise UserError(f"'{recorded}' is not part of longtail's networks, losses and rules; nothing else is run from a file.")


def _check_arguments(function: Callable[..., Any], keywords: Mapping[str, Any], slot: Slot | None) -> None:
    signature = inspect.signature(function)
    name = function.__name__
    try:
        if slot is None:
            signature.bind_partial(**keywords)
        else:
            signature.bind(*[None] * slot.given, **{**dict.fromkeys(slot.named), **keywords})
    except (TypeError, ValueError) as error:
        raise UserError(f"The arguments of {name} do not fit: {error}.") from error
    if function is TimmBackbone:
        _check_timm(keywords)


def _check_timm(keywords: Mapping[str, Any]) -> None:
    if keywords.get("pretrained", False) is not False:
        raise UserError("A stored backbone has `pretrained` false: its weights lie beside it, and nothing is downloaded.")
    name = keywords.get("name", "resnet18")
    if not isinstance(name, str) or not is_timm_name(name):
        raise UserError(f"timm has no model {_shown(name)}; this name is one of `timm.list_models()`.")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
