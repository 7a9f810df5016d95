"""Names of classes and files that a terminal or a spreadsheet would obey: they are shown and written as plain text."""

import csv
import json
from pathlib import Path

import pytest

from commands import longtail, paint
from longtail.text import visible

NAMES = {"-2+3": 12, "@sum": 8, "=1+1": 6, "[bold]x": 4, "[link=x]y": 3}
SHOWN = tuple(NAMES)
GUARDED = {"-2+3", "@sum", "=1+1"}
SMALL = ("--size", 8, "--backbone", "resnet8", "--epochs", 1, "--device", "cpu")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """One class per name, whose first image has that name as well."""
    root = paint(tmp_path_factory.mktemp("odd") / "[red]photos", NAMES)
    for name in NAMES:
        (root / name / "000.png").rename(root / name / f"{name}.png")
    return root


@pytest.fixture(scope="module")
def trained(photos, tmp_path_factory):
    return longtail("train", photos, "--method", "ce", *SMALL, "--runs", tmp_path_factory.mktemp("runs"))


def plain(*texts):
    """Asserts that the texts hold no control character except line breaks."""
    for text in texts:
        assert not {character for character in text if ord(character) < 32} - {"\n"}, text
    return True


def test_inspect_shows_them_as_text(tmp_path):
    root = paint(tmp_path / "[red]photos", NAMES)
    (root / "=1+1" / "broken.png").write_bytes(b"no image")
    said = longtail("inspect", root)
    assert said.code == 0
    assert plain(said.out, said.err)
    assert all(name in said.out for name in SHOWN)
    assert "Corrupt: =1+1/broken.png" in said.out


@pytest.mark.parametrize("name", ["\x1b[31mred", "a\nb"])
@pytest.mark.parametrize("command", ["inspect", "train"])
def test_control_characters_in_the_name_of_a_class_are_refused_and_shown_as_text(tmp_path, command, name):
    said = longtail(command, paint(tmp_path / "photos", {**NAMES, name: 3}))
    assert plain(said.sentence)
    assert said.sentence.startswith(f"The name '{visible(name)}' in '{tmp_path}/photos' has control characters")


def test_training_and_its_tables_show_them_as_text(photos, trained):
    assert trained.code == 0, trained.err
    assert plain(trained.out, trained.err)
    assert f"Run folder: {trained.folder}" in trained.out
    table = longtail("table", photos, "--runs", Path(trained.folder).parents[2])
    assert table.code == 0, table.err
    assert "[red]photos" in table.out
    assert longtail("evaluate", trained.folder).code == 0


def test_show_names_the_data_as_text(photos):
    said = longtail("show", "ce", photos, *SMALL)
    assert said.code == 0, said.err
    assert f"Next: longtail train '{photos}' --method ce" in said.out


def test_predictions_are_safe_in_a_terminal_and_in_a_spreadsheet(photos, trained, tmp_path):
    odd = tmp_path / "odd" / "a\nb"
    odd.mkdir(parents=True)
    (odd / "\x1b[31mred.png").write_bytes((photos / "=1+1" / "001.png").read_bytes())
    said = longtail("predict", trained.folder, photos, odd, "-o", tmp_path / "out.csv")
    assert said.code == 0, said.err
    assert plain(said.out, said.err)
    with (tmp_path / "out.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert len(rows) == sum(NAMES.values()) + 1
    assert {row["label"] for row in rows} <= {f"'{name}" if name in GUARDED else name for name in NAMES}
    assert plain(*(cell for row in rows for cell in row.values()))
    assert not [cell for row in rows for cell in row.values() if cell.startswith(("=", "+", "-", "@"))]
    assert rows[-1]["path"].endswith(r"/odd/a\nb/\x1b[31mred.png")


@pytest.mark.parametrize("name", ["=1+1.png", "\x1b[31mred.png", "a\nb.png", "[bold]x.png", "+5.png"])
def test_a_file_in_the_current_folder_is_no_formula(photos, trained, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes((photos / "=1+1" / "001.png").read_bytes())
    said = longtail("predict", trained.folder, name, "-o", "out.csv")
    assert said.code == 0, said.err
    assert plain(said.out)
    cell = next(csv.DictReader((tmp_path / "out.csv").read_text().splitlines()))["path"]
    shown = name.replace("\x1b", r"\x1b").replace("\n", r"\n")
    assert cell == (f"'{shown}" if name[0] in "=+" else shown)
    assert said.out.startswith(f"{shown}  ")


def test_split_csv_is_read_back(photos, trained, tmp_path):
    again = longtail("train", photos, "--method", "ce", *SMALL, "--split", f"{trained.folder}/split.csv", "--runs", tmp_path)
    assert again.code == 0, again.err
    first, second = (json.loads(Path(said.folder, "classes.json").read_text()) for said in (trained, again))
    assert first == second


@pytest.mark.parametrize("name", ["\x1b[31mred", "a\x07b", "[bold]x"])
def test_an_error_shows_them_as_text(name):
    said = longtail("inspect", f"/nowhere/{name}")
    assert plain(said.sentence)
    assert name.replace("\x1b", r"\x1b").replace("\x07", r"\x07") in said.sentence
