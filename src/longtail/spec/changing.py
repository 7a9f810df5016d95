"""Changes recipes at a dotted path. All of it works on any plain data."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from functools import partial
from typing import Any, get_args

from longtail.errors import UserError
from longtail.spec.description import name_of, parameters_of
from longtail.text import did_you_mean


def change(thing: Any, path: str, value: Any) -> Any:
    """A copy of `thing` with the value at a dotted path replaced, as by `change(recipe, "stages.0.loss.scale", 20)`.

    Raises:
        UserError: the path names something that does not exist (the message lists what does), or the value does not fit there.
    """
    head, rest = _first(thing, path)
    current = member(thing, head)
    if isinstance(value, float) and type(current) is int and takes_float(thing, head):
        current = float(current)
    new = change(current, rest, value) if rest else checked(value, current, head)
    if isinstance(thing, tuple):
        index = int(head)
        return (*thing[:index], new, *thing[index + 1 :])
    if isinstance(thing, partial):
        return partial(thing.func, *thing.args, **{**thing.keywords, head: new})
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
        raise UserError(f"'{name}' is {_shown(current)} and cannot become {_shown(value)}{_wanted(current, name)}.")
    if name in ("epochs", "batch_size") and value < 1:
        raise UserError(f"'{name}' must be at least 1; got {value}.")
    if isinstance(value, partial):
        return _with_floats(value)
    if isinstance(value, (list, tuple)) and isinstance(current, tuple):
        return tuple(_as_number(each, current[0] if current else None) for each in value)
    return tuple(value) if isinstance(value, list) else _as_number(value, current)


def _wanted(current: Any, name: str) -> str:
    """The kind of number that a value has to be, at the end of a sentence; "" for other values."""
    if isinstance(current, bool) or not isinstance(current, (int, float)):
        return ""
    return "; give a whole number" if isinstance(current, int) and name != "scale" else "; give a number"


def _as_number(value: Any, current: Any) -> Any:
    """A number as the one that it replaces is written, so that 1 and 1.0 are the same experiment; anything else as it is."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or isinstance(current, bool):
        return value
    if isinstance(current, float):
        return float(value)
    whole = isinstance(value, float) and value.is_integer() and (current is None or isinstance(current, int))
    return int(value) if whole else value


def takes_float(function: Any, name: str) -> bool:
    """Whether a keyword is declared as a float, as the momentum of torch's optimizers, whose default is written 0."""
    function = function.func if isinstance(function, partial) else function
    if not callable(function):
        return False
    parameter = inspect.signature(function).parameters.get(name)
    hint = None if parameter is None else parameter.annotation
    return hint in (float, "float") or float in get_args(hint)


def _with_floats(function: partial[Any]) -> partial[Any]:
    """A function with its keywords as a command line gives them: a whole number is a float where the default is one."""
    usual = parameters_of(function.func)
    given = {name: _as_typed(value, usual.get(name)) for name, value in function.keywords.items()}
    same = all(given[name] is value for name, value in function.keywords.items())
    return function if same else partial(function.func, *function.args, **given)


def _as_typed(value: Any, usual: Any) -> Any:
    """A keyword of a function as a command line gives it; the value itself where that changes nothing."""
    if isinstance(value, partial):
        return _with_floats(value)
    if type(value) is int and isinstance(usual, float):
        return float(value)
    floats = isinstance(usual, tuple) and usual and isinstance(usual[0], float) and isinstance(value, (tuple, list))
    return tuple(map(float, value)) if floats and any(type(each) is int for each in value) else value


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


def _shown(value: Any) -> str:
    return name_of(value.func if isinstance(value, partial) else value) if callable(value) else repr(value)
