"""Runs a user's own code: a recipe or a setting in a Python file, named as `path/to/file.py:function`."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from longtail.errors import MissingFileError, UserError
from longtail.text import unknown

MARK = "@"


@dataclass(frozen=True)
class OwnFile:
    """A file of a user's own, with its content as it was when it was read: that content is run, kept and hashed.

    Args:
        path: path of the file.
        source: content of the file.
    """

    path: Path
    source: bytes

    @property
    def sha256(self) -> str:
        """Hash of the content, in hexadecimal digits."""
        return hashlib.sha256(self.source).hexdigest()

    @property
    def module(self) -> str:
        """`my_file@1a2b3c4d`: the file's name and the beginning of the hash, so that descriptions state the content."""
        return f"{self.path.stem.partition(MARK)[0].replace('.', '_')}{MARK}{self.sha256[:8]}"


_in_use: dict[Path, OwnFile] = {}


def is_own(text: str) -> bool:
    """Whether the text names a function in a file."""
    return ".py:" in text


def file_of(text: str) -> Path:
    """The file that `path/to/file.py:function` names."""
    return Path(text.rpartition(":")[0])


def read_own(path: Path) -> OwnFile:
    """Reads a file, whose content now is the one in use in this process until it is read again.

    Raises:
        MissingFileError: there is no such file.
    """
    if not path.is_file():
        raise MissingFileError(f"There is no file '{path}'; name a function as path/to/file.py:function.")
    return use(OwnFile(path, path.read_bytes()))


def use(file: OwnFile) -> OwnFile:
    """Makes the content that another process read the one in use in this process."""
    _in_use[file.path.resolve()] = file
    return file


def in_use(path: Path) -> OwnFile:
    """The content in use of a file, which is read if it was not read before."""
    return _in_use.get(path.resolve()) or read_own(path)


def own_function(text: str) -> Callable[..., Any]:
    """Runs the file in `path/to/file.py:function`, and returns the function.

    Raises:
        UserError: there is no such file or function; the message lists the functions of the file.
    """
    path, name = file_of(text), text.rpartition(":")[2]
    module = imported(in_use(path))
    own = {key: thing for key, thing in vars(module).items() if callable(thing) and not key.startswith("_")}
    if name not in own:
        raise UserError(unknown(f"function in {path}", name, list(own) or ["none"]))
    function: Callable[..., Any] = own[name]
    return function


def imported(file: OwnFile) -> ModuleType:
    """Runs the file once, as a module: the same content gives the same module, another content gives another one.

    Raises:
        UserError: the file is not Python, or imports something that cannot be imported.
    """
    if file.module in sys.modules:
        return sys.modules[file.module]
    module = sys.modules[file.module] = ModuleType(file.module)
    module.__file__, module.__package__ = str(file.path), ""
    try:
        exec(compile(file.source, str(file.path), "exec", dont_inherit=True), vars(module))
    except BaseException as error:
        del sys.modules[file.module]
        if isinstance(error, SyntaxError):
            raise UserError(f"'{file.path}', line {error.lineno or 1}, is not Python ({error.msg}).") from error
        if isinstance(error, ImportError):
            raise UserError(
                f"'{file.path}' cannot be imported ({error}). It must stand alone or import what is installed; its folder is "
                f"not searched."
            ) from error
        raise
    return module


def modules_named(description: Any) -> Iterator[str]:
    """Names of the users' own modules that have functions in a description, however deep it is."""
    waiting = [description]
    while waiting:
        part = waiting.pop()
        if isinstance(part, Mapping):
            module = str(part.get("call", "")).rpartition(".")[0]
            if MARK in module:
                yield module
            waiting.extend(part.values())
        elif isinstance(part, list):
            waiting.extend(part)
