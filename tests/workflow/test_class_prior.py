"""`prior` for one method: it becomes the target of the rule, and is part of the experiment."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

import longtail
from commands import longtail as command
from commands import paint
from longtail.errors import UserError
from longtail.runs.seals import read_json
from longtail.workflow.checks import check
from longtail.workflow.request import Request
from longtail.workflow.resolve import for_prior

COUNTS = {"apple": 20, "berry": 8, "citron": 5}
SHORT = {"epochs": 1, "size": 8, "backbone": "resnet8", "device": "cpu"}
DATA = SimpleNamespace(classes=("a", "b", "c"), class_counts=[6, 3, 1])


def asked(method, **options):
    return Request("photos", method, **options)


def test_the_prior_becomes_the_target_of_the_rule():
    found = for_prior(asked("logit_adjusted_post_hoc", prior="train", variants={"tau": 0.5}), DATA)
    assert found.variants["tau"] == 0.5
    assert found.variants["target"] == pytest.approx((0.6, 0.3, 0.1))
    assert found.prior is None
    assert for_prior(asked("logit_adjusted", prior="uniform"), DATA).variants == {"target": None}
    assert for_prior(asked("gcl"), DATA).variants == {}
    assert asked("auto").class_prior == "uniform"


def test_it_is_refused_where_no_rule_uses_it():
    taking = "balanced_softmax, logit_adjusted, logit_adjusted_post_hoc, gcl, balpoe, gala"
    for method in ("ce", "mislas", "tau_norm"):
        with pytest.raises(UserError, match=rf"in use \(ce_retrained, {taking}\); '{method}' takes none"):
            check(asked(method, prior="uniform"))
    for method in ("ce_retrained", *taking.split(", ")):
        check(asked(method, prior="uniform"))


@pytest.mark.slow
def test_a_run_for_a_class_prior(tmp_path):
    """Its scores are the logits less the log of the training frequencies, plus that of the prior; equal ones change nothing."""
    photos, shares = paint(tmp_path / "photos", COUNTS), tmp_path / "shares.csv"
    shares.write_text("label,share\napple,1\nberry,2\ncitron,1\n")
    how = {**SHORT, "method": "logit_adjusted_post_hoc", "runs": tmp_path / "runs"}
    run = longtail.train(photos, prior=str(shares), **how)
    assert read_json(run.folder, "record.json")["recipe"]["inference"]["target"] == [0.25, 0.5, 0.25]
    with np.load(run.folder / "predictions.npz") as stored:
        logits, scores = (torch.from_numpy(stored[name].astype(np.float32)) for name in ("logits", "scores"))
    logs = torch.tensor(run.report.class_counts, dtype=torch.float64)
    expected = logits - (logs / logs.sum()).log() + torch.tensor([0.25, 0.5, 0.25]).log()
    rounded = 2**-11 * (logits.abs() + scores.abs())  # both are stored in half precision
    assert bool(((scores - expected).abs() <= rounded + 1e-5).all())
    assert longtail.train(photos, prior="uniform", **how).folder == longtail.train(photos, **how).folder != run.folder
    said = command("predict", run.folder, photos / "berry", "--prior", "uniform")
    assert "the run's own are meant for the class frequencies that its rule was given" in said.text


@pytest.mark.slow
def test_the_training_frequencies_are_those_without_the_images_that_are_held_out(tmp_path):
    """At tau 1 the rule adds what it takes away, so that the scores are the logits."""
    how = {**SHORT, "method": "logit_adjusted_post_hoc", "runs": tmp_path / "runs", "prior": "train", "val": 0.3}
    run = longtail.train(paint(tmp_path / "photos", COUNTS), **how)
    counts = run.report.class_counts
    assert counts != [16, 6, 4], "some are held out"
    rule = read_json(run.folder, "record.json")["recipe"]["inference"]
    assert rule["target"] == pytest.approx([count / sum(counts) for count in counts])


@pytest.mark.slow
def test_classes_that_a_prior_leaves_out_are_named_where_it_is_used(tmp_path):
    photos, shares = paint(tmp_path / "photos", COUNTS), tmp_path / "shares.csv"
    shares.write_text("label,share\napple,1\nberry,2\n")
    sentence = f"1 of 3 classes has no share in the class prior '{shares}' and is never predicted: citron."
    options = [word for name, value in {**SHORT, "val": 0.2, "symmetry": "none"}.items() for word in (f"--{name}", value)]
    method = ("--method", "logit_adjusted_post_hoc", "--runs", tmp_path / "runs")
    trained = command("train", photos, *method, *options, "--prior", shares)
    assert sentence in trained.out
    plain = command("train", photos, *method, *options)
    assert "has no share" not in plain.out
    for words in (("predict", plain.folder, photos), ("evaluate", plain.folder), ("evaluate", plain.folder, photos)):
        assert command(*words, "--prior", shares).out.count(sentence) == 1, words
    tuned = command("tune", plain.folder, photos, "--prior", shares)
    assert "1 of 3 classes has no share in the class prior" in tuned.out, tuned
