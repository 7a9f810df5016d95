"""The page in a browser: it works without a request or an error, sorts, searches, turns pages, and fits a phone."""

import csv
import shutil

import numpy as np
import pytest

import longtail
from made_runs import made_run

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
HOSTILE = "<script>window.hacked = true</script>"
CLASSES = 60
QUIET = ("gpu", "background-networking", "component-update", "sync")


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    """The report of two made runs with 60 classes, of which one has a script as its name."""
    root = tmp_path_factory.mktemp("runs")
    names = [HOSTILE, "<img src=x onerror='window.hacked = true'>", *(f"species_of_a_long_name_{n}" for n in range(2, CLASSES))]
    counts = [max(600 // (label + 1), 3) for label in range(CLASSES)]
    labels = np.repeat(np.arange(CLASSES), 4)
    generator = np.random.default_rng(0)
    runs = []
    for method in ("ce", "gcl"):
        predicted = np.where(generator.random(len(labels)) < 0.6, labels, generator.integers(0, CLASSES, len(labels)))
        runs.append(made_run(root / method, counts, labels, predicted, names=names, method=method))
    return longtail.write_report_page(runs, root / "page.html")


@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("There is no chromium here (apt-get install chromium)")
    arguments = ["--headless", "--no-sandbox", "--no-first-run", "--disable-gpu", *(f"--disable-{each}" for each in QUIET[1:])]
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def opened(browser, page_file):
    """Opens the page at a width and a colour scheme; any error or request beside the page itself fails the test at its end."""
    contexts, said, asked = [], [], []

    def at(width=1280, scheme="light"):
        context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(page_file.as_uri())
        return page

    yield at
    for context in contexts:
        context.close()
    assert said == []
    assert [url for url in asked if not url.startswith("data:")] == [page_file.as_uri()] * len(contexts)


def column(page, table, place):
    return page.locator(f"#{table} tbody td:nth-child({place})").all_inner_texts()


def test_every_figure_is_there_and_no_script_of_a_name_runs(opened, page_file):
    page = opened()
    sizes = page.eval_on_selector_all("img", "all => all.map(i => [i.complete && i.naturalWidth, i.offsetWidth, i.offsetHeight])")
    assert len(sizes) == len(list(page_file.with_suffix("").glob("*.png"))) > 10
    assert all(natural > 100 and width > 200 and height > 100 for natural, width, height in sizes)
    assert page.evaluate("window.hacked") is None
    assert column(page, "classes", 1)[0] == HOSTILE
    assert page.locator("script").count() == 1 + page.locator("figure.table").count()


def test_a_click_on_a_heading_sorts(opened):
    page = opened()
    heading = page.locator("#classes th", has_text="recall gcl")
    heading.get_by_role("button").click()
    assert heading.get_attribute("aria-sort") == "descending"
    recalls = [float(text) for text in column(page, "classes", 6)]
    assert recalls == sorted(recalls, reverse=True)
    assert recalls[0] == 100
    heading.get_by_role("button").click()
    assert heading.get_attribute("aria-sort") == "ascending"
    assert float(column(page, "classes", 6)[0]) < 50
    name = page.locator("#classes th").first
    name.get_by_role("button").click()
    assert (name.get_attribute("aria-sort"), heading.get_attribute("aria-sort")) == ("ascending", "none")
    shown = [text for text in column(page, "classes", 1) if text.startswith("species")]
    assert shown[:3] == ["species_of_a_long_name_2", "species_of_a_long_name_3", "species_of_a_long_name_4"], "not 10 after 1"


def test_it_searches_and_turns_pages(opened, page_file):
    page = opened()
    rows = page.locator("#classes output")
    assert rows.inner_text() == "Rows 1 to 25 of 60"
    following = page.locator("#classes").get_by_role("button", name="Next")
    following.click()
    following.click()
    assert rows.inner_text() == "Rows 51 to 60 of 60"
    assert following.is_disabled()
    search = page.locator("#classes").get_by_role("searchbox")
    search.fill("NAME_5")
    with (page_file.with_suffix("") / "classes.csv").open(newline="") as file:
        found = [row["class"] for row in csv.DictReader(file) if "name_5" in row["class"] + row["most confused with"]]
    assert column(page, "classes", 1) == found
    assert rows.inner_text() == f"Rows 1 to {len(found)} of {len(found)}"
    search.fill("<script>")
    assert HOSTILE in column(page, "classes", 1)
    assert page.evaluate("window.hacked") is None
    search.fill("no such class")
    assert rows.inner_text() == "No row"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_it_without_scrolling_sideways(opened, scheme):
    page = opened(390, scheme)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    boxes = page.eval_on_selector_all(".box", "all => all.map(box => [box.clientWidth, box.scrollWidth])")
    assert all(width <= 390 for width, _ in boxes)
    assert any(inside > width for width, inside in boxes), "wide tables scroll in their own box"
    dark, bright = page.evaluate("[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]")
    assert (int(dark[4:].split(",")[0]) < 60) is (scheme == "dark")
    assert (int(bright[4:].split(",")[0]) > 200) is (scheme == "dark")


def test_paper_has_no_buttons_and_dark_text_on_white(opened):
    page = opened(1280, "dark")
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not page.locator("#classes .tools").is_visible()
    assert page.pdf().startswith(b"%PDF")
