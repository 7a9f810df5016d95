"""The numbers of a report: shares and confusions of classes, groups, gains, and sentences on who is ahead."""

import hashlib
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import precision_recall_fscore_support

from longtail.reporting.class_table import class_rows, class_shares, class_table, most_confused
from longtail.reporting.gains import gain_rows, gains
from longtail.reporting.gathering import Choice, read_answers
from longtail.reporting.group_recalls import group_recalls, group_rows
from longtail.reporting.pairs import Contender, ahead, experiments, name_of_experiment
from longtail.reporting.summary import facts, summary
from longtail.results import wilson
from longtail.runs.comparison import compare
from made_runs import made_run

COUNTS = [500, 50, 10, 5]  # many, medium, few, few
LABELS = [0, 0, 0, 0, 1, 1, 1, 2, 2, 2]  # the last class has no test images
RIGHT_ON_COMMON = [0, 0, 0, 0, 1, 1, 0, 0, 0, 3]
RIGHT_ON_RARE = [0, 0, 1, 2, 1, 1, 1, 2, 2, 0]


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    first = made_run(root / "a", COUNTS, LABELS, RIGHT_ON_COMMON, method="ce", command="longtail train made --method ce")
    second = made_run(root / "b", COUNTS, LABELS, RIGHT_ON_RARE, method="gcl")
    return read_answers([first, second], groups="shots")


def test_shares_of_classes_are_those_of_scikit_learn():
    generator = np.random.default_rng(0)
    labels, predicted = generator.integers(0, 7, 200), generator.integers(0, 7, 200)
    expected = precision_recall_fscore_support(labels, predicted, labels=range(7))
    for share, right in zip(class_shares(labels, predicted, 7), expected, strict=False):
        np.testing.assert_allclose(share, right)


def test_a_class_is_most_confused_with_the_one_that_most_of_its_images_were_taken_for():
    generator = np.random.default_rng(1)
    labels, predicted = generator.integers(0, 6, 300), generator.integers(0, 6, 300)
    predicted[labels == 5] = 5
    found = most_confused(labels, predicted, 6)
    for label in range(5):
        taken = [int(((labels == label) & (predicted == other)).sum()) * (other != label) for other in range(6)]
        assert found[label] == (taken.index(max(taken)), max(taken))
    assert 5 not in found, "none of its images is missed"


def test_rows_of_classes_by_hand(answers):
    first, _, rare, unseen = class_rows(answers[0])
    assert first[:4] == ("class 0", "many", 500, 4)
    assert first[4:7] == pytest.approx((4 / 7, 1.0, 8 / 11))
    assert first[7:] == (None, None)
    assert rare == ("class 2", "few", 10, 3, None, 0.0, 0.0, "class 0", 2)
    assert unseen[3:] == (0, 0.0, None, 0.0, None, None), "one image was wrongly given this class, which has none"


def test_the_table_of_several_answers_has_all_recalls_and_the_last_answer_in_full(answers):
    shown, of_first = class_table(answers).parts
    row = dict(zip(shown.columns, shown.rows[2], strict=True))
    assert (row["recall ce"], row["recall gcl"]) == pytest.approx((0.0, 2 / 3))
    assert row["precision gcl"] == pytest.approx(2 / 3)
    assert row["most confused with"] == "class 0"
    assert {"recall ce", "recall gcl", "precision gcl", "F1 gcl"} == set(shown.percent)
    assert not of_first.shown
    assert of_first.rows == class_rows(answers[0])


def test_groups_count_evaluated_classes_and_their_images(answers):
    rows = {row[0].partition(" (")[0]: row[1:] for row in group_rows(answers[0])}
    assert rows["all classes"][:3] == ("ce", 3, 10)
    assert rows["all classes"][3] == pytest.approx((1 + 2 / 3 + 0) / 3)
    assert rows["many"][1:4] == (1, 4, 1.0)
    assert rows["many"][4:] == pytest.approx(wilson(1.0, 4))
    assert rows["few"][1:4] == (1, 3, 0.0), "the fourth class has no test images"


def test_a_group_without_classes_has_no_number(tmp_path):
    (answer,) = read_answers([made_run(tmp_path / "run", [500, 200], [0, 1], [0, 1])], groups="shots")
    rows = {row[0].partition(" (")[0]: row[2:] for row in group_rows(answer)}
    assert rows["few"] == (0, 0, None, None, None)
    section = group_recalls([answer])
    assert "No class belongs to the group “few”." in section.sentences
    assert len(section.parts) == 3


def test_gains_are_sorted_and_leave_out_classes_without_test_images(answers):
    rows = gain_rows(answers[:1], answers[1:])
    assert [(row[0], round(row[-1], 3)) for row in rows] == [("class 2", 0.667), ("class 1", 0.333), ("class 0", -0.5)]
    (drawing,) = gains(answers)
    assert "2 gained, 1 paid, 0 stayed the same" in drawing.caption
    assert gains(answers[:1]) == []


def test_the_difference_is_that_of_the_mean_recalls_with_the_interval_of_compare(answers):
    found = ahead(*(Contender([answer], torch.ones(4)) for answer in (answers[1], answers[0])))
    assert found.value == pytest.approx(answers[1].report.test.mean_recall - answers[0].report.test.mean_recall)
    assert found == compare(*(answer.folder for answer in answers)).contests[0].numbers["all"].difference
    said = summary(answers).sentences
    assert f"[{100 * found.low:.1f}, {100 * found.high:.1f}]: these images cannot tell the two apart" in said[0]
    assert said[0].startswith("gcl has the highest mean recall, 72.2 % [")
    assert "ce (55.6 %) is 16.7 points behind [" in said[0]
    assert "cannot tell the two apart" in said[0]
    assert said[1] == "From ce to gcl, mean recall in %: few 0.0 to 66.7, medium 66.7 to 100.0, many 100.0 to 50.0."


def test_one_answer_is_said_with_its_interval(answers):
    said = summary(answers[:1]).sentences[0]
    assert said.startswith("ce has a mean recall of 55.6 % [")
    assert "over 3 of 4 classes with 10 test images: many 100.0 %, medium 66.7 %, few 0.0 %." in said


def test_experiments_of_one_method_at_other_seeds_have_other_names(tmp_path):
    first = [made_run(tmp_path / f"{s}-aaa", COUNTS, LABELS, RIGHT_ON_RARE, seed=s) for s in (0, 1)]
    other = [made_run(tmp_path / f"{s}-bbb", COUNTS, LABELS, RIGHT_ON_COMMON, seed=s, precision="bf16-mixed") for s in (2, 3)]
    every = experiments(read_answers([*first, *other], groups="shots"))
    assert list(map(name_of_experiment, every)) == ["ce (aaa)", "ce (bbb)"]


def test_seeds_of_one_experiment_are_one_answer_with_a_deviation(tmp_path):
    runs = [made_run(tmp_path / str(s), COUNTS, LABELS, RIGHT_ON_RARE, seed=s) for s in (0, 1)]
    runs.append(made_run(tmp_path / "2", COUNTS, LABELS, RIGHT_ON_COMMON, seed=2))
    seeds = read_answers(runs, groups="shots")
    assert [each.name for each in seeds] == ["ce, seed 0", "ce, seed 1", "ce, seed 2"]
    assert experiments(seeds) == [seeds]
    copied = read_answers([*runs, made_run(tmp_path / "again", COUNTS, LABELS, RIGHT_ON_RARE, seed=0)], groups="shots")
    assert [[run.report.seed for run in each] for each in experiments(copied)] == [[0, 1, 2], [0]]
    recalls = [each.report.test.mean_recall for each in seeds]
    mean = sum(recalls) / 3
    deviation = math.sqrt(sum((recall - mean) ** 2 for recall in recalls) / 2)
    said = summary(seeds).sentences
    assert (
        f"ce at 3 seeds, mean recall in %, mean ± standard deviation over the seeds: all {100 * mean:.1f} ± {100 * deviation:.1f}"
        in said[0]
    )
    assert not any("highest" in sentence for sentence in said), "seeds are no rivals"


@pytest.fixture
def rivals(tmp_path):
    """Two seeds of cross-entropy and three of GCL, of which the first of each are not like the others."""
    predicted = {"ce": [RIGHT_ON_RARE, RIGHT_ON_COMMON], "gcl": [RIGHT_ON_COMMON, RIGHT_ON_RARE, LABELS]}
    recipes = {name: {"name": name, "stages": [], "inference": {"call": "longtail.inference.as_trained"}} for name in predicted}
    return [
        made_run(tmp_path / f"{name}{seed}", COUNTS, LABELS, each, method=name, seed=seed, recipe=recipes[name])
        for name, runs in predicted.items()
        for seed, each in enumerate(runs)
    ]


@pytest.mark.parametrize(("prior", "number"), [(None, "all"), ("train", "prior")])
def test_experiments_are_compared_over_their_seeds_as_compare_does(rivals, prior, number):
    answers = [replace(answer, prior=prior) for answer in read_answers(rivals, groups="shots")]
    ce_and_gcl = compare(*rivals, prior=prior).contests[0].numbers[number]
    said = summary(answers).sentences
    (ranked,) = (sentence for sentence in said if "has the highest" in sentence)
    what = "mean recall" if prior is None else "expected accuracy under the class prior 'train'"
    found, after, before = ce_and_gcl.difference, 100 * ce_and_gcl.after, 100 * ce_and_gcl.before
    assert found.value > 0
    assert ranked.startswith(f"gcl has the highest {what}, {after:.1f} % over 3 seeds on the 10 test images. ce ({before:.1f} %)")
    assert f" is {100 * found.value:.1f} points behind [{100 * found.low:.1f}, {100 * found.high:.1f}]" in ranked
    assert any("over the test images, and over seeds" in sentence for sentence in said)


def test_gains_are_those_of_means_over_seeds_and_seeds_alone_have_none(rivals):
    answers = read_answers(rivals, groups="shots")
    (drawing,) = gains(answers)
    rows = {row[0]: row[4:] for row in drawing.numbers.rows}
    assert rows["class 0"] == pytest.approx((0.75, 5 / 6, 5 / 6 - 0.75))
    assert "from ce to gcl (means over seeds)" in drawing.caption
    assert gains(answers[:2]) == []


def test_facts_name_the_command_that_was_recorded_or_what_is_known(answers):
    table = facts(answers)
    rows = {row[0]: row[1:] for row in table.rows}
    assert table.columns == ("fact", "ce", "gcl")
    assert rows["command"][0] == "longtail train made --method ce"
    assert rows["command"][1] == "longtail train made --method gcl --budget common --seed 0 (and options that were not recorded)"
    assert rows["images"] == ("565 train, 10 test",) * 2
    assert rows["protocol"][0] == "clean: last epoch"
    expected = hashlib.sha256((answers[0].folder / "split.csv").read_bytes()).hexdigest()[:12]
    assert rows["split"] == (f"{expected} (hash of split.csv)",) * 2, "whatever the images' size, which record.json's hash is of"
    assert rows["versions"][0] == "python 3.11, longtail 0.1.0"


def test_a_comparison_says_its_verdict_and_shows_its_candidates(answers):
    row = {"name": "GCL", "variant": "", "value": None, "cost": 2.0, "recall": 0.7, "interval": [0.6, 0.8]}
    choice = Choice("GCL", [{**row, "behind": 0.0, "standard_error": 0.0}], ["Chosen: GCL."])
    section = summary(answers[:1], [choice])
    assert section.sentences[0] == "Chosen: GCL."
    assert section.parts[0].rows == [("GCL", "chosen", None, 0.7, 0.6, 0.8, 0.0, 0.0, 2.0)]


def test_what_must_be_known_of_the_answers_is_said(answers):
    transductive = replace(answers[0], report=replace(answers[0].report, transductive=True))
    assert any("saw all test images at once" in said for said in summary([transductive, answers[1]]).sentences)
    fewer = replace(answers[1].report.classes[0], train_images=450)
    other = replace(answers[1], report=replace(answers[1].report, classes=(fewer, *answers[1].report.classes[1:])))
    assert any("other numbers of training images" in said for said in summary([answers[0], other]).sentences)
