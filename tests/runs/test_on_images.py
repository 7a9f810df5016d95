"""A finished run evaluated on other images, or on its own with other views."""

import csv
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from test_judging import COUNTS, FORMER, OPTIONS

import longtail
from commands import longtail as command
from commands import paint
from longtail.errors import UserError
from longtail.runs import labelled
from longtail.runs.judging import regrouped_report
from longtail.runs.on_images import evaluated_on_images, report_on_images


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return paint(tmp_path_factory.mktemp("data") / "photos", COUNTS)


@pytest.fixture
def former(tmp_path):
    return Path(shutil.copytree(FORMER, tmp_path / "digits_lt"))


def test_other_images_leave_out_what_tells_of_the_runs_own(photos, tmp_path, monkeypatch):
    run = longtail.train(photos, method="ce", runs=tmp_path / "runs", **OPTIONS)
    more = paint(tmp_path / "more", {"berry": 3, "citron": 2}, seed=5)
    report = report_on_images(run.folder, more, groups="auto")
    assert (report.val_mean_recall, report.stages, report.group_rule) == (None, (), "auto")
    assert report.images == {**run.report.images, "test": 5}
    assert report.test.test_counts == (0, 3, 2)
    assert math.isnan(report.test.recalls[0])
    assert report.test.groups["medium"].images == 3
    monkeypatch.setattr(labelled, "BATCH", 2)
    (more / "berry" / "001.png").write_bytes(b"no image")
    how = {"groups": "auto", "skip_corrupt": True}
    shares = np.array([1.0, 60.0, 9.0])
    (tmp_path / "prior.csv").write_text("label,share\napple,1\nberry,60\ncitron,9\n")
    found, report = (evaluated_on_images(run.folder, more, prior=prior, **how) for prior in (str(tmp_path / "prior.csv"), None))
    assert (str(found.report), report.adjusted) == (str(report.report), None)
    pixels = [more / "berry" / "000.png", more / "berry" / "002.png", more / "citron" / "000.png", more / "citron" / "001.png"]
    expected = [each.probabilities for each in longtail.load(run.folder).predict(pixels)]
    shares = np.array([list(each.values()) for each in expected]) * shares / run.report.class_counts
    labels, right = np.array([1, 1, 2, 2]), shares.argmax(1) == [1, 1, 2, 2]
    assert found.report.test.test_counts == (0, 2, 2)
    assert found.adjusted.test.accuracy == pytest.approx(right.mean())
    assert found.adjusted.test.recalls[1:] == pytest.approx([right[labels == label].mean() for label in (1, 2)])
    sure = (shares / shares.sum(1, keepdims=True)).max(1)
    bins = np.ceil(sure * 15)
    gaps = [abs((right - sure)[bins == each].sum()) for each in set(bins)]
    assert found.adjusted.test.calibration_error == pytest.approx(sum(gaps) / 4, abs=1e-4)


def test_a_prior_that_is_none_is_refused_before_any_image_is_read(photos, tmp_path):
    run = longtail.train(photos, method="ce", runs=tmp_path / "runs", **OPTIONS)
    more = paint(tmp_path / "more", {"berry": 1}, seed=5)
    (more / "berry" / "000.png").write_bytes(b"no image")
    (tmp_path / "prior.csv").write_text("label,share\napple,1\n")
    for prior, said in (
        ("nowhere.csv", "There is no prior"),
        (tmp_path / "prior.csv", "a share above 0 to a class that was evaluated"),
    ):
        with pytest.raises(UserError, match=said):
            evaluated_on_images(run.folder, more, groups="shots", prior=str(prior))


def test_the_same_images_with_other_views(photos, tmp_path):
    options = {"method": "ce", "runs": tmp_path / "runs", **OPTIONS}
    result = longtail.train(photos, views=1, **options)
    split = (result.folder / "split.csv").read_text().splitlines()
    tested = [line.split(",")[:2] for line in split if line.split(",")[2] == "test"]
    listed = photos / "tested.csv"
    listed.write_text("path,label\n" + "".join(f"{path},{label}\n" for path, label in tested))
    try:
        again = report_on_images(result.folder, listed, groups="shots")
        eight = report_on_images(result.folder, listed, groups="shots", views=8)
        printed = command("evaluate", result.folder, listed, "--views", 8)
    finally:
        listed.unlink()
    assert (again.views, again.test.recalls) == (1, result.report.test.recalls)
    wanted = longtail.train(photos, views=8, **options)
    assert (eight.views, eight.test.recalls) == (wanted.report.views, wanted.report.test.recalls) == (8, eight.test.recalls)
    assert regrouped_report(wanted.folder, groups="shots", views=8) == wanted.report
    assert "last epoch · 8 views · test images" in printed.text
    assert "last epoch · 1 view · test images" in command("evaluate", result.folder, "--views", 1).text
    sentence = command("evaluate", result.folder, "--views", 8).sentence
    assert sentence == (
        f"The predictions stored in '{result.folder}' are for 1 view of each image; another number needs the images, so give the "
        f"folder or CSV of the labelled test images: longtail evaluate {result.folder} FOLDER --views 8."
    )
    for words in (("evaluate", result.folder), ("evaluate", result.folder, photos), ("predict", result.folder, photos)):
        assert "--views must be 1 (each image), 2" in command(*words, "--views", 5).sentence


def test_results_on_other_images_are_kept_as_csv_and_json(photos, tmp_path):
    run = longtail.train(photos, runs=tmp_path / "runs", method="ce", **OPTIONS).folder
    paint(tmp_path / "new", {"apple": 4, "berry": 2}, seed=5)
    said = command("evaluate", run, tmp_path / "new", "-o", tmp_path / "new.csv")
    assert f"Every class: {tmp_path / 'new.csv'}" in said.out
    found = report_on_images(run, tmp_path / "new", groups="shots")
    with (tmp_path / "new.csv").open(newline="") as file:
        rows = {(row["kind"], row["name"]): row for row in csv.DictReader(file)}
    assert rows["number", "accuracy"]["value"] == f"{found.test.accuracy:.6f}"
    assert rows["number", "accuracy"]["test_images"] == "6"
    assert rows["group", "few"]["value"] == f"{found.test.groups['few'].recall:.6f}"
    assert [rows["class", name]["value"] for name in COUNTS] == [*(f"{each:.6f}" for each in found.test.recalls[:2]), ""]
    assert [rows["class", name]["test_images"] for name in COUNTS] == ["4", "2", "0"]
    printed = command("evaluate", run, tmp_path / "new", "--json", "--prior", "train")
    content = json.loads(printed.out)
    assert content["results"]["ce"]["test"]["test_counts"] == [4, 2, 0]
    assert content["results"]["ce"]["test"]["recalls"][2] is None
    assert (content["prior"], len(content["notes"])) == ("train", 1)
    assert "Next:" in printed.err
    assert json.loads(command("evaluate", run, "--json").out)["results"].keys() == {"ce"}


def test_results_take_the_place_of_no_data_and_no_file_of_a_run(former, tmp_path):
    (run,) = (former / "oltr").iterdir()
    (tmp_path / "list.csv").write_text("path,label\na.png,0\n")
    said = command("evaluate", run, tmp_path / "list.csv", "-o", tmp_path / "list.csv").sentence
    assert said.endswith("is the list of the images; give the name of another file with -o.")
    assert "is a file of a run" in command("evaluate", run, "-o", run / "report.json").sentence


def test_names_that_are_equal_but_for_their_unicode_form_are_those_of_the_run(tmp_path):
    composed, decomposed = "K\u00e4fer", "Ka\u0308fer"
    paint(tmp_path / "photos", {composed: 12, "berry, ripe": 8})
    run = longtail.train(tmp_path / "photos", runs=tmp_path / "runs", method="ce", **OPTIONS).folder
    paint(tmp_path / "of a Mac", {decomposed: 3, "berry, ripe": 2})
    said = command("evaluate", run, tmp_path / "of a Mac")
    sentence = f"1 class is written in another Unicode form than in the run, and taken for that of the run: '{composed}'."
    assert said.out.count(sentence) == 1
    found = report_on_images(run, tmp_path / "of a Mac", groups="shots")
    assert dict(zip([entry.name for entry in found.classes], found.test.test_counts, strict=True)) == {
        composed: 3,
        "berry, ripe": 2,
    }
    paint(tmp_path / "other", {decomposed.upper(): 1})
    refused = command("evaluate", run, tmp_path / "other").sentence
    assert f"it knows '{composed}', 'berry, ripe'. '{composed}' differs from it only in capitals, spaces or Unicode" in refused
    assert refused.endswith("Give its folder the name of a class of the run, or take it out.")
