"""Rows of a table on other images than most of its rows: which they are, what is said of them, and that sizes do not matter."""

import csv
import io
import json
from dataclasses import replace

import pytest

from commands import longtail as command
from longtail.runs.row_images import rows_apart
from longtail.runs.table import rows_of
from made_runs import made_run

COUNTS, LABELS, NAMES = [500, 50, 5], [0, 0, 1, 1, 2, 2], ["apple", "berry", "citron"]


@pytest.fixture
def make(tmp_path):
    """Makes a finished run of a method, the mean recall of which grows with `right`."""

    def make(method, contents, hash_of_images, *, right=2, train=("apple/a.png", "apple/b.png"), size=None, seed=0):
        predicted = [*LABELS[:right], *([0] * (6 - right))]
        data = {"call": "longtail.data.folder.folder_data", "size": size}
        folder = tmp_path / "made" / method / f"{seed}-{hash_of_images[:3]}{size or ''}"
        how = {"names": NAMES, "method": method, "contents": contents, "train": train, "seed": seed}
        return made_run(folder, COUNTS, LABELS, predicted, **how, split=hash_of_images, setting={"name": "made", "data": data})

    return make


def test_rows_on_other_test_images_are_named_and_counted(make, tmp_path):
    usual = make("ce", "uvwxyz", "a" * 64)
    make("gcl", "uvwxyz", "a" * 64, right=3)
    make("focal", "uvwxqq", "b" * 64, right=5)
    make("ldam", "uvwxqq", "b" * 64, right=6)
    make("ce", "uvwxyz", "a" * 64, right=4, size=9)
    (apart,) = rows_apart(rows_of(tmp_path, "made"))
    assert (apart.rows, apart.usual, apart.trained) == ((3, 4), 0, None)
    assert apart.tested == "2 of 6 differ, such as citron/4.png"
    said = command("table", "made", "--runs", tmp_path).text
    assert "focal and ldam were evaluated on other test images than ce 1: 2 of 6 differ, such as citron/4.png. Their" in said
    assert f"recalls and those of ce 1 cannot be compared; train with --split {usual / 'split.csv'} to have the same." in said
    sheet = csv.DictReader(io.StringIO(command("table", "made", "--runs", tmp_path, "--format", "csv").out))
    found = {row["method"]: row["differs"] for row in sheet}
    assert found["focal"] == found["ldam"] == "other test images than row 1 (2 of 6 differ, such as citron/4.png)"
    assert found["gcl"] == ""


def test_for_a_named_setting_the_seed_of_the_split_is_advised(tmp_path):
    data = {"call": "longtail.data.digits.digits_lt", "split_seed": 3}
    how = {"names": NAMES, "setting": {"name": "made", "data": data}}
    first = made_run(tmp_path / "made" / "ce" / "0", COUNTS, LABELS, LABELS, contents="uvwxyz", split="a" * 64, **how)
    other = made_run(
        tmp_path / "made" / "gcl" / "0", COUNTS, LABELS, LABELS, method="gcl", contents="uvwxqq", split="b" * 64, **how
    )
    for words in (("table", "made", "--runs", tmp_path), ("compare", first, other), ("report", first, other)):
        said = command(*words)
        assert "rain with --split-seed 3 to have the same." in " ".join((said.out + said.err).split()), words


def test_rows_that_learned_from_other_images_are_said_to_be_tested_on_the_same(make, tmp_path):
    make("ce", "uvwxyz", "a" * 64)
    make("gcl", "uvwxyz", "b" * 64, right=4, train=("apple/a.png",))
    said = command("table", "made", "--runs", tmp_path).text
    assert "gcl was trained on other images than ce (1, not 2), and evaluated on the same." in said
    sheet = csv.DictReader(io.StringIO(command("table", "made", "--runs", tmp_path, "--format", "csv").out))
    assert [row["differs"] for row in sheet] == ["", "training images: 1, of row 1: 2"]


def test_the_same_images_in_another_size_are_the_same(make, tmp_path):
    make("ce", "uvwxyz", "a" * 64, size=8)
    make("gcl", "uvwxyz", "b" * 64, size=9)
    assert rows_apart(rows_of(tmp_path, "made")) == []


def test_of_results_from_files_the_hash_is_compared(make, tmp_path):
    make("ce", "uvwxyz", "a" * 64)
    (row,) = rows_of(tmp_path, "made")
    elsewhere = replace(row, method="gcl", split="b" * 64, folder=None)
    (apart,) = rows_apart([row, elsewhere])
    assert (apart.rows, apart.tested, apart.trained) == ((1,), "", None)


def test_the_result_of_a_file_is_said_to_be_on_images_that_may_be_others(make, tmp_path):
    other = make("gcl", "uvwxyz", "b" * 64, right=3)
    assert command("results", other, "-o", tmp_path / "all.jsonl").code == 0
    for path in sorted(other.rglob("*"), reverse=True):
        path.unlink()
    make("ce", "uvwxyz", "a" * 64)
    said = command("table", "made", "--runs", tmp_path, "--results", tmp_path / "all.jsonl").text
    assert "The record of gcl has another hash of the images than that of ce: its images are others, or of another size." in said
    assert json.loads((tmp_path / "all.jsonl").read_text())["record"]["split"] == "b" * 64
