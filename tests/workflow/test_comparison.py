"""Comparison of three methods on one folder: the choice by validation images, and the files that are kept."""

import csv
import json
import math
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from commands import longtail, paint
from longtail import load
from longtail.results import GroupResult
from longtail.runs.layout import chosen_run
from longtail.runs.report import read_report
from longtail.runs.run import Run
from longtail.workflow import comparison as answers
from longtail.workflow.comparison import METHODS, NAMES, compare, sentence
from longtail.workflow.one_run import Result, Silent
from longtail.workflow.request import Request

FORMER = read_report(next((Path(__file__).parents[1] / "fixtures" / "runs_0_1_0").glob("digits_lt/oltr/*")))
COUNTS = {"apple": 30, "berry": 10, "citron": 4, "date": 2}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return paint(tmp_path_factory.mktemp("data") / "photos", COUNTS, size=16)


@pytest.fixture(scope="module")
def said(photos):
    return longtail("train", photos, "--epochs", 1, "--size", 16, "--runs", photos.parent / "runs")


@pytest.fixture(scope="module")
def stored(said):
    return json.loads((Path(said.folder) / "answers.json").read_text())


def split_of(folder):
    with (folder / "split.csv").open(newline="") as file:
        return {row["path"]: (row["label"], row["split"]) for row in csv.DictReader(file)}


def test_three_answers_are_printed_and_one_is_marked(said, stored):
    lines = [line for line in said.out.splitlines() if any(f"│ {name}" in line for name in NAMES.values())]
    assert len(lines) == 3
    assert [NAMES[stored["chosen"]] in line for line in lines if "←" in line] == [True]
    assert "16x16 pixels (--size); resnet32 (--backbone); 1 epochs (--epochs)" in said.out
    assert stored["verdict"] in said.text
    assert said.out.splitlines()[-1] == f"Next: longtail predict {said.folder} IMAGES  (uses {NAMES[stored['chosen']]})"


def test_validation_recall_chooses(said, stored):
    reports = {method: read_report(Path(said.folder) / path) for method, path in stored["runs"].items()}
    assert set(reports) == set(METHODS)
    best = max(report.val_mean_recall for report in reports.values())
    assert reports[stored["chosen"]].val_mean_recall == best
    assert len({json.dumps(report.images) for report in reports.values()}) == 1
    assert chosen_run(Path(said.folder)) == Path(said.folder) / stored["runs"][stored["chosen"]]


def test_every_class_is_in_train_and_where_it_can_be_in_test(said, stored):
    splits = [split_of(Path(said.folder) / path) for path in stored["runs"].values()]
    assert splits[0] == splits[1] == splits[2]
    where = Counter(splits[0].values())
    assert sum(where.values()) == sum(COUNTS.values())
    assert {name: where[name, "test"] for name in COUNTS} == {"apple": 6, "berry": 2, "citron": 1, "date": 1}
    assert {name: where[name, "val"] for name in COUNTS} == {"apple": 2, "berry": 1, "citron": 1, "date": 0}
    assert {name: where[name, "train"] for name in COUNTS} == {"apple": 22, "berry": 7, "citron": 2, "date": 1}


def test_the_folder_of_answers_predicts_as_the_chosen_run(said, stored, photos):
    image = photos / "berry" / "003.png"
    chosen = load(Path(said.folder) / stored["chosen_run"]).predict(image)
    assert load(said.folder).predict(image) == chosen
    assert longtail("predict", said.folder, image).out.startswith(f"{image}  {chosen.label}  {100 * chosen.probability:.1f} %")
    judged = longtail("evaluate", said.folder)
    assert judged.code == 0
    assert f"│ {stored['chosen']} " in judged.out


def test_the_same_command_reads_everything_back(said, photos, monkeypatch):
    monkeypatch.setattr("longtail.workflow.job.train_stages", lambda *_, **__: pytest.fail("it trained again"))
    again = longtail("train", photos, "--epochs", 1, "--size", 16, "--runs", photos.parent / "runs")
    lines = [line for line in again.out.splitlines() if "is read back; --fresh trains it anew" not in line]
    assert len(again.out.splitlines()) == len(lines) + 3
    assert (again.code, lines) == (said.code, said.out.splitlines())


def test_another_split_seed_is_another_split(said, stored, photos, tmp_path):
    chosen = Path(said.folder) / stored["chosen_run"]
    stored_split = ("--split", chosen / "split.csv", "--split-seed", 7)
    quick = ("train", photos, "--epochs", 1, "--size", 16, "--backbone", "resnet8", "--runs", tmp_path)
    again, other = (Path(longtail(*quick, *more).folder) for more in (stored_split, ("--split-seed", 7)))
    runs = [folder / json.loads((folder / "answers.json").read_text())["chosen_run"] for folder in (again, other)]
    assert split_of(runs[0]) == split_of(chosen) != split_of(runs[1])


def report(val, few, many):
    groups = {"many": GroupResult(many, 1, 1, 200), "medium": GroupResult(math.nan, 0, 0, 0), "few": GroupResult(few, 1, 1, 200)}
    test = replace(FORMER.test, mean_recall=(few + many) / 2, groups=groups)
    return replace(FORMER, val_mean_recall=val, test=test)


@dataclass
class Told:
    """Takes the place of training: reports the given validation recall of each method."""

    val: dict

    def __call__(self, request, setting, data, *, watcher):
        assert data.val is None or len(data.val)
        folder = request.runs / setting.name / request.method / "0-abcdef"
        return Result(Run(folder), report(self.val[request.method], 0.25, 0.75))


@pytest.mark.parametrize(
    ("val", "chosen"),
    [((0.6, 0.5, 0.55), "ce"), ((0.6, 0.6, 0.6), "ce"), ((0.5, 0.6, 0.4), "logit_adjusted_post_hoc"), ((0.5, 0.6, 0.7), "gcl")],
)
def test_each_can_win(val, chosen, photos, tmp_path, monkeypatch):
    monkeypatch.setattr(answers, "train_one", Told(dict(zip(METHODS, val, strict=True))))
    comparison = compare(Request(photos, runs=tmp_path, size=16, epochs=1), Silent())
    assert comparison.chosen == chosen
    written = comparison.run.read_json("answers.json")
    assert (written["chosen"], written["chosen_run"]) == (chosen, f"../../{chosen}/0-abcdef")
    assert written["verdict"] == comparison.verdict


def test_the_sentence_where_cross_entropy_wins():
    reports = {"ce": report(0.6, 0.2, 0.9), "logit_adjusted_post_hoc": report(0.5, 0.3, 0.8), "gcl": report(0.55, 0.4, 0.7)}
    assert sentence(reports, "ce") == (
        "Plain cross-entropy wins: mean recall 60.0 % on validation images, against 55.0 % for GCL. Recall on the test "
        "images, from cross-entropy to GCL: many 90.0 % to 70.0 %; few 20.0 % to 40.0 %; mean recall 55.0 % to 55.0 %."
    )


def test_the_sentence_where_another_wins():
    reports = {"ce": report(0.5, 0.2, 0.9), "logit_adjusted_post_hoc": report(0.6, 0.4, 0.8), "gcl": report(0.55, 0.4, 0.7)}
    assert sentence(reports, "logit_adjusted_post_hoc") == (
        "Post hoc logit adjustment wins: mean recall 60.0 % on validation images, against 50.0 % for "
        "cross-entropy. Recall on the test images, from cross-entropy to post hoc logit adjustment: many 90.0 % to 80.0 %; "
        "few 20.0 % to 40.0 %; mean recall 55.0 % to 60.0 %."
    )
