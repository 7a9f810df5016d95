"""Describes recipes as JSON, and hashes them. All of it works on any plain data."""

from __future__ import annotations

import hashlib
import inspect
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import Field, fields, is_dataclass
from functools import partial
from typing import Any

from longtail.errors import UserError

# Current import paths of parts that descriptions, and so the hashes of experiments, name by an earlier import path. A part that
# moves once more gets its new path on the right side; the left side never changes.
MOVED = {
    "longtail.backbones.CifarResNet": "longtail.networks.CifarResNet",
    "longtail.backbones.TimmBackbone": "longtail.networks.TimmBackbone",
    "longtail.branches.AttentiveBackbone": "longtail.networks.AttentiveBackbone",
    "longtail.branches.TwoBranchBackbone": "longtail.networks.TwoBranchBackbone",
    "longtail.data.lists.listed": "longtail.data.published.listed",
    "longtail.models.Projection": "longtail.networks.Projection",
    "longtail.starts.class_means": "longtail.steps.class_means",
}
ADDED = {"smoothing": 0.0, "interpolation": "bilinear", "fit": "pad", "zero_init_last": True}
"""Keywords that were added later, with their defaults: descriptions leave these defaults out, so that hashes from before hold."""
RECORDED = {today: recorded for recorded, today in MOVED.items()}


def describe(thing: Any) -> Any:
    """Describes anything as JSON: functions by name, with every hyper-parameter that has a value.

    The path of the data (`root`) is not part of the description. Dataclass fields that are marked as prose are left out, and so
    are those that are marked as later additions while they have their default, so that the hashes from before stay what they
    were; a field that was renamed is described under the name it was first recorded with.
    """
    if is_dataclass(thing) and not isinstance(thing, type):
        described = (f for f in fields(thing) if not (f.metadata.get("prose") or _is_unset(thing, f)))
        return {f.metadata.get("recorded_as", f.name): describe(getattr(thing, f.name)) for f in described}
    if isinstance(thing, partial):
        _check_keywords_alone(thing)
        known = parameters_of(thing.func)
        given = {name: describe(value) for name, value in thing.keywords.items() if not _is_usual(name, value, known.get(name))}
        return {"call": _recorded(thing.func), **_defaults(thing.func), **given}
    if callable(thing):
        return {"call": _recorded(thing), **_defaults(thing)}
    if isinstance(thing, Mapping):
        return {key: describe(value) for key, value in thing.items()}
    if isinstance(thing, (list, tuple)):
        return [describe(item) for item in thing]
    return thing


def digest(*things: Any) -> str:
    """sha256 of the descriptions of all arguments together, in hexadecimal digits."""
    return hashlib.sha256(json.dumps([describe(thing) for thing in things], sort_keys=True).encode()).hexdigest()


def name_of(function: Callable[..., Any]) -> str:
    """Name of a function or class in descriptions: the import path it was first recorded with, else its public import path."""
    path = public_path(function)
    return RECORDED.get(path, path)


def _is_unset(thing: Any, part: Field[Any]) -> bool:
    """Whether a field that was added later has its default value."""
    return bool(part.metadata.get("later")) and getattr(thing, part.name) == part.default


def _recorded(function: Callable[..., Any]) -> str:
    """The name, refused where it does not tell the function from others, which would then be taken for the same experiment."""
    name = name_of(function)
    if inspect.ismethod(function) and not isinstance(function.__self__, type):
        raise UserError(
            f"'{name}' is the method of an object, whose values its name does not say: write a function, and pass what varies as "
            f"keywords with `functools.partial`."
        )
    if "<" in name:
        raise UserError(
            f"'{name}' is defined inside a function, so that its name does not say what it does and a stored model could not "
            f"find it again: define it at the top of its file, and pass what varies as keywords with `functools.partial`."
        )
    return name


def _check_keywords_alone(thing: partial[Any]) -> None:
    """Refuses arguments without a name, which a description does not hold."""
    if thing.args:
        raise UserError(
            f"`functools.partial` of '{name_of(thing.func)}' has arguments without a name, which would be part of no "
            f"description, so that two experiments would be taken for one: pass them as keywords."
        )


def public_path(function: Callable[..., Any]) -> str:
    """Public import path of a function or class: through its package where the package exports it, else through its module."""
    if not hasattr(function, "__qualname__"):
        raise UserError(
            f"An object of {type(function).__name__} has no name that says what it does, so that two experiments would be taken "
            f"for one: write a function that calls it, and pass what varies as keywords with `functools.partial`."
        )
    module, name = function.__module__, function.__qualname__
    package = ".".join(module.split(".")[:2])
    return f"{package if getattr(sys.modules.get(package), name, None) is function else module}.{name}"


def parameters_of(function: Callable[..., Any]) -> dict[str, Any]:
    """Hyper-parameters of a function, class or partial with their values: fixed by the partial, else the default, else None."""
    fixed = dict(function.keywords) if isinstance(function, partial) else {}
    function = function.func if isinstance(function, partial) else function
    signature = inspect.signature(function).parameters.values()
    own = {p.name: None if p.default is p.empty else p.default for p in signature if _is_hyper_parameter(p)}
    return own | fixed


def _defaults(function: Callable[..., Any]) -> dict[str, Any]:
    """Descriptions of the keyword-only hyper-parameters that have a default value, so that the record is complete."""
    signature = inspect.signature(function).parameters.values()
    hyper = (p for p in signature if p.kind is p.KEYWORD_ONLY and p.default is not p.empty and p.default is not None)
    return {p.name: describe(p.default) for p in hyper if not _is_usual(p.name, p.default, p.default)}


def _is_usual(name: str, value: Any, default: Any) -> bool:
    """Whether a keyword was added later, and has its function's default, which stands for how it was before."""
    return name in ADDED and all(isinstance(each, (int, float, str)) and each == ADDED[name] for each in (value, default))


def _is_hyper_parameter(parameter: inspect.Parameter) -> bool:
    if parameter.kind is parameter.KEYWORD_ONLY:
        return True
    named = parameter.kind is parameter.POSITIONAL_OR_KEYWORD and parameter.default is not parameter.empty
    return named and parameter.name != "progress"
