"""Describes recipes as JSON, hashes them, and changes them at a dotted path. All of it works on any plain data."""

from __future__ import annotations

import hashlib
import inspect
import json
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import Field, fields, is_dataclass, replace
from functools import partial
from typing import Any

from longtail.errors import UserError
from longtail.text import did_you_mean

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


def change(thing: Any, path: str, value: Any) -> Any:
    """A copy of `thing` with the value at a dotted path replaced, as by `change(recipe, "stages.0.loss.scale", 20)`.

    Raises:
        UserError: the path names something that does not exist (the message lists what does), or the value does not fit there.
    """
    head, rest = _first(thing, path)
    current = member(thing, head)
    new = change(current, rest, value) if rest else checked(value, current, head)
    if isinstance(thing, tuple):
        index = int(head)
        return (*thing[:index], new, *thing[index + 1 :])
    if isinstance(thing, partial):
        return partial(thing.func, **{**thing.keywords, head: new})
    if is_dataclass(thing) and not isinstance(thing, type):
        return replace(thing, **{head: new})
    if isinstance(thing, Mapping):
        return {**thing, head: new}
    return partial(thing, **{head: new})


def look_up(thing: Any, path: str) -> Any:
    """The value at a dotted path, the one that `change` would replace."""
    head, rest = _first(thing, path)
    return look_up(member(thing, head), rest) if rest else member(thing, head)


def checked(value: Any, current: Any, name: str) -> Any:
    """Returns `value`, as a float or tuple where it replaces one.

    Args:
        value: the new value.
        current: the value that it replaces.
        name: name of the field or hyper-parameter, for the message.

    Raises:
        UserError: the value is not finite, has another type than the current one, or is below 1 where it counts epochs or images.
    """
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"'{name}' must be a finite number; got {value}.")
    if isinstance(current, bool) or current is None or callable(current):
        fits = isinstance(value, bool) if isinstance(current, bool) else True
        fits = fits and not (callable(current) and not callable(value) and value is not None)
    elif isinstance(current, (int, float)):
        fits = isinstance(value, (int, float)) and not isinstance(value, bool)
        fits = fits and not (isinstance(current, int) and float(value) != int(value) and name != "scale")
    else:
        fits = isinstance(value, type(current)) or (isinstance(current, tuple) and isinstance(value, list))
    if not fits:
        raise UserError(f"'{name}' is {_shown(current)} and cannot become {_shown(value)}.")
    if name in ("epochs", "batch_size") and value < 1:
        raise UserError(f"'{name}' must be at least 1; got {value}.")
    if isinstance(value, (list, tuple)) and isinstance(current, tuple):
        return tuple(_as_number(each, current[0] if current else None) for each in value)
    return tuple(value) if isinstance(value, list) else _as_number(value, current)


def _as_number(value: Any, current: Any) -> Any:
    """A number as the one that it replaces is written, so that 1 and 1.0 are the same experiment; anything else as it is."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or isinstance(current, bool):
        return value
    if isinstance(current, float):
        return float(value)
    whole = isinstance(value, float) and value.is_integer() and (current is None or isinstance(current, int))
    return int(value) if whole else value


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


def _first(thing: Any, path: str) -> tuple[str, str]:
    """The first name of a path, and the rest; in a mapping the whole path, as its keys (parameter patterns) may contain dots."""
    if isinstance(thing, Mapping):
        return path, ""
    head, _, rest = path.partition(".")
    return head, rest


def member(thing: Any, name: str) -> Any:
    """The value of one field or hyper-parameter, which is one step of a dotted path.

    Raises:
        UserError: there is no such field or hyper-parameter; the message lists those that exist.
    """
    known = _members(thing)
    if name not in known and isinstance(thing, tuple):
        raise UserError(f"There is no entry '{name}' in a list whose entries are {', '.join(known) or 'none'}.")
    if name not in known:
        owner = thing.func if isinstance(thing, partial) else thing
        label = getattr(owner, "__name__", type(owner).__name__)
        raise UserError(f"{label} has no '{name}'.{did_you_mean(name, known)} It has {', '.join(known) or 'nothing to change'}.")
    return known[name]


def _members(thing: Any) -> dict[str, Any]:
    if isinstance(thing, tuple):
        return {str(index): item for index, item in enumerate(thing)}
    if is_dataclass(thing) and not isinstance(thing, type):
        return {f.name: getattr(thing, f.name) for f in fields(thing)}
    if isinstance(thing, Mapping):
        return dict(thing)
    return parameters_of(thing) if callable(thing) else {}


def _is_hyper_parameter(parameter: inspect.Parameter) -> bool:
    if parameter.kind is parameter.KEYWORD_ONLY:
        return True
    named = parameter.kind is parameter.POSITIONAL_OR_KEYWORD and parameter.default is not parameter.empty
    return named and parameter.name != "progress"


def _shown(value: Any) -> str:
    return name_of(value.func if isinstance(value, partial) else value) if callable(value) else repr(value)
