"""Identities of the published cells' experiments, stored, so that measured results are found without building recipes.

`workflow.cells.write_identities` writes them; a test compares them with the recipes. Where a recipe changes, results that were
measured before belong to another experiment, and the file is written anew.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from longtail.papers.tables import NAMES, Cell

FILE = Path(__file__).with_name("identities.json")
BUDGETS = ("paper", "common", "common-128")


def stored_identity(cell: Cell, budget: str) -> str | None:
    """The identity of a cell's experiment at a budget; None for other budgets and for tables that are not the package's."""
    return _stored().get(cell.table, {}).get(key_of(cell), {}).get(budget) if cell.table in NAMES else None


def key_of(cell: Cell) -> str:
    """Name of a cell within its table."""
    return f"{cell.printed_method}, {cell.column.data}"


@cache
def _stored() -> Mapping[str, Mapping[str, Mapping[str, str]]]:
    content: Mapping[str, Mapping[str, Mapping[str, str]]] = json.loads(FILE.read_text(encoding="utf-8"))
    return content
