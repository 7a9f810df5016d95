"""Tables of results that papers published, as data: which number, of which method, on which data, under which protocol."""

from __future__ import annotations

from longtail.papers.tables import NAMES, Cell, Column, PaperTable, Protocol, is_published, read_table

__all__ = ["NAMES", "Cell", "Column", "PaperTable", "Protocol", "is_published", "read_table"]
