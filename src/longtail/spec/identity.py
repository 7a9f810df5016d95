"""What an experiment depends on beside its description: versions of libraries, and sources of functions of other packages."""

from __future__ import annotations

import ast
import functools
import hashlib
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
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
    modules: dict[str, list[Callable[..., Any]]] = {}
    for function in _functions(things):
        modules.setdefault(str(function.__module__), []).append(function)
    return {name: _file_hash(name) or _typed_hash(modules[name]) for name in sorted(modules) if _is_foreign(name)}


def imports(source: bytes) -> dict[str, str]:
    """Hash of the source file of every module that a user's own file, which was run, imports itself, beside libraries."""
    names = {name for statement in ast.walk(ast.parse(source)) for name in _imported(statement)}
    own = {name for name in names if _is_foreign(name) and name.partition(".")[0] not in sys.stdlib_module_names}
    files = {name: _file_hash(name) for name in sorted(own)}
    return {name: known for name, known in files.items() if known is not None}


def _imported(statement: ast.AST) -> Iterator[str]:
    """Names of the modules that a statement imports; of `from package import name` both, as the name may be that of a module."""
    if isinstance(statement, ast.Import):
        yield from (alias.name for alias in statement.names)
    elif isinstance(statement, ast.ImportFrom) and statement.module:
        yield statement.module
        yield from (f"{statement.module}.{alias.name}" for alias in statement.names)


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


def _is_foreign(module: str) -> bool:
    return module.partition(".")[0] not in VERSIONED and "@" not in module


def _file_hash(module: str) -> str | None:
    """Hash of a module's source file; None where it has none, as in a notebook."""
    try:
        return hashlib.sha256(Path(inspect.getsourcefile(sys.modules[module]) or "").read_bytes()).hexdigest()
    except (OSError, TypeError, KeyError):
        return None


def _typed_hash(functions: Iterable[Callable[..., Any]]) -> str:
    """Hash of the sources of all functions that were typed into one notebook or shell."""
    typed = sorted({_own_source(function) for function in functions})
    return hashlib.sha256("\n".join(typed).encode(errors="surrogateescape")).hexdigest()


def _own_source(function: Callable[..., Any]) -> str:
    """Source of a function typed into a notebook or a shell that keeps what was typed."""
    try:
        return inspect.getsource(function)
    except (OSError, TypeError) as error:
        raise UserError(
            f"The source of '{function.__qualname__}' cannot be read, so that a later change of it could not be noticed; put it "
            f"into a file."
        ) from error
