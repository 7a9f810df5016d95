"""The cells of a table as the page shows them: kinds of columns, texts, and rows as JSON for the page's script."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from numbers import Integral
from typing import Any

from longtail.reporting.section import Cell, Table
from longtail.text import visible

TEXT, COUNT, SHARE, NUMBER = "text", "count", "share", "number"
NONE = "–"
MINUS = "\N{MINUS SIGN}"


def kinds_of(table: Table) -> list[str]:
    """The kind of each column: a text, a whole number, a share in percent, or another number."""
    columns = zip(*table.rows, strict=True) if table.rows else ((),) * len(table.columns)
    return [SHARE if name in table.percent else _kind(cells) for name, cells in zip(table.columns, columns, strict=True)]


def _kind(cells: Sequence[Cell]) -> str:
    known = [cell for cell in cells if cell is not None]
    if any(isinstance(cell, str) for cell in known):
        return TEXT
    return COUNT if all(isinstance(cell, Integral) for cell in known) else NUMBER


def value_of(cell: Cell, kind: str) -> str | float | None:
    """What the page's script sorts a cell by, rounded as it is shown; None where there is no number."""
    if kind == TEXT:
        return None if cell is None or cell == "" else visible(str(cell))
    if cell is None or isinstance(cell, str) or not math.isfinite(cell):
        return None
    if kind == SHARE:
        return round(100 * float(cell), 1)
    return int(cell) if kind == COUNT else float(f"{cell:.4g}")


def shown_value(value: Any, kind: str) -> str:
    """A value of `value_of` as text; the page's script has the same function."""
    if value is None:
        return NONE
    if kind == TEXT:
        return str(value)
    text = f"{value:.1f}" if kind == SHARE else f"{value:,}" if kind == COUNT else f"{value:.10g}"
    return text.replace("-", MINUS)


def rows_of(table: Table) -> list[list[Any]]:
    """The values of all cells, row by row."""
    kinds = kinds_of(table)
    return [[value_of(cell, kind) for cell, kind in zip(row, kinds, strict=True)] for row in table.rows]


def script_json(content: Any) -> str:
    """JSON that may stand inside a `<script>` element: no `<`, `>`, `&`, nor a line end that JavaScript would see in a text."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
