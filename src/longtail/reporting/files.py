"""Writes a report: the page, and beside it a folder with each figure as PNG and its numbers as CSV."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from longtail.errors import MissingFileError, UserError
from longtail.reporting.page import page_html
from longtail.reporting.plotting import image_of
from longtail.reporting.section import Cell, Drawing, Section, Table
from longtail.runs.files import csv_text, encoded, read_bytes, sweep_dead, write_bytes, write_text
from longtail.text import guarded, visible

LISTING = "contents.txt"  # names of the files of a report's folder
ENDINGS = (".html", ".htm")


def folder_of(page: Path) -> Path:
    """The folder beside a page that holds its figures and numbers, named after the page.

    Raises:
        UserError: the page's name does not end in .html, or the folder is there and belongs to something else.
    """
    if page.suffix.lower() not in ENDINGS:
        raise UserError(f"The report '{page}' is a page of HTML; give it a name that ends in .html.")
    folder = page.with_suffix("")
    taken = folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not (folder / LISTING).exists()))
    if taken:
        raise UserError(f"'{folder}' would hold the figures of the report and is something else; give the page another name.")
    return folder


def write_sections(page: Path, title: str, subtitle: str, sections: Sequence[Section]) -> Path:
    """Writes the page and its folder; files of a former report that this one does not have are deleted from the folder.

    Raises:
        OutOfSpace: the disk is full.
        UnwritableFile: the system refuses to write.
        UserError: the page has a bad name, or its folder belongs to something else.
    """
    folder = folder_of(page)
    former = _listed(folder)
    text = page_html(title, subtitle, sections, beside=folder.name)
    files = [file for section in sections for file in _files(section)]
    names = [name for name, _ in files]
    if len(set(names)) < len(names):
        raise ValueError(
            f"Two parts of a report have one name: {', '.join(sorted(n for n in set(names) if names.count(n) > 1))}."
        )
    write_text(folder / LISTING, "".join(f"{name}\n" for name in sorted({*names, *former})))
    for name, content in files:
        write_bytes(folder / name, content)
    for name in former - set(names):
        (folder / name).unlink(missing_ok=True)
    write_text(folder / LISTING, "".join(f"{name}\n" for name in sorted(names)))
    sweep_dead(page)
    return write_text(page, text)


def _listed(folder: Path) -> set[str]:
    """Names of the files that a former report wrote into its folder."""
    with suppress(MissingFileError):
        names = read_bytes(folder / LISTING).decode(errors="replace").split("\n")
        return {name for name in names if name.endswith((".png", ".csv")) and Path(name).name == name}
    return set()


def _files(section: Section) -> Iterator[tuple[str, bytes]]:
    """Names and contents of the files of a section's parts."""
    for part in section.parts:
        if isinstance(part, Drawing):
            yield f"{part.name}.png", image_of(part.figure, "png")
        yield f"{part.name}.csv", _csv(part if isinstance(part, Table) else part.numbers)


def _csv(table: Table) -> bytes:
    """The rows as CSV, in which names are safe for spreadsheets and terminals; shares are between 0 and 1."""
    return encoded(csv_text([_cell(name) for name in table.columns], [[_cell(cell) for cell in row] for row in table.rows]))


def _cell(cell: Cell) -> str:
    if cell is None or cell != cell:
        return ""
    return guarded(visible(cell)) if isinstance(cell, str) else str(cell)
