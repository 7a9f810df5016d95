"""Tables as text of other programs: Markdown, LaTeX, HTML and CSV. Needs no torch."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from longtail.errors import UserError
from longtail.runs.files import csv_text
from longtail.text import guarded, markdown, unknown, visible

LATEX = {sign: f"\\{sign}" for sign in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "–": "--",
    "·": r"$\cdot$",
    "π": r"$\pi$",
    "τ": r"$\tau$",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
}


@dataclass(frozen=True)
class Sheet:
    """A table as plain text.

    Args:
        title: line above the table.
        header: headings of the columns.
        rows: cells of each row, as many as there are headings.
        caption: sentences below the table.
        names: number of the first columns that hold names; the others hold numbers.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: Sequence[str] = ()
    names: int = 1


def as_markdown(sheet: Sheet) -> str:
    """The table as Markdown with pipes, its title as a paragraph above it."""
    rule = ["---"] * sheet.names + ["---:"] * (len(sheet.header) - sheet.names)
    cells = [list(map(markdown, row)) for row in (sheet.header, *sheet.rows)]
    lines = ["| " + " | ".join(row) + " |" for row in (cells[0], rule, *cells[1:])]
    return "\n".join((f"**{markdown(sheet.title)}**", "", *lines, "", *map(markdown, sheet.caption))) + "\n"


def as_latex(sheet: Sheet) -> str:
    """The table as a LaTeX `table` with the lines of the package booktabs."""
    columns = "l" * sheet.names + "r" * (len(sheet.header) - sheet.names)
    header, *rows = map(_latex_row, (sheet.header, *sheet.rows))
    body = (rf"\begin{{tabular}}{{{columns}}}", r"\toprule", header, r"\midrule", *rows, r"\bottomrule", r"\end{tabular}")
    caption = " ".join((f"{sheet.title}.", *sheet.caption))
    return "\n".join((r"\begin{table}", r"\centering", *body, rf"\caption{{{_latex(caption)}}}", r"\end{table}")) + "\n"


def as_html(sheet: Sheet) -> str:
    """The table as an HTML `table`, which a page may contain."""
    lines = ["<table>", f"<caption>{_html(' '.join((f'{sheet.title}.', *sheet.caption)))}</caption>", "<thead>"]
    lines += ["<tr>" + "".join(f"<th>{_html(heading)}</th>" for heading in sheet.header) + "</tr>", "</thead>", "<tbody>"]
    for row in sheet.rows:
        cells = (
            f"<th>{_html(cell)}</th>" if index < sheet.names else f'<td style="text-align: right">{_html(cell)}</td>'
            for index, cell in enumerate(row)
        )
        lines.append("<tr>" + "".join(cells) + "</tr>")
    return "\n".join((*lines, "</tbody>", "</table>")) + "\n"


def as_csv(sheet: Sheet) -> str:
    """The header and the rows as CSV; a text that a spreadsheet would run as a formula is guarded."""
    return csv_text(sheet.header, (map(guarded, row) for row in sheet.rows))


FORMATS: Mapping[str, Callable[[Sheet], str]] = {
    "markdown": as_markdown,
    "latex": as_latex,
    "html": as_html,
    "csv": as_csv,
}
TEXT = "text"


def check_format(name: str) -> None:
    """Refuses a format that does not exist.

    Raises:
        UserError: the message lists those that do.
    """
    if name not in (TEXT, *FORMATS):
        raise UserError(unknown("format", name, [TEXT, *FORMATS]))


def _latex_row(row: Sequence[str]) -> str:
    """A line of a tabular; a first cell that begins with [ or * would be read as an option of the line before."""
    cells = list(map(_latex, row))
    guard = "{}" if cells[0].startswith(("[", "*")) else ""
    return guard + " & ".join(cells) + r" \\"


def _latex(text: str) -> str:
    return re.sub("|".join(map(re.escape, LATEX)), lambda found: LATEX[found.group()], visible(text))


def _html(text: str) -> str:
    return html.escape(visible(text))
