"""Dataclasses from the JSON that they were written as, with the type of every value checked."""

from __future__ import annotations

import math
from collections.abc import Mapping, Set
from dataclasses import is_dataclass
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints


def restored(kind: Any, content: Any, name: str) -> Any:
    """Converts the JSON `content` of the field `name` to its declared type `kind`; null becomes nan where that is float.

    Raises:
        ValueError: a value is of another type, or an object lacks a field.
    """
    origin, inner = get_origin(kind), get_args(kind)
    if origin is UnionType:
        return None if content is None else restored(inner[0], content, name)
    declared = get_type_hints(kind) if is_dataclass(kind) else {}
    _check(kind, content, name, declared.keys())
    if declared:
        return kind(**{field: restored(of, content[field], field) for field, of in declared.items()})
    if origin is Mapping:
        return {key: restored(inner[1], value, f"{name}.{key}") for key, value in content.items()}
    if origin is tuple:
        kinds = inner[:1] * len(content) if inner[-1] is Ellipsis else inner
        return tuple(restored(of, item, name) for of, item in zip(kinds, content, strict=True))
    return content if kind is not float else math.nan if content is None else float(content)


def _check(kind: Any, content: Any, name: str, fields: Set[str]) -> None:
    """Refuses a value of a type other than the declared one, and an object that lacks a field."""
    origin = get_origin(kind)
    is_object = fields or origin is Mapping
    expected: Any = dict if is_object else list if origin is tuple else (int, float, NoneType) if kind is float else kind
    if not isinstance(content, expected):
        raise ValueError(f"'{name}' cannot be {content!r:.40}")
    missing = sorted(fields - content.keys()) if fields else []
    if missing:
        raise ValueError(f"'{name}' lacks {', '.join(map(repr, missing))}")
