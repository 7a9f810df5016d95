"""Tuning what auto chose and trained again on all images, on what the compared network said of the validation images."""

import shutil
from pathlib import Path

import pytest
import torch

import longtail
from commands import longtail as command
from commands import paint, truncated
from longtail.errors import DamagedFile
from longtail.inference import Predictions
from longtail.runs.held_out import keep, kept
from longtail.runs.layout import ANSWERS, VALIDATION, chosen_run
from longtail.runs.report import read_report
from longtail.runs.run import Run
from longtail.runs.seals import read_tensors, write_json, write_tensors
from longtail.runs.tuned import read_tuned
from longtail.runs.verify import verify
from longtail.workflow.tuning import untune

COUNTS = {"apple": 60, "berry": 20, "citron": 10}
SHORT = {"epochs": 2, "size": 8, "backbone": "resnet8", "device": "cpu", "precision": "32-true"}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return paint(tmp_path_factory.mktemp("data") / "photos", COUNTS)


def compared(photos, runs, candidates):
    longtail.train(photos, candidates=candidates, runs=runs, **SHORT)
    (folder,) = (runs / "photos" / "answers").iterdir()
    return folder


@pytest.fixture(scope="module")
def comparison(photos):
    return compared(photos, photos.parent / "runs", "la")


def test_it_is_tuned_as_the_compared_network_itself(photos, comparison):
    """The network that was compared is that of a run with the same validation images, which reads them from their files."""
    own = longtail.train(photos, method="logit_adjusted", val=0.1, runs=photos.parent / "own", **SHORT)
    expected = longtail.tune(own.folder, photos).tuned
    found = longtail.tune(comparison)
    again = Run(chosen_run(comparison))
    assert found.folder == again.folder != own.folder
    assert read_tuned(again) == found.tuned
    assert (found.tuned.images, found.tuned.strength, found.tuned.prior) == (8, expected.strength, "uniform")
    assert found.tuned.temperature == pytest.approx(expected.temperature, rel=0.01)
    assert found.tuned.before == pytest.approx(expected.before, rel=0.01)
    assert found.before.test.mean_recall == read_report(again.folder).test.mean_recall
    assert longtail.load(comparison).notes == (found.tuned.sentence,)
    assert untune(comparison) is True
    assert longtail.load(comparison).notes == ()


def test_no_image_is_read(photos, comparison, tmp_path):
    assert (
        f"'{tmp_path / 'nowhere'}' does not exist; give the folder" in command("tune", comparison, tmp_path / "nowhere").sentence
    )
    (tmp_path / "empty").mkdir()
    said = command("tune", comparison, tmp_path / "empty")
    assert said.code == 0, said.err
    assert "Tuned on 8 validation images" in said.text
    assert f"No image is read, and '{tmp_path / 'empty'}' is not needed." in said.text
    assert "No image is read." in command("tune", comparison).text
    assert "before: with the strength that auto chose on all of them" in said.text
    assert "is again as it was trained" in command("tune", comparison, "--undo").text


def test_the_run_that_was_trained_again_has_none_of_its_own(photos, comparison):
    sentence = command("tune", chosen_run(comparison), photos).sentence
    assert "Where auto chose it, give the folder of its comparison" in sentence


def test_without_a_re_fit_the_run_is_tuned_on_its_own_images(photos, tmp_path):
    longtail.train(photos, candidates="la", refit=False, runs=tmp_path, **SHORT)
    (folder,) = (tmp_path / "photos" / "answers").iterdir()
    assert kept(folder) is None
    assert longtail.tune(folder, photos).tuned.images == 8


def test_folds_keep_every_image(photos, tmp_path):
    longtail.train(photos, candidates="la", folds=2, runs=tmp_path, **SHORT)
    (folder,) = (tmp_path / "photos" / "answers").iterdir()
    found = kept(folder).predictions
    assert (len(found.labels), found.logits.shape) == (72, (72, 3))
    assert found.class_counts.tolist() == [24.0, 8.0, 4.0]
    assert longtail.tune(folder).tuned.images == 72


def test_scores_are_kept_of_a_rule_that_is_fitted_to_its_network(photos, tmp_path, monkeypatch):
    """A classifier re-trained on the features of the compared network gives the scores that a run without a re-fit would."""
    monkeypatch.setattr("longtail.workflow.auto.one_standard_error", lambda *_: 2)
    folder = compared(photos, tmp_path, "ce")
    own = longtail.train(photos, method="ce_retrained", val=0.1, runs=tmp_path / "own", **SHORT)
    expected, found = longtail.tune(own.folder, photos).tuned, longtail.tune(folder).tuned
    assert kept(folder).scored
    assert (found.images, found.strength) == (8, {})
    assert found.temperature == pytest.approx(expected.temperature, rel=0.01)
    assert found.after == pytest.approx(expected.after, rel=0.01)
    assert longtail.load(folder).notes == (found.sentence,)


def test_the_logits_that_a_former_version_kept_are_not_taken_for_scores(photos, tmp_path):
    folder = compared(photos, tmp_path, "ncm")
    assert kept(folder).scored
    state = read_tensors(folder / VALIDATION)
    write_tensors(folder / VALIDATION, {name: value for name, value in state.items() if name != "scored"})
    assert command("tune", folder, photos).sentence.endswith("as one of an earlier version; --fresh makes it anew.")


def test_what_is_damaged_is_said(photos, tmp_path):
    folder = compared(photos, tmp_path, "la")
    assert {finding.state for finding in verify(folder)} == {"whole"}
    truncated(folder / VALIDATION)
    with pytest.raises(
        DamagedFile, match=r"validation\.pt' is damaged: it differs .* with `fresh` the comparison writes it again"
    ):
        longtail.tune(folder)
    said = command("verify", folder).text
    assert "with --fresh the comparison writes it again" in said
    assert "`" not in said
    assert [finding.path for finding in verify(folder) if finding.state == "damaged"] == [folder / VALIDATION]
    Path(folder / VALIDATION).unlink()
    assert command("tune", folder, photos).sentence.endswith("as one of an earlier version; --fresh makes it anew.")
    longtail.train(photos, candidates="la", fresh=True, runs=tmp_path, **SHORT)
    assert longtail.tune(folder).tuned.images == 8


def test_a_file_beside_a_plain_run_is_not_read(photos, comparison):
    run = chosen_run(comparison)
    (run / VALIDATION).write_bytes((comparison / VALIDATION).read_bytes())
    assert "has no validation images" in command("tune", run, photos).sentence
    (run / VALIDATION).unlink()


def test_a_comparison_apart_from_its_run_is_said(comparison, tmp_path):
    moved = shutil.copytree(comparison, tmp_path / "elsewhere" / "far" / "moved")
    assert "move both folders together, or give that of the run" in command("tune", moved).sentence
    assert "move both folders together" in command("evaluate", moved).sentence


def test_logits_above_half_precision_are_kept_as_they_are(tmp_path):
    logits = torch.tensor([[70000.0, 0.0], [0.25, 1.0]])
    counts = torch.tensor([3.0, 2.0], dtype=torch.float64)
    write_json(tmp_path, ANSWERS, {"key": "abc", "chosen": "GCL"})
    keep(tmp_path, "abc", "GCL", [Predictions(torch.ones(2, 1), logits, torch.tensor([0, 1]), counts)], scored=False)
    found = kept(tmp_path).predictions
    assert found.logits.tolist() == logits.tolist()
    assert (found.labels.tolist(), found.class_counts.tolist()) == ([0, 1], [3.0, 2.0])
    for other in ({"key": "abd", "chosen": "GCL"}, {"key": "abc", "chosen": "GALA"}):  # the second where a kill came between
        write_json(tmp_path, ANSWERS, other)
        with pytest.raises(DamagedFile, match="belongs to another comparison"):
            kept(tmp_path)


def test_a_reading_of_a_network_that_was_not_the_last_one_is_kept(photos, tmp_path, monkeypatch):
    """Post hoc adjustment is the second reading of the first network, which is read again after another one."""
    monkeypatch.setattr("longtail.workflow.auto.one_standard_error", lambda *_: 1)
    folder = compared(photos, tmp_path, "ce,la")
    own = longtail.train(photos, method="logit_adjusted_post_hoc", val=0.1, runs=tmp_path / "own", **SHORT)
    expected, found = longtail.tune(own.folder, photos).tuned, longtail.tune(folder).tuned
    assert found.temperature == pytest.approx(expected.temperature, rel=0.01)
    assert found.after == pytest.approx(expected.after, rel=0.01)
