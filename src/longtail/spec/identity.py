"""What an experiment depends on beside its description: versions of libraries, and sources of functions of other packages."""

from __future__ import annotations

import functools
import hashlib
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from longtail.errors import UserError

LIBRARIES = ("longtail", "torch", "torchvision", "timm", "pillow")
VERSIONED = ("longtail", "torch", "torchvision", "timm", "builtins", "functools", "math", "operator")


@functools.cache
def libraries() -> Mapping[str, str]:
    """Versions of the libraries whose releases change the numbers of a result."""
    return {name: _version(name) for name in LIBRARIES}


def sources(*things: Any) -> dict[str, str]:
    """Hash of the source file of every function in a recipe or setting that belongs to none of these libraries, by its module.

    The code of a user's own that longtail read from a file itself has its hash in the name of its module already.

    Raises:
        UserError: the source of a function cannot be read, so that a change of it could not be noticed.
    """
    modules = {str(function.__module__): function for thing in things for function in _functions(thing)}
    foreign = sorted(name for name in modules if name.partition(".")[0] not in VERSIONED and "@" not in name)
    return {name: _source_hash(name, modules[name]) for name in foreign}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _functions(thing: Any) -> Iterator[Callable[..., Any]]:
    """All functions and classes inside plain data, with those in their keywords."""
    if isinstance(thing, partial):
        yield thing.func
        yield from _functions(thing.keywords)
    elif is_dataclass(thing) and not isinstance(thing, type):
        for field in fields(thing):
            yield from _functions(getattr(thing, field.name))
    elif isinstance(thing, Mapping):
        yield from _functions(tuple(thing.values()))
    elif isinstance(thing, (list, tuple)):
        for item in thing:
            yield from _functions(item)
    elif callable(thing):
        yield thing


def _source_hash(module: str, function: Callable[..., Any]) -> str:
    try:
        return hashlib.sha256(Path(inspect.getsourcefile(sys.modules[module]) or "").read_bytes()).hexdigest()
    except (OSError, TypeError, KeyError):
        return hashlib.sha256(_own_source(function).encode(errors="surrogateescape")).hexdigest()


def _own_source(function: Callable[..., Any]) -> str:
    """Source of a function typed into a notebook or a shell that keeps what was typed."""
    try:
        return inspect.getsource(function)
    except (OSError, TypeError) as error:
        raise UserError(
            f"The source of '{function.__qualname__}' cannot be read, so that a later change of it could not be noticed; put it "
            f"into a file."
        ) from error
