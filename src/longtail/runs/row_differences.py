"""How an experiment differs from others of its method, the most telling values first. Loads no torch."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

IMAGES = "images"  # what the hash of the split is called where it differs
SPLITS = {"train": "training images", "test": "test images"}
SIZE = "setting.data.size"
ABSENT = "–"
SHOWN = 4
TELLING = tuple(  # described values by their names, those that say most about an experiment first
    map(
        re.compile,
        (
            *("images$", "(training|test) images$", r"setting\.backbone\.(name|depth|width)$", r"recipe\.backbone\b"),
            *(r"setting\.weights$", r"setting\.backbone\.pretrained$", rf"{re.escape(SIZE)}$", r"setting\.views$"),
            *(r"setting\.augmentation$", r"setting\.symmetry$", r"setting\.backbone\b", r"setting\.augment\b"),
            *(r"setting\.(budget|fine_tuning)\b", r"setting\.epochs$", r"recipe\.stages\.\d+\.epochs$"),
        ),
    )
)
OF_BUDGET = re.compile(  # what follows from the data and the network, after the method's own values
    r"setting\.(batch_size|largest_batch|learning_rate|weight_decay)$"
    r"|recipe\.stages\.\d+\.(batch_size$|drop_last$|optimizer\b|schedule\b|learning_rates\b)"
)
Record = Mapping[str, Any]


def differences_of(records: Sequence[Record], images: Sequence[Mapping[str, int]] = ()) -> list[str]:
    """For each experiment, the described values in which it differs from others of its method.

    Args:
        records: what makes an experiment, with its hash of the images as "split".
        images: number of images of each split, as the experiments' reports have it; () where it is not known.
    """
    flat = [_described(record, own) for record, own in zip(records, images or [{}] * len(records), strict=True)]
    sentences = []
    for own in flat:
        others = [other for other in flat if other.get("recipe.name") == own.get("recipe.name")]
        shown = [(name, short(name, own.get(name, ABSENT))) for name in _ranked(own, others)[:SHOWN]]
        sentences.append(", ".join(f"{name.removeprefix('recipe.')} = {value}" for name, value in shown))
    return sentences


def _described(record: Record, images: Mapping[str, int]) -> dict[str, Any]:
    described = {IMAGES if name == "split" else name: value for name, value in record.items()}
    counts = {words: images[name] for name, words in SPLITS.items() if name in images}
    return dict(_flattened({**described, **counts}))


def _ranked(own: Record, others: Sequence[Record]) -> list[str]:
    """Names of the values in which an experiment differs, the most telling first, of these what few others have."""
    known = dict.fromkeys(name for one in (own, *others) for name in one)
    alike = {name: sum(other.get(name, ABSENT) == own.get(name, ABSENT) for other in others) for name in known}
    names = [name for name in known if alike[name] < len(others)]
    names = [name for name in names if name in own] or names
    if {*SPLITS.values(), SIZE}.intersection(names):  # they say why the hash of the images differs
        names = [name for name in names if name != IMAGES]
    return sorted(names, key=lambda name: (_place(name), alike[name]))


def _place(name: str) -> int:
    found = (place for place, pattern in enumerate(TELLING) if pattern.match(name))
    return next(found, len(TELLING) + (OF_BUDGET.match(name) is not None))


def _flattened(thing: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(thing, Mapping):
        pairs = [(str(key), value) for key, value in thing.items()]
    elif isinstance(thing, list):
        pairs = [(str(index), value) for index, value in enumerate(thing)]
    else:
        yield path, thing
        return
    for name, value in pairs:
        yield from _flattened(value, f"{path}.{name}" if path else name)


def short(name: str, value: Any) -> str:
    """A described value as text: of a hash its first digits, of a function its name without its module.

    The module is kept in brackets where it says the version of a user's own file.
    """
    if isinstance(value, str) and len(value) == 64 and not set(value) - set("0123456789abcdef"):
        return value[:6]
    if value == "":
        return "none"
    module, _, own = value.rpartition(".") if isinstance(value, str) and name.endswith("call") else ("", "", str(value))
    return f"{own} ({module})" if "@" in module else own
