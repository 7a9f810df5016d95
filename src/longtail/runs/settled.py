"""Choices that were made by measuring, stored so that a run that is continued, or started again, is the same experiment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from longtail.errors import UserError
from longtail.runs.files import sweep_dead
from longtail.runs.layout import settled_file
from longtail.runs.locks import locked, silent
from longtail.runs.seals import read_json, write_json
from longtail.turns import first


def settled(runs: Path, setting: str, key: str, allowed: Sequence[str], choose: Callable[[], str]) -> str:
    """The stored choice of a key for a setting; where there is none that can be read, what `choose` gives, which is stored.

    Of several processes that need it at the same time one measures, and the others wait for it; of those that train one run
    together the first one.
    """
    return first("settled", lambda: _settled(runs, setting, key, allowed, choose))


def _settled(runs: Path, setting: str, key: str, allowed: Sequence[str], choose: Callable[[], str]) -> str:
    file = settled_file(runs, setting)
    if (known := _known(file)).get(key) in allowed:
        return known[key]
    with locked(file.with_name(f".{file.name}.lock"), f"'{file}'", note=silent, wait=True):
        if (known := _known(file)).get(key) not in allowed:
            known[key] = choose()
            sweep_dead(file)
            write_json(file.parent, file.name, known)
        return known[key]


def _known(file: Path) -> dict[str, str]:
    try:
        content = read_json(file.parent, file.name)
    except UserError:
        return {}
    return {str(key): str(value) for key, value in content.items()} if isinstance(content, dict) else {}
