"""Tables in the formats of other programs hold the same cells, whatever is in them."""

import csv
import io
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from longtail.errors import UserError
from longtail.reporting.sheets import FORMATS, Sheet, check_format

HOSTILE = ["<script>alert(1)</script>", "a|b", "50 % & more_", "=1+1", "\x1b[31mred"]
SHEET = Sheet("Title <b>", ["method", "all ±"], [[name, f"7{index}.0 ±0.1"] for index, name in enumerate(HOSTILE)], ["Said."])


class Cells(HTMLParser):
    """Collects the texts of a page's cells, and the tags that it has."""

    def __init__(self):
        super().__init__()
        self.cells, self.tags = [], set()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_data(self, data):
        if self.cells:
            self.cells[-1] += data.strip()


def test_html_has_the_cells_as_text():
    page = Cells()
    page.feed(FORMATS["html"](SHEET))
    assert page.tags == {"table", "caption", "thead", "tbody", "tr", "th", "td"}
    wanted = [*SHEET.header, *(cell for row in SHEET.rows for cell in row)]
    assert page.cells == [cell.replace("\x1b", r"\x1b") for cell in wanted]


def test_csv_is_read_back_and_runs_no_formula():
    rows = list(csv.reader(io.StringIO(FORMATS["csv"](SHEET))))
    assert rows[0] == SHEET.header
    assert [row[1] for row in rows[1:]] == [row[1] for row in SHEET.rows]
    assert rows[4][0] == "'=1+1"
    assert FORMATS["csv"](Sheet("", ["n"], [["-12.5"]])) == "n\n-12.5\n"


def test_markdown_keeps_its_columns():
    lines = [line for line in FORMATS["markdown"](SHEET).splitlines() if line.startswith("|")]
    assert len(lines) == 2 + len(SHEET.rows)
    assert {line.replace(r"\|", "").count("|") for line in lines} == {3}
    assert lines[1] == "| --- | ---: |"
    assert "<script>" not in "".join(lines).replace(r"\<", "")


@pytest.mark.parametrize("first", ["[ours] CE", "* starred"])
def test_a_first_cell_is_no_option_of_the_line_before(first):
    lines = FORMATS["latex"](replace(SHEET, rows=[[first, *SHEET.rows[0][1:]]])).splitlines()
    assert lines[lines.index(r"\midrule") + 1].startswith(f"{{}}{first} & ")


def test_latex_escapes_what_has_a_meaning():
    text = FORMATS["latex"](SHEET)
    assert r"50 \% \& more\_ & 72.0 $\pm$0.1 \\" in text
    assert r"\begin{tabular}{lr}" in text
    assert text.count(r"\\") == 1 + len(SHEET.rows)


def test_an_unknown_format_is_one_sentence():
    check_format("text")
    with pytest.raises(UserError, match=r"There is no format 'word'\. There are: text, markdown, latex, html, csv"):
        check_format("word")
