"""The command that carries out a request, as a run records it, so that somebody else can type it."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import fields
from functools import partial
from typing import Any

from longtail.text import for_shell
from longtail.workflow.request import Request, default_of, flag

NO_PART = (
    *("data", "runs", "jobs", "together", "devices", "fresh", "download", "tensorboard", "groups", "candidates", "folds"),
    "refit",
)


def command_of(request: Request) -> str:
    """The command that trains the run of a request, without options that have no part in its result.

    >>> command_of(Request("my photos", "gcl", seed=1, variants={"cloud": "log"}, pretrained=False))
    "longtail train 'my photos' --method gcl --with cloud=log --no-pretrained --seed 1"
    """
    return for_shell("longtail", "train", request.data, *option_words(request, leave_out=NO_PART))


def option_words(request: Request, *, leave_out: Collection[str] = ("data",)) -> list[str]:
    """The options of a request that have not their defaults, as words of a command line.

    Args:
        leave_out: names of options that are left out.
    """
    names = [each.name for each in fields(Request) if each.name not in leave_out]
    return [word for name in names for word in _words(request, name)]


def _words(request: Request, name: str) -> Iterator[str]:
    """The words of one option; none where it has its default."""
    option, value = Request.__dataclass_fields__[name], getattr(request, name)
    if value == default_of(option) or (name == "prior" and "target" in request.variants):
        return
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield from (flag(name), f"{key}={_text(each)}")
    elif isinstance(value, bool):
        yield flag(name) if value else f"--no-{flag(name).removeprefix('--')}"
    else:
        yield from (flag(name), str(value))


def _text(value: Any) -> str:
    """A value of a variant as the command line reads it; of a function its name, with the keywords that are fixed."""
    if isinstance(value, str):
        return value
    if isinstance(value, partial):
        return f"{_text(value.func)}({', '.join(f'{name}={_argument(each)}' for name, each in value.keywords.items())})"
    return getattr(value, "__name__", None) or json.dumps(value, default=str)


def _argument(value: Any) -> str:
    """A keyword within a function, where a text has quotes."""
    return _text(value) if callable(value) else repr(value)
