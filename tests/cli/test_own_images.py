"""The command line on one's own images: train, evaluate, predict, and what a later run takes from a finished one."""

import json
from pathlib import Path

import pytest
from test_cli import SMALL, on_photos, read, rows

from commands import longtail, paint
from longtail.networks.pretrained import content_hash


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return paint(tmp_path_factory.mktemp("data") / "photos", SMALL)


@pytest.fixture(scope="module")
def photo_run(photos, runs):
    return Path(on_photos(photos, runs).folder)


def test_evaluate_on_other_images(photo_run, tmp_path):
    """Classes are matched by name: without the first one, the others keep their place."""
    said = longtail("evaluate", photo_run, paint(tmp_path / "more", {"berry": 3, "citron": 2}, seed=5))
    assert said.code == 0
    assert "Not evaluated, since there are no test images: apple" in said.out
    assert "2 of 3 classes" in said.text
    assert "5 test images" in said.text
    assert "nan" not in said.out


def test_predict(photo_run, photos, tmp_path):
    one = photos / "apple" / "000.png"
    said = longtail("predict", photo_run, one, "--output", tmp_path / "one.csv")
    assert said.code == 0
    assert said.out.startswith(f"{one}  ")
    every = longtail("predict", photo_run, photos)
    assert f"{sum(SMALL.values())} images: {photo_run / 'predict.csv'}" in every.out
    assert "... and 3 more" in every.out
    written = rows(photo_run / "predict.csv")
    assert list(written[0]) == ["path", "label", "probability", "top5"]
    assert [row["path"] for row in written] == sorted(map(str, photos.rglob("*.png")))
    assert rows(tmp_path / "one.csv") == [row for row in written if row["path"] == str(one)]
    for row in written:
        top = list(json.loads(row["top5"]).items())
        assert top[0] == (row["label"], float(row["probability"]))
        assert sum(share for _, share in top) == pytest.approx(1, abs=1e-3)


def test_predict_names_what_it_leaves_out(photo_run, photos, tmp_path):
    (tmp_path / "broken.png").write_text("text")
    said = longtail("predict", photo_run, tmp_path / "broken.png", photos / "apple" / "000.png", "-o", tmp_path / "out.csv")
    assert said.code == 0
    assert "broken.png' cannot be read as an image" in said.out
    assert len(rows(tmp_path / "out.csv")) == 1


def test_a_stored_split_is_taken_again(photo_run, photos, tmp_path):
    again = on_photos(photos, tmp_path, "--split", photo_run / "split.csv", "--split-seed", 9)
    other = on_photos(photos, tmp_path, "--split-seed", 9)
    first, second, third = ((Path(folder) / "split.csv").read_text() for folder in (photo_run, again.folder, other.folder))
    assert first == second != third
    assert "the split given by --split" in again.out


def test_imbalance_cuts_a_folder(photos, tmp_path):
    folder = on_photos(photos, tmp_path, "--imbalance", "2").folder
    counts = [entry["train_images"] for entry in read(folder, "classes.json")]
    assert counts == [8, 5, 4]
    assert read(folder, "record.json")["setting"]["data"]["imbalance"] == 2


def test_weights_of_another_run(photo_run, photos, tmp_path):
    folder = on_photos(photos, tmp_path, "--weights", photo_run).folder
    assert read(folder, "record.json")["setting"]["weights"] == content_hash(photo_run)
