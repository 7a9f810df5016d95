"""A finished run evaluated again: other groups, another prior or other images change nothing else."""

import csv
import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import longtail
from commands import longtail as command
from commands import paint
from longtail.errors import MissingFileError, UserError
from longtail.results import GroupResult, wilson
from longtail.runs import labelled
from longtail.runs.judged import _led_by
from longtail.runs.judging import accuracy_under, regrouped_report
from longtail.runs.layout import chosen_run
from longtail.runs.on_images import evaluated_on_images, report_on_images
from longtail.runs.report import read_report, report_text
from longtail.runs.seals import SEALED, SHA256

FORMER = Path(__file__).parents[1] / "fixtures" / "runs_0_1_0" / "digits_lt"
OPTIONS = {"epochs": 2, "size": 8, "backbone": "resnet8", "device": "cpu", "val": 0.2}
COUNTS = {"apple": 60, "berry": 12, "citron": 6}


def unsealed(folder, report):
    """Writes a report without a checksum, as release 0.1.0 did."""
    content = {name: value for name, value in json.loads(report_text(report)).items() if name not in (SEALED, SHA256)}
    (folder / "report.json").write_text(json.dumps(content))


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return paint(tmp_path_factory.mktemp("data") / "photos", COUNTS)


@pytest.fixture
def former(tmp_path):
    return Path(shutil.copytree(FORMER, tmp_path / "digits_lt"))


def but_groups(report):
    """All that does not depend on the groups."""
    stages = tuple(
        replace(
            stage,
            last_epoch=replace(stage.last_epoch, groups={}),
            best_test_epoch=stage.best_test_epoch and replace(stage.best_test_epoch, groups={}),
        )
        for stage in report.stages
    )
    classes = tuple(replace(entry, group="") for entry in report.classes)
    return replace(report, group_rule="", test=replace(report.test, groups={}), stages=stages, classes=classes)


def but_time(report):
    stages = tuple(replace(stage, seconds=0.0, images_per_second=None) for stage in report.stages)
    return replace(report, stages=stages)


def test_other_groups_are_those_of_a_run_trained_with_them(photos, tmp_path):
    """Intervals and the best test epochs of all stages included, to the bit."""
    asked = {**OPTIONS, "method": "crt", "protocol": "paper"}
    shots = longtail.train(photos, runs=tmp_path / "a", **asked)
    again = longtail.train(photos, runs=tmp_path / "a", groups="auto", **asked)
    auto = longtail.train(photos, runs=tmp_path / "b", groups="auto", **asked)
    assert again.folder == shots.folder
    assert but_time(again.report) == but_time(auto.report)
    assert but_groups(again.report) == but_groups(shots.report)
    assert again.report.val_mean_recall is not None
    assert [entry.group for entry in shots.report.classes] == ["medium", "few", "few"]
    assert [entry.group for entry in again.report.classes] == ["many", "medium", "few"]
    assert all(group.interval is not None for group in again.report.test.groups.values())
    assert all(set(stage.best_test_epoch.groups) == {"many", "medium", "few"} for stage in again.report.stages)
    assert longtail.train(photos, runs=tmp_path / "a", **asked).report == shots.report, "the stored report is as it was"


def test_answers_in_other_groups(photos, tmp_path):
    command_line = ("train", photos, "--epochs", 2, "--size", 8, "--backbone", "resnet8", "--runs", tmp_path)
    first = command(*command_line)
    again = command(*command_line, "--groups", "auto")
    assert again.code == 0
    assert again.folder == first.folder
    assert cells(again.out, "all", "accuracy", "ECE") == cells(first.out, "all", "accuracy", "ECE")
    assert "many (a third of the classes): 1 class" in again.text
    chosen = chosen_run(Path(first.folder))
    assert but_groups(regrouped_report(Path(first.folder), groups="auto")) == but_groups(read_report(chosen))


def cells(out, *headings):
    """The cells of these columns in a printed table, row by row; numbers hold no spaces, and stand at the right."""
    lines = out.splitlines()
    begin = next(number for number, line in enumerate(lines) if all(heading in line.split() for heading in headings))
    known = lines[begin].split()
    end = next(number for number in range(begin + 2, len(lines)) if not lines[number].strip())
    rows = [line.split()[-len(known) :] for line in lines[begin + 2 : end]]
    return [[row[known.index(heading)] for heading in headings] for row in rows if len(row) == len(known)]


def test_a_former_run_in_other_groups(former):
    (folder,) = (former / "logit_adjusted_post_hoc").iterdir()
    measured = read_report(folder)
    report = regrouped_report(folder, groups="auto")
    assert but_groups(report) == but_groups(measured)
    assert report.val_mean_recall == 0.25925925925925924
    assert [group.classes for group in report.test.groups.values()] == [4, 3, 3]
    few = [label for label, entry in enumerate(report.classes) if entry.group == "few"]
    assert report.test.groups["few"].recall == pytest.approx(np.mean([measured.test.recalls[label] for label in few]))
    assert report.stages[0].last_epoch.groups == {name: group.recall for name, group in report.test.groups.items()}
    assert regrouped_report(folder, groups="shots") == measured


def test_the_interval_of_a_former_run_is_computed_from_its_recalls(former):
    (folder,) = (former / "logit_adjusted_post_hoc").iterdir()
    measured = read_report(folder)
    assert measured.test.groups["many"].interval == (0.8684426229508196, 0.9836065573770492), "as the former release drew it"
    unsealed(folder, replace(measured, group_rule="auto"))
    groups = regrouped_report(folder, groups="shots").test.groups
    assert groups["many"].interval == pytest.approx(wilson(57 / 61, 61))
    assert {name: replace(group, interval=None) for name, group in groups.items()} == {
        name: replace(group, interval=None) for name, group in measured.test.groups.items()
    }


def test_stages_of_a_former_run_keep_what_is_known(former):
    (folder,) = (former / "oltr").iterdir()
    report = regrouped_report(folder, groups="auto")
    assert report.stages[0].last_epoch.groups == {}, "recalls of classes are not stored"
    assert report.stages[0].last_epoch.mean_recall == 0.24754098360655735
    assert set(report.stages[1].last_epoch.groups) == {"many", "medium", "few"}


def test_no_predictions_are_needed_for_an_interval(former):
    (folder,) = (former / "oltr").iterdir()
    assert not (folder / "predictions.npz").exists()
    unsealed(folder, regrouped_report(folder, groups="auto"))
    assert regrouped_report(folder, groups="shots").test.groups["many"].interval is not None


def test_evaluate_reads_former_runs(former, tmp_path):
    (answers,) = (former / "answers").iterdir()
    (chosen,) = (former / "logit_adjusted_post_hoc").iterdir()
    assert chosen_run(answers).resolve() == chosen
    said = command("evaluate", answers, "--groups", "auto", "--prior", "train")
    measured = read_report(chosen)
    prior = np.average(measured.test.recalls, weights=measured.class_counts)
    own, adjusted = (row for row in cells(said.out, "all", "accuracy", "ECE", "val") if any(row))
    assert own == ["26.4", "26.7", "56.8", "25.9"]
    assert adjusted[-1] == "–", "the validation recall of adjusted scores is not known"
    assert "the run's own are meant for equal frequencies, as logit_adjusted gives them" in said.text
    assert f"Expected accuracy under the class prior 'train': {100 * prior:.1f} %" in said.out


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


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ("{}", "does not say which run was chosen"),
        ("[1]", "does not say which run"),
        ('{"chosen_run": "..', "is damaged: it is cut off or not JSON"),
    ],
    ids=str,
)
def test_a_comparison_that_chose_nothing(tmp_path, answers, said):
    (tmp_path / "answers.json").write_text(answers)
    with pytest.raises(UserError, match=f"answers.json' {said}"):
        chosen_run(tmp_path)


def test_the_run_that_a_comparison_chose(tmp_path):
    tmp_path = tmp_path / "answers"
    (tmp_path.parent / "ce" / "0-abcdef").mkdir(parents=True)
    (tmp_path / "far" / "ce").mkdir(parents=True)
    assert chosen_run(tmp_path) == tmp_path
    (tmp_path / "answers.json").write_text(json.dumps({"chosen_run": "../ce/0-abcdef"}))
    assert chosen_run(tmp_path) == tmp_path.parent / "ce/0-abcdef"
    (tmp_path / "far" / "deep").mkdir(parents=True)
    (tmp_path / "far" / "deep" / "answers.json").write_text(json.dumps({"chosen_run": "../ce"}))
    (tmp_path / "link").symlink_to(tmp_path / "far" / "deep")
    assert chosen_run(tmp_path / "link").resolve() == tmp_path / "far" / "ce", "not beside the link"
    (tmp_path / "far" / "ce").rmdir()
    with pytest.raises(MissingFileError, match=r"the run that it chose is not at .* any more"):
        chosen_run(tmp_path / "link")


def test_a_prior_weighs_the_classes(former):
    (folder,) = (former / "oltr").iterdir()
    report = read_report(folder)
    assert accuracy_under(report, "uniform") == pytest.approx(report.test.mean_recall)
    assert accuracy_under(report, "train") == pytest.approx(np.average(report.test.recalls, weights=report.class_counts))


def test_adjusted_scores_are_those_of_bayes_rule(former, tmp_path):
    """The expected accuracy with adjusted scores, from the stored predictions by hand."""
    (folder,) = (former / "logit_adjusted_post_hoc").iterdir()
    shares = tmp_path / "shares.csv"
    shares.write_text("label,share\n" + "".join(f"{digit},{digit + 1}\n" for digit in range(10)))
    wanted = np.arange(1, 11) / 55
    with np.load(folder / "predictions.npz") as stored:
        predicted = (stored["scores"].astype(np.float64) + np.log(wanted / 0.1)).argmax(1)
        labels = stored["labels"]
    recalls = [np.mean(predicted[labels == digit] == digit) for digit in range(10)]
    measured = read_report(folder)
    before, after = (100 * np.average(each, weights=wanted) for each in (measured.test.recalls, recalls))
    said = command("evaluate", folder, "--prior", shares).text
    assert f"Expected accuracy under the class prior '{shares}': {before:.1f} %; with adjusted scores {after:.1f} %" in said


def test_the_predicted_class_keeps_the_lead_at_the_precision_of_the_files():
    scores, predicted = torch.tensor([[1.0, 1.0, 0.0], [2.0, 3.0, 3.0], [0.0, 5.0, 1.0]]), torch.tensor([1, 2, 1])
    led = _led_by(scores, predicted)
    assert led.argmax(1).tolist() == [1, 2, 1]
    torch.testing.assert_close(led, scores, atol=1e-6, rtol=0)
    assert torch.equal(led[2], scores[2])


def test_an_empty_group_stays_empty(former):
    (folder,) = (former / "oltr").iterdir()
    report = read_report(folder)
    rich = tuple(replace(entry, train_images=entry.train_images + 200, group="many") for entry in report.classes)
    unsealed(folder, replace(report, group_rule="auto", classes=rich))
    groups = regrouped_report(folder, groups="shots").test.groups
    assert groups["many"].recall == report.test.mean_recall
    assert str(groups["few"]) == str(GroupResult(math.nan, 0, 0, 0))


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
