"""Runs a user's own code: a recipe or a setting in a Python file, named as `path/to/file.py:function`."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from longtail.errors import MissingFileError, UserError
from longtail.spec.description import unknown

MARK = "@"


def is_own(text: str) -> bool:
    """Whether the text names a function in a file."""
    return ".py:" in text


def file_of(text: str) -> Path:
    """The file that `path/to/file.py:function` names."""
    return Path(text.rpartition(":")[0])


def own_function(text: str) -> Callable[..., Any]:
    """Runs the file in `path/to/file.py:function`, and returns the function.

    Raises:
        UserError: there is no such file or function; the message lists the functions of the file.
    """
    path, name = file_of(text), text.rpartition(":")[2]
    if not path.is_file():
        raise MissingFileError(f"There is no file '{path}'; name a function as path/to/file.py:function.")
    module = imported(path)
    own = {key: thing for key, thing in vars(module).items() if callable(thing) and not key.startswith("_")}
    if name not in own:
        raise UserError(unknown(f"function in {path}", name, list(own) or ["none"]))
    function: Callable[..., Any] = own[name]
    return function


def imported(path: Path) -> ModuleType:
    """Runs the file once, as a module: the same content gives the same module, a changed file gives another one.

    Raises:
        UserError: the file imports something that is not installed.
    """
    name = module_name(path)
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except ModuleNotFoundError as error:
        del sys.modules[name]
        raise UserError(
            f"'{path}' imports '{error.name}', which is not there; the file must stand alone or import installed packages."
        ) from error
    except BaseException:
        del sys.modules[name]
        raise
    return module


def module_name(path: Path) -> str:
    """`my_file@1a2b3c4d`: the file's name and the beginning of its content's sha256, so that descriptions state the content."""
    stem = path.stem.partition(MARK)[0].replace(".", "_")
    return f"{stem}{MARK}{content_hash(path)[:8]}"


def content_hash(path: Path) -> str:
    """sha256 of the file, in hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def modules_named(description: Any) -> Iterator[str]:
    """Names of the users' own modules that have functions in a description."""
    if isinstance(description, Mapping):
        module = str(description.get("call", "")).rpartition(".")[0]
        if MARK in module:
            yield module
    parts = description.values() if isinstance(description, Mapping) else description if isinstance(description, list) else ()
    for part in parts:
        yield from modules_named(part)
