"""Reads published tables from TOML files: those of the package, or a user's own in the same form. Needs no torch.

A file has a `title`, a `source`, a `metric`, `columns` (data sets), `protocols` by name, and `rows`: the method as it is printed,
our method with its variants and changes ("" where we have none), and one value in % for each column: "-" where none was
published, a table `{ printed, right, why }` where the printed value is a misprint.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from longtail.errors import MissingFileError, UserError

NAMES = ("table1", "table2", "table3", "table4", "table5", "gala")
FOLDER = Path(__file__).parent
NONE = "-"


@dataclass(frozen=True)
class Column:
    """The data of a column.

    Args:
        heading: name of the data as the table shows it.
        setting: our named setting.
        backbone: the network, as the paper names it.
        pretraining: data on which the network was trained before.
        imbalance: imbalance that the training images are cut to; None for data with a tail of their own.
    """

    heading: str
    setting: str
    backbone: str
    pretraining: str = "none"
    imbalance: int | None = None

    @property
    def data(self) -> str:
        """Setting and imbalance in words, such as "cifar10_lt at 100"."""
        return self.setting if self.imbalance is None else f"{self.setting} at {self.imbalance}"


@dataclass(frozen=True)
class Protocol:
    """How published numbers were obtained, in words.

    Args:
        published: whether they are the paper's own, re-run or quoted, and from where.
        epochs: number of epochs of each stage.
        epoch_rule: which epoch's result is printed.
        seeds: number of runs.
        augmentation: augmentation of the training images.
    """

    published: str
    epochs: str
    epoch_rule: str
    seeds: str
    augmentation: str


@dataclass(frozen=True)
class Cell:
    """One published number.

    Args:
        table, row: name of the table, and number of the row, counted from 0.
        printed_method: the method as it is printed.
        method: our method; "" where we have none.
        variants, changes: keywords of the method, and values in its recipe, that make it what was published.
        value: the published value in %; of a misprint, the right one.
        printed_value: the value as it is printed, in %.
        misprint: why the printed value is wrong; "" where it is not.
        note: what else is to be known about the row.
    """

    table: str
    row: int
    column: Column
    printed_method: str
    method: str
    variants: Mapping[str, Any]
    changes: Mapping[str, Any]
    value: float
    printed_value: float
    misprint: str
    protocol: Protocol
    note: str


@dataclass(frozen=True)
class PaperTable:
    """A published table: its cells, row by row."""

    name: str
    title: str
    source: str
    metric: str
    columns: tuple[Column, ...]
    cells: tuple[Cell, ...] = field(repr=False)


def is_published(name: str) -> bool:
    """Whether the text names a published table of the package, or a TOML file that holds one."""
    return name in NAMES or name.endswith(".toml")


def read_table(name: str) -> PaperTable:
    """Reads a published table of the package by its name, or a user's own from a TOML file.

    Raises:
        MissingFileError: there is no such file.
        UserError: the file is not TOML, or lacks something.
    """
    path = FOLDER / f"{name}.toml" if name in NAMES else Path(name)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        return _table(path.stem, content)
    except FileNotFoundError as error:
        raise MissingFileError(f"There is no table '{path}'; published ones are {', '.join(NAMES)}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"'{path}' is not TOML: {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        lacks = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise UserError(f"'{path}' is not a table of published results: {lacks}. `table1.toml` of longtail is one.") from error


def _table(name: str, content: Mapping[str, Any]) -> PaperTable:
    columns = tuple(Column(**column) for column in content["columns"])
    protocols = {key: Protocol(**protocol) for key, protocol in content["protocols"].items()}
    cells = [cell for index, row in enumerate(content["rows"]) for cell in _cells(name, index, row, columns, protocols)]
    return PaperTable(name, content["title"], content["source"], content["metric"], columns, tuple(cells))


def _cells(
    table: str, index: int, row: Mapping[str, Any], columns: Sequence[Column], protocols: Mapping[str, Protocol]
) -> list[Cell]:
    values = row["values"]
    if len(values) != len(columns):
        raise ValueError(f"row '{row['printed']}' has {len(values)} values for {len(columns)} columns")
    found = []
    for column, value in zip(columns, values, strict=True):
        if value == NONE:
            continue
        told = value if isinstance(value, Mapping) else {"printed": value, "right": value, "why": ""}
        found.append(
            Cell(
                table=table,
                row=index,
                column=column,
                printed_method=row["printed"],
                method=row.get("method", ""),
                variants=row.get("variants", {}),
                changes=row.get("changes", {}),
                value=float(told["right"]),
                printed_value=float(told["printed"]),
                misprint=told["why"],
                protocol=protocols[row["protocol"]],
                note=row.get("note", ""),
            )
        )
    return found
