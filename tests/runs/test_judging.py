"""A finished run evaluated again: other groups or another prior change nothing else."""

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
from longtail.results import GroupResult, wilson
from longtail.runs.judged import _led_by
from longtail.runs.judging import accuracy_under, regrouped_report
from longtail.runs.layout import chosen_run
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
