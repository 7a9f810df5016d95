"""What the first of several processes does or decides alone, while the others wait for it in the store of their group."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, TypeVar, cast

from torch.distributed import Store  # type: ignore[attr-defined]

from longtail.errors import TrainingFailed
from longtail.together import rank, world

Value = TypeVar("Value")
PATIENCE = timedelta(days=1)  # for what the first process does alone: it downloads, decodes all images, waits for a lock
FAILED = "failed"
_stores: list[Store] = []
_ends: list[bool] = []  # whether this process failed as the first one, once that is known
_asked = Counter[str]()


def keep_store(store: Store | None) -> None:
    """Keeps the store by which the processes wait for each other; None when the group has ended."""
    _stores[:] = [] if store is None else [store]
    _asked.clear()
    if store is not None:
        _ends.clear()


def first(name: str, make: Callable[[], Value]) -> Value:
    """What `make` returns in the first process, the only one that calls it; the others wait for it.

    Args:
        name: name of the value; calls of one name must come in the same order in all processes.

    Raises:
        TrainingFailed: in the other processes, if `make` fails in the first one.
    """
    if world() == 1 or not _stores:
        return make()
    key = f"{name}/{_asked[name]}"
    _asked[name] += 1
    if rank():
        return cast(Value, _received(key))
    try:
        value = make()
    except BaseException:
        fails()
        _send(key, b"")
        raise
    _send(key, pickle.dumps(value))
    return value


def _send(key: str, value: bytes) -> None:
    _stores[0].set(key, value)  # type: ignore[arg-type]


def _received(key: str) -> Any:
    _stores[0].wait([key], PATIENCE)
    answer = _stores[0].get(key)
    if not answer:
        raise TrainingFailed("The first process of this run ended with an error, which it names.")
    return pickle.loads(answer)  # of a process of the same run


@contextmanager
def first_alone(name: str) -> Iterator[None]:
    """Lets the first process enter the `with` block, and the others when it has left it."""
    if rank():
        first(name, bool)
    try:
        yield
    except BaseException:
        if not rank() and _stores:
            fails()
            _send(f"{name}/{_asked[name]}", b"")
        raise
    if not rank():
        first(name, bool)


def of_all(name: str, value: Value) -> list[Value]:
    """The value of each process, by rank."""
    if world() == 1 or not _stores:
        return [value]
    key = f"{name}/{_asked[name]}"
    _asked[name] += 1
    _send(f"{key}/{rank()}", pickle.dumps(value))
    return [_received(f"{key}/{each}") for each in range(world())]


def fails() -> bool:
    """Says that this process fails, and returns whether it is the first one that does, so that one error is shown."""
    if not _ends and _stores:
        _ends.append(False)  # stays where a signal comes meanwhile, or the process that holds the store has ended
        with suppress(RuntimeError):
            _ends[0] = bool(_stores[0].compare_set(FAILED, "", str(rank())) == str(rank()).encode())
    return not _ends or _ends[0]
