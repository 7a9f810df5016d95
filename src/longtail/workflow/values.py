"""Values of options as callers from Python give them: numbers of numpy, numbers as text, and paths with ~ are understood."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from types import NoneType
from typing import Any, get_args

NUMBERS = (int, float)


def as_declared(value: Any, hint: Any) -> Any:
    """A value as an option of the type `hint` has it; what is of another kind stays as it is, to be refused with its name.

    `np.int64(3)`, `3.0` and `"3"` become 3 where a whole number is expected, and texts become paths.
    """
    kinds = get_args(hint) or (hint,)
    value = plain(value)
    if Path in kinds:
        return _path(value, text_stays=str in kinds)
    if {str, NoneType}.issuperset(kinds) and isinstance(value, (list, tuple)) and all(isinstance(each, str) for each in value):
        return ",".join(value)
    wanted = next((kind for kind in NUMBERS if kind in kinds), None)
    return value if wanted is None or isinstance(value, bool) else _number(value, wanted)


def plain(value: Any) -> Any:
    """A number of numpy, or a tensor of one number, as Python's own number; anything else as it is."""
    if not hasattr(value, "item") or getattr(value, "ndim", None) != 0:
        return value
    own = value.item()
    return float(str(value)) if isinstance(own, float) and type(value).__module__ == "numpy" else own


def _number(value: Any, wanted: type) -> Any:
    """The value as a number, a whole one as int where that is wanted."""
    if isinstance(value, str):
        with suppress(ValueError):
            return _number(float(value), wanted) if any(sign in value for sign in ".eEn") else int(value)
    return int(value) if wanted is int and isinstance(value, float) and value.is_integer() else value


def _path(value: Any, *, text_stays: bool) -> Any:
    """A path with the user's home folder in place of ~; the name of a setting stays a text."""
    if not isinstance(value, (str, os.PathLike)):
        return value
    try:
        path = Path(value).expanduser()
    except (RuntimeError, TypeError):  # there is no such user, or the path is made of bytes
        return value
    if text_stays and isinstance(value, str):
        return str(path) if value.startswith("~") else value
    return path
