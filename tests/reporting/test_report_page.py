"""The page of a report: one file that asks for nothing, in which names are text, and which stays small."""

import base64
import hashlib
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from longtail.reporting.cells import kinds_of, rows_of, script_json, shown_value, value_of
from longtail.reporting.embedding import drawn, photo
from longtail.reporting.page import page_html
from longtail.reporting.plotting import image_of, new_axes, new_figure, plain
from longtail.reporting.section import Drawing, Gallery, Picture, Section, Table

HOSTILE = "<script>alert(1)</script>"
NAMES = (HOSTILE, "</script><img src=x onerror=alert(1)>", "$x_1$ & $y^2", '"quoted" onload=x', "a\u202eb\x1b[31m", "浮游生物")


class Elements(HTMLParser):
    """Elements of a page with their attributes, and the text of its scripts."""

    def __init__(self, page):
        super().__init__()
        self.found, self.scripts, self.open = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        self.open.append(tag)

    def handle_endtag(self, tag):
        if tag in self.open:
            while self.open.pop() != tag:
                pass

    def handle_data(self, text):
        if self.open and self.open[-1] == "script":
            self.scripts.append(text)

    def of(self, tag):
        return [attributes for name, attributes in self.found if name == tag]


def figure_of(*labels):
    figure = new_figure()
    axes = new_axes(figure)
    for place, label in enumerate(labels):
        axes.plot([0, 1], [place, place], label=plain(label))
    axes.legend()
    return figure


@pytest.fixture(scope="module")
def page():
    table = Table(
        "classes",
        "Of <b>classes</b>",
        ("class", HOSTILE, "recall"),
        [(n, 3, 0.25) for n in NAMES],
        percent={"recall"},
        searchable=True,
    )
    drawing = Drawing("figure", HOSTILE, figure_of(*NAMES), table)
    pixels = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(pixels, format="JPEG")
    gallery = Gallery("gallery", HOSTILE, [(HOSTILE, [Picture(pixels.getvalue(), HOSTILE)])], table)
    return page_html(HOSTILE, HOSTILE, [Section(HOSTILE, [HOSTILE], [table, drawing, gallery])], beside="report <x>")


def test_names_are_text_everywhere(page):
    elements = Elements(page)
    assert len(elements.of("script")) == 2, "the rows of the table, and the page's own script"
    assert not any(name.startswith("on") for _, attributes in elements.found for name in attributes)
    assert not elements.of("b")
    assert "\u202e" not in page
    assert "\x1b" not in page
    data = json.loads(elements.scripts[0])
    assert [row[0] for row in data["rows"]] == [*NAMES[:4], "a\\u202eb\\x1b[31m", NAMES[5]]
    assert "<" not in elements.scripts[0]


def test_nothing_is_asked_for(page):
    elements = Elements(page)
    for tag, name in (("img", "src"), ("link", "href"), ("script", "src"), ("iframe", "src")):
        assert all(each.get(name, "data:").startswith("data:") for each in elements.of(tag))
    assert not re.search(r"url\(|@import|fetch\(|XMLHttp", page)
    assert [each["href"] for each in elements.of("a") if not each["href"].startswith("#")] == [
        f"report%20%3Cx%3E/{name}" for name in ("classes.csv", "figure.png", "figure.csv", "gallery.csv")
    ]


def test_the_policy_allows_the_one_style_and_the_one_script(page):
    (policy,) = [each["content"] for each in Elements(page).of("meta") if each.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; img-src data:;")
    for tag in ("style", "script"):
        text = re.findall(rf"<{tag}>(.*?)</{tag}>", page, flags=re.DOTALL)
        assert len(text) == 1
        assert f"'sha256-{base64.b64encode(hashlib.sha256(text[0].encode()).digest()).decode()}'" in policy


def test_headings_are_in_order_and_figures_have_their_caption_as_text(page):
    elements = Elements(page)
    assert [tag for tag, _ in elements.found if re.fullmatch(r"h\d", tag)] == ["h1", "h2"]
    assert [each["alt"] for each in elements.of("img")] == [HOSTILE, HOSTILE]
    assert next(each["href"] for each in elements.of("a")) == "#section-1"
    assert "section-1" in [each.get("id") for each in elements.of("section")]


def test_cells_are_rounded_as_they_are_shown():
    table = Table("t", "", ("a", "b", "c", "d"), [("x", 1234, 0.12345, 1 / 3), (None, None, None, float("nan"))], percent={"c"})
    assert kinds_of(table) == ["text", "count", "share", "number"]
    assert rows_of(table) == [["x", 1234, 12.3, 0.3333], [None, None, None, None]]
    assert [shown_value(*pair) for pair in ((1234, "count"), (12.0, "share"), (-0.5, "number"), (None, "share"))] == [
        "1,234",
        "12.0",
        "\N{MINUS SIGN}0.5",
        "–",
    ]
    numpy = Table("t", "", ("n", "s"), [(np.int64(1234), np.float32(0.5))], percent={"s"})
    assert (kinds_of(numpy), script_json(rows_of(numpy))) == (["count", "share"], "[[1234,50.0]]")
    assert value_of("a\nb", "text") == "a\\nb"
    assert kinds_of(Table("t", "", ("a", "b"), [], percent={"b"})) == ["count", "share"]


def test_json_in_a_script_element_ends_no_script_and_no_line():
    text = script_json(["</script>", "<!--", "&", "\u2028"])
    assert not re.search("[<>&\u2028]", text)
    assert json.loads(text) == ["</script>", "<!--", "&", "\u2028"]


def test_a_table_without_javascript_shows_its_first_rows():
    page = page_html("t", "", [Section("s", (), [Table("n", "", ("number",), [(n,) for n in range(1000)])])])
    assert len(re.findall("<tr>", page)) == 26
    assert "The first 25 of 1,000 rows" in page
    whole = page_html("t", "", [Section("s", (), [Table("n", "", ("number",), [(n,) for n in range(40)])])])
    assert len(re.findall("<tr>", whole)) == 41
    assert "Next" not in whole


def test_a_figure_of_few_marks_is_sharp_and_one_of_many_is_small():
    few, many = figure_of("a"), new_figure()
    new_axes(many).scatter(*np.random.default_rng(0).random((2, 5000)))
    assert drawn(few).startswith("data:image/svg+xml;base64,")
    assert drawn(many).startswith("data:image/png;base64,")
    assert len(drawn(many)) < 150_000 < len(image_of(many, "svg"))


def test_a_photo_keeps_its_kind():
    assert photo(b"\x89PNG...").startswith("data:image/png;")
    assert photo(b"\xff\xd8...").startswith("data:image/jpeg;")


def test_dollars_are_no_formula_in_a_figure():
    """The text $x_1$ would be drawn as an x with an index, and an odd name such as $\\frac as an error."""
    figure = figure_of("$\\frac", "$x_1$ and $y$")
    assert image_of(figure, "png").startswith(b"\x89PNG")
    assert figure.axes[0].get_legend_handles_labels()[1] == ["\\$\\frac", "\\$x_1\\$ and \\$y\\$"]


def test_the_templates_are_part_of_the_package():
    from longtail.reporting import page

    assert sorted(path.name for path in page.TEMPLATES.iterdir()) == ["page.css", "page.html.jinja", "page.js"]
