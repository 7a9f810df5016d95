"""Renders sections as one page of HTML that needs nothing beside itself: no request leaves it, and its scripts are its own."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from longtail.reporting.cells import TEXT, kinds_of, rows_of, script_json, shown_value
from longtail.reporting.embedding import drawn, photo
from longtail.reporting.section import Drawing, Gallery, Section, Table
from longtail.text import visible

TEMPLATES = Path(__file__).with_name("templates")
ROWS = 25  # of a longer table that are shown at once
WHOLE = 40  # rows up to which a table is shown whole
FEW_ROWS = 10  # that need no search


def page_html(title: str, subtitle: str, sections: Sequence[Section], *, beside: str = "") -> str:
    """The text of the page.

    Names that come from the user are text wherever they stand. Without JavaScript the first rows of each table are shown.

    Args:
        title: heading of the page.
        subtitle: line below it.
        beside: name of the folder beside the page that holds PNG and CSV files, for links; "" for none.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    loader = FileSystemLoader(TEMPLATES)
    environment = Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    environment.filters |= {"visible": visible, "breakable": _breakable}
    style, script = (_source(name) for name in ("page.css", "page.js"))
    return environment.get_template("page.html.jinja").render(
        title=title,
        subtitle=subtitle,
        sections=[{"title": each.title, "sentences": each.sentences, "parts": [*map(_shown, each.parts)]} for each in sections],
        beside=quote(beside),
        style=Markup(style),
        script=Markup(script),
        policy=f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(script)}; "
        "base-uri 'none'; form-action 'none'",
    )


@cache
def _source(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


def _hash(source: str) -> str:
    """The hash by which a browser knows the one style or script that it may obey."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}'"


def _breakable(text: str) -> Any:
    """The text with places after `_` at which a narrow cell may break it; the page's script has the same function."""
    from markupsafe import Markup, escape

    return Markup("_<wbr>").join(map(escape, text.split("_")))


def _shown(part: Table | Drawing | Gallery) -> Mapping[str, Any]:
    """What the template needs of a part."""
    if isinstance(part, Drawing):
        return {"kind": "drawing", "name": part.name, "caption": part.caption, "image": drawn(part.figure)}
    if isinstance(part, Gallery):
        rows = [(heading, [(photo(each.content), each.caption) for each in pictures]) for heading, pictures in part.rows]
        return {"kind": "gallery", "name": part.name, "caption": part.caption, "rows": rows}
    return _shown_table(part) if part.shown else {"kind": "file", "name": part.name, "caption": part.caption}


def _shown_table(table: Table) -> Mapping[str, Any]:
    from markupsafe import Markup

    kinds, rows = kinds_of(table), rows_of(table)
    at_once = ROWS if len(rows) > WHOLE else WHOLE
    return {
        "kind": "table",
        "name": table.name,
        "caption": table.caption,
        "columns": list(zip(table.columns, kinds, strict=True)),
        "first": [[(shown_value(value, kind), kind) for value, kind in zip(row, kinds, strict=True)] for row in rows[:at_once]],
        "rows": len(rows),
        "paged": len(rows) > WHOLE,
        "searchable": table.searchable and len(rows) > FEW_ROWS,
        "sortable": len(rows) > 1 and set(kinds) != {TEXT},
        "data": Markup(script_json({"kinds": kinds, "rows": rows, "page": at_once})),
    }
