"""Tuning a finished run: what it chooses on validation images, what uses it, what removes it, and what it never reads."""

import json
import math
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

import longtail
from commands import longtail as command
from commands import paint, truncated
from longtail.data.images import read_square
from longtail.errors import DamagedFile
from longtail.inference import Predictions, as_trained, retrained
from longtail.runs.frequencies import Frequencies
from longtail.runs.judged import adjusted_to
from longtail.runs.judging import judged_again
from longtail.runs.report import read_report
from longtail.runs.run import Run
from longtail.runs.seals import read_json, write_json
from longtail.runs.tuned import Tuned, read_tuned, tuned_rule, write_tuned
from longtail.runs.verify import verify
from longtail.workflow import tuning
from longtail.workflow.tuned_values import Problem, chosen_values

FORMER = Path(__file__).parents[1] / "fixtures" / "runs_0_1_0" / "digits_lt" / "logit_adjusted_post_hoc" / "0-89fc7a"
COUNTS = {"apple": 60, "berry": 20, "citron": 10}
SHORT = {"epochs": 2, "size": 8, "backbone": "resnet8", "device": "cpu", "val": 0.25}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return paint(tmp_path_factory.mktemp("data") / "photos", COUNTS)


@pytest.fixture(scope="module")
def trained(photos):
    return longtail.train(photos, method="ce", runs=photos.parent / "runs", **SHORT)


@pytest.fixture
def run(trained, tmp_path):
    """A copy of the run that a test may change."""
    return Path(shutil.copytree(trained.folder, tmp_path / "run"))


def test_values_that_were_chosen_are_used_by_all_and_removed_again(photos, run):
    before = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    picture = photos / "citron" / "000.png"
    plain = longtail.load(run).scores(read_square(picture, 8)[None])[0].double()
    found = longtail.tune(run, photos)
    tuned, predictor = read_tuned(Run(run)), longtail.load(run)
    assert tuned == found.tuned
    strength, temperature = tuned.strength.get("tau", 0.0), tuned.temperature
    logs = torch.tensor(predictor.config["class_counts"], dtype=torch.float64)
    shift = strength * (logs / logs.sum()).log()
    expected = ((plain - shift) / temperature).softmax(0)
    assert list(predictor.predict(picture).probabilities.values()) == pytest.approx(expected.tolist(), rel=1e-4)
    assert predictor.notes == (tuned.sentence,)
    said = command("evaluate", run)
    assert tuned.sentence in said.text
    again = command("tune", run, photos).text
    assert "Likelihood and calibration error of validation images are under the class " in again
    rises = found.after.test.calibration_error > found.before.test.calibration_error
    assert ("On the test images the calibration error rises, from " in again) == rises
    assert "at the end of its range" not in again
    assert tuned.sentence in command("predict", run, picture).text
    assert f"Tuned on {tuned.images} validation images for the class prior 'uniform'" in (run / "README.md").read_text()
    assert all(finding.state == "whole" for finding in verify(run))
    assert "is again as it was trained" in command("tune", run, "--undo").text
    after = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file() and path.name != "predict.csv"}
    assert after == before
    assert "was not tuned" in command("tune", run, "--undo").text


def test_the_strength_and_the_temperature_are_the_best_of_a_slow_search(photos, run):
    """Mean recall at every tau, and the likelihood at many temperatures, computed image by image from the predicted scores."""
    found = longtail.tune(run, photos)
    config = read_json(run, "model/config.json")["longtail"]
    rows = [line.split(",")[:2] for line in (run / "split.csv").read_text().splitlines() if line.split(",")[2] == "val"]
    shutil.move(run / "tuned.json", run.parent / "tuned.json")
    logits = longtail.load(run)
    scores = [logits.scores(torch.stack([_pixels(photos / path, 8)]))[0].double().tolist() for path, _ in rows]
    labels = [config["classes"].index(label) for _, label in rows]
    logs = [float(np.log(count / sum(config["class_counts"]))) for count in config["class_counts"]]

    def adjusted(tau):
        return [[z - tau * log for z, log in zip(row, logs, strict=True)] for row in scores]

    def recall(tau):
        hits = [int(np.argmax(row)) == label for row, label in zip(adjusted(tau), labels, strict=True)]
        classes = sorted(set(labels))
        return np.mean([np.mean([hit for hit, label in zip(hits, labels, strict=True) if label == c]) for c in classes])

    grid = [step / 10 for step in range(21)]
    best = max(grid, key=lambda tau: (round(recall(tau), 9), -abs(tau - 1.0)))
    assert found.tuned.strength in ({"tau": best}, {})

    def likelihood(temperature, rows):
        counts, total = {label: labels.count(label) for label in labels}, 0.0
        for row, label in zip(rows, labels, strict=True):
            z = np.array(row) / temperature
            weight = weights[label] / counts[label]
            total -= weight * (z[label] - np.log(np.exp(z - z.max()).sum()) - z.max())
        return total

    kept = not found.tuned.target
    weights = [count / sum(config["class_counts"]) if kept else 1 / 3 for count in config["class_counts"]]
    rows = scores if kept else adjusted(found.tuned.strength["tau"])
    if found.tuned.temperature != 1:
        steps = found.tuned.temperature * np.geomspace(0.5, 2, 41)
        values = [likelihood(step, rows) for step in steps]
        assert int(np.argmin(values)) == 20


def _pixels(path, size):
    from longtail.data.images import read_square

    return read_square(path, size)


def test_no_test_image_is_read_for_choosing(photos, trained, run, tmp_path):
    """With other images in place of the test images, and without stored predictions, the choice is the same to the bit."""
    wanted = longtail.tune(run, photos).tuned
    other = Path(shutil.copytree(photos, tmp_path / "photos"))
    for line in (trained.folder / "split.csv").read_text().splitlines():
        path, _, split, _ = line.split(",")
        if split in ("test", "train"):
            (other / path).unlink()
    blind = Path(shutil.copytree(trained.folder, tmp_path / "blind"))
    (blind / "predictions.npz").unlink()
    content = read_json(blind, "checksums.json")
    content["files"].pop("predictions.npz")
    write_json(blind, "checksums.json", content)
    found = longtail.tune(blind, other)
    assert found.tuned == wanted
    assert (found.before, found.after) == (None, None)


def test_an_image_that_changed_is_refused(photos, run, tmp_path):
    other = Path(shutil.copytree(photos, tmp_path / "photos"))
    path = next(line.split(",")[0] for line in (run / "split.csv").read_text().splitlines() if line.split(",")[2] == "val")
    shutil.copy(photos / "apple" / "059.png", other / path) if path != "apple/059.png" else (other / path).unlink()
    assert "is not the image that the run was trained with" in command("tune", run, other).sentence
    assert not (run / "tuned.json").exists()


def test_what_cannot_be_tuned_is_said(photos, run, tmp_path):
    assert "Give the folder or CSV that the run was trained on" in command("tune", run).sentence
    assert "There is no prior 'never'" in command("tune", run, photos, "--prior", "never").sentence
    without = longtail.train(photos, method="ce", runs=tmp_path / "runs", **{**SHORT, "epochs": 1, "val": None})
    assert "has no validation images to tune on; train it with --val 0.1" in command("tune", without.folder, photos).sentence


def test_damaged_or_foreign_values_are_refused(photos, run, trained):
    longtail.tune(run, photos)
    content = read_json(run, "tuned.json")
    write_json(run, "tuned.json", {**content, "weights": "of another run"})
    with pytest.raises(DamagedFile, match="was written for other weights"):
        longtail.load(run)
    write_json(run, "tuned.json", {**content, "temperature": -1})
    assert "does not say what was chosen" in command("evaluate", run).sentence
    truncated(run / "tuned.json")
    findings = [finding for finding in verify(run) if finding.state == "damaged"]
    assert [finding.path.name for finding in findings] == ["tuned.json"]
    assert "longtail tune" in findings[0].remedy


def test_training_anew_removes_what_was_chosen_for_the_former_weights(photos, tmp_path):
    how = {**SHORT, "epochs": 1, "method": "ce", "runs": tmp_path / "runs"}
    folder = longtail.train(photos, **how).folder
    longtail.tune(folder, photos)
    longtail.train(photos, fresh=True, **how)
    assert not (folder / "tuned.json").exists()


def test_tuned_scores_are_meant_for_the_prior_that_they_were_tuned_for(run, tmp_path):
    """Under the prior nothing is added, and under another one the log of both; the expected accuracy is that of the scores."""
    shares, equal = tmp_path / "shares.csv", {"accuracy": 0.5}
    shares.write_text("label,share\napple,1\nberry,1\ncitron,8\n")
    write_tuned(Run(run), Tuned(str(shares), (0.1, 0.1, 0.8), {"tau": 1.0}, 2.0, True, 9, equal, equal))
    judged = judged_again(run, groups="shots")
    same, other = (adjusted_to(judged, prior) for prior in (str(shares), "uniform"))
    assert torch.equal(same.scores, judged.scores)
    assert "meant for the class prior" in same.notes[-1]
    difference = torch.tensor([1 / 3 / 0.1, 1 / 3 / 0.1, 1 / 3 / 0.8]).log()
    torch.testing.assert_close(other.scores - judged.scores, difference.expand_as(judged.scores), atol=1e-5, rtol=0)
    expected = 100 * np.average(judged.report.test.recalls, weights=(1, 1, 8))
    assert (
        f"Expected accuracy under the class prior '{shares}': {expected:.1f} %"
        in command("evaluate", run, "--prior", shares).text
    )
    predictor = longtail.load(run, prior="uniform")
    assert predictor.notes[0].startswith("Tuned on 9 validation images")
    assert predictor.notes[1].startswith("Scores are adjusted to the class prior 'uniform'")


def test_a_choice_for_a_class_prior_is_right_for_it():
    """The same evidence where the rare class makes up nine tenths: log 9 more for it than for the other."""
    target = (0.1, 0.9)
    problem = problem_of(prior=torch.tensor(target, dtype=torch.float64), target=target)
    tuned, gain = chosen_values(problem, "shares.csv")
    assert (tuned.target, tuned.frequencies) == (True, target)
    assert gain.value > 0.1
    scores = problem.scores(1.0)
    assert (scores[:, 1] - problem.val.logits[:, 1]).tolist() == pytest.approx([math.log(0.9) - math.log(0.1)] * 180, abs=1e-4)


@pytest.mark.parametrize("wanted", [(0.1, 0.9), None])
def test_frequencies_that_a_rule_was_given_make_place_for_others(wanted):
    """The scores that a comparison keeps of a re-trained classifier for 0.8, 0.2 are those for equal ones, with the log added."""
    plain, given = problem_of(keyword="", grid=(0.0,), usual=0.0), (0.8, 0.2)
    kept = replace(plain.val, logits=plain.val.logits + torch.tensor(given).log())
    present = Frequencies(torch.tensor(given, dtype=torch.float64), "the class frequencies that its rule was given")
    prior, rule = torch.tensor(wanted or (1.0, 1.0), dtype=torch.float64), partial(retrained, target=given)
    problem = tuning._of_scores(replace(plain, rule=rule, val=kept, prior=prior, target=wanted, present=present))
    torch.testing.assert_close(problem.scores(None), kept.logits, atol=1e-5, rtol=1e-5)
    expected = plain.val.logits + (0 if wanted is None else torch.tensor(wanted).log())
    torch.testing.assert_close(problem.scores(0.0), expected, atol=1e-5, rtol=1e-5)
    tuned, _ = chosen_values(problem, "wanted.csv")
    assert (tuned.target, tuned.frequencies) == (True, wanted)
    assert tuned_rule(rule, {}, 1.0, wanted, adjust=True).keywords["target"] == wanted


def problem_of(**changes):
    """Logits that are right at tau 1 alone: a rare class whose logit is too low by the log of the frequencies."""
    generator = torch.Generator().manual_seed(0)
    counts = torch.tensor([900.0, 100.0], dtype=torch.float64)
    labels = torch.tensor([0] * 90 + [1] * 90)
    evidence = torch.randn(180, generator=generator) + torch.where(labels == 1, 1.0, -1.0)
    logits = torch.stack([torch.zeros(180), 2 * evidence + float((counts[1] / counts[0]).log())], 1)
    val = Predictions(torch.zeros(180, 1), logits, labels, counts)
    present = Frequencies(counts / counts.sum(), "the training frequencies")
    whole = Problem(as_trained, val, torch.ones(2, dtype=torch.float64), None, "tau", tuning.TO_TWO, 1.0, present)
    return replace(whole, **changes)


def test_the_theoretical_strength_is_found_and_the_temperature_is_one():
    """The evidence is N(-1, 1) or N(1, 1), so 2 x is the log likelihood ratio: tau 1 and T 1 are right."""
    tuned, gain = chosen_values(problem_of(), "uniform")
    assert tuned.strength["tau"] == pytest.approx(1.0, abs=0.4)
    assert tuned.temperature == pytest.approx(1.0, abs=0.3)
    assert not gain.within_noise
    assert gain.value == pytest.approx(tuned.after["accuracy"] - tuned.before["accuracy"])


def test_scores_that_are_too_sure_get_a_temperature():
    problem = problem_of()
    sure = replace(problem.val, logits=problem.val.logits * 5)
    tuned, _ = chosen_values(replace(problem, val=sure, keyword="", grid=(0.0,), usual=0.0), "uniform")
    assert tuned.strength == {}
    assert tuned.temperature == pytest.approx(5.0, rel=0.4)
    assert tuned.after["nll"] < tuned.before["nll"]


def test_a_rule_that_no_strength_improves_is_kept():
    """Every validation image is right as it is, and at the strengths to choose among the common class is always missed."""
    problem = problem_of()
    perfect = replace(problem.val, logits=torch.stack([problem.val.labels == 0, problem.val.labels == 1], 1).float() * 50)
    bad = replace(problem, val=perfect, grid=(30.0, 40.0), usual=30.0)
    tuned, gain = chosen_values(bad, "uniform")
    assert (tuned.strength, tuned.target, tuned.frequencies) == ({}, False, None)
    assert gain.value == 0.0
    assert json.dumps(tuned.before)


def test_a_run_on_a_named_setting_needs_no_folder(tmp_path):
    """A run of release 0.1.0, without checksums: before, its mean recall on the validation images is that of its report."""
    run = Path(shutil.copytree(FORMER, tmp_path / "run"))
    found = longtail.tune(run)
    measured = read_report(run)
    assert found.tuned.images == measured.images["val"]
    assert found.tuned.before["accuracy"] == pytest.approx(measured.val_mean_recall, abs=0.02), "trained in bfloat16"
    assert longtail.load(run).notes == (found.tuned.sentence,)
    assert "as trained" in command("tune", run).out
    assert tuning.untune(run)
