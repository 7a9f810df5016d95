"""The section on training: logs, lengths of class vectors and sampling probabilities by hand, and of a run that was trained."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from commands import longtail
from longtail.errors import UserError
from longtail.reporting.answer import read_answer
from longtail.reporting.class_norms import class_norms, norms_of
from longtail.reporting.gathering import read_answers
from longtail.reporting.sampling_shares import in_words, samplers_of, sampling_probability
from longtail.reporting.training import training
from longtail.reporting.training_curves import epochs_of, stage_ends
from longtail.runs.layout import stages_of
from longtail.runs.seals import read_tensors
from longtail.sampling import EpochSampler
from longtail.weighting import Progress, class_based_effective_number, power, reverse, uniform
from made_answers import POWER, UNIFORM, drawn, long_tailed, stage
from made_runs import made_run

COUNTS = [60, 20, 10]
PROGRESSIVE = {"call": "longtail.weighting.progressive"}
LOG = [
    {"stage": 0, "epoch": 0, "loss": 2.5, "learning_rate": 0.1, "val_mean_recall": 0.25},
    {"stage": 0, "epoch": 1, "loss": 1.5, "learning_rate": 0.01, "val_mean_recall": 0.5, "test_recalls": [0.5, None, 1.0]},
    {"stage": 1, "epoch": 0, "loss": None, "learning_rate": 0.0},
]


def parts_of(section):
    return {part.name: part for part in section.parts}


def recorded(*stages, **fields):
    return drawn(COUNTS, [4, 4, 4], record={"recipe": {"stages": list(stages)}, "stages": []}, **fields)


def test_the_log_as_columns():
    epochs = epochs_of(LOG)
    assert epochs["stage"].tolist() == [1, 1, 2]
    assert epochs["epoch"].tolist() == [1, 2, 1]
    np.testing.assert_equal(epochs["test_mean_recall"], [np.nan, 0.75, np.nan])
    np.testing.assert_equal(epochs["val_mean_recall"], [0.25, 0.5, np.nan])
    assert stage_ends(epochs["stage"]) == [2]
    assert stage_ends(np.array([1, 1])) == []


def test_curves_have_a_panel_for_each_measure_that_was_logged():
    parts = parts_of(training([recorded(stage(2), stage(1), log=LOG)]))
    assert parts["training"].numbers.rows == [
        ("ce", 1, 1, 2.5, 0.1, 0.25, None),
        ("ce", 1, 2, 1.5, 0.01, 0.5, 0.75),
        ("ce", 2, 1, None, 0.0, None, None),
    ]
    assert len(parts["training"].figure.axes) == 4
    short = [{name: entry[name] for name in ("stage", "epoch", "loss", "learning_rate")} for entry in LOG]
    assert len(parts_of(training([recorded(stage(2), log=short)]))["training"].figure.axes) == 2
    assert "training" not in parts_of(training([recorded(stage(2))]))


@pytest.mark.parametrize("rule", [uniform, power, reverse, class_based_effective_number])
def test_probabilities_are_those_of_the_sampler(rule):
    labels = torch.repeat_interleave(torch.arange(3), torch.tensor(COUNTS))
    sampler, drawn_labels = EpochSampler(labels, rule=rule), []
    for sampler.epoch in range(200):
        drawn_labels.append(labels[sampler.draw()])
    found = torch.bincount(torch.cat(drawn_labels)) / (200 * len(labels))
    np.testing.assert_allclose(sampling_probability(rule, COUNTS, Progress()), found, atol=0.015)


def test_a_class_without_training_images_is_never_drawn():
    np.testing.assert_allclose(sampling_probability(power, [30, 0, 10], Progress()), [0.5, 0, 0.5])


def test_rules_in_words():
    assert in_words(UNIFORM) == "instance-balanced"
    assert in_words(POWER) == "class-balanced"
    assert in_words({**POWER, "exponent": -0.5}) == "power (exponent -0.5)"
    deferred = {"call": "longtail.weighting.deferred", "rule": POWER, "start": 0.8}
    assert in_words(deferred) == "deferred (rule class-balanced, start 0.8)"


def test_samplers_of_every_stage_and_companion():
    made = recorded(stage(4, PROGRESSIVE), stage(2, POWER, companion={"call": "longtail.weighting.reverse"}), {"epochs": 1})
    first, second, companion, third = samplers_of(made)
    assert (first.stage, second.stage, companion.stage, third.stage) == (1, 2, 2, 3)
    assert (companion.draws, companion.name, third.name) == ("second batch", "reverse", "instance-balanced")
    np.testing.assert_allclose(first.shares[", first epoch"], np.array(COUNTS) / 90)
    np.testing.assert_allclose(first.shares[", last epoch"], 1 / 3)
    np.testing.assert_allclose(companion.shares[""], np.array([1 / 60, 1 / 20, 1 / 10]) / (1 / 60 + 1 / 20 + 1 / 10))
    table = parts_of(training([made]))["samplers"]
    assert [row[-1] for row in table.rows] == [1.0, 1.0, 0.17, 6.0]


def test_equal_samplers_are_one_line_and_unknown_ones_are_named():
    own = {"call": "my_file@1a2b3c4d.rule"}
    section = training([recorded(stage(), name="a"), recorded(stage(), stage(2, own), name="b")])
    rows = parts_of(section)["sampling"].numbers.rows
    assert [row[0] for row in rows] == ["instance-balanced"] * 3
    assert "The sampler rule is no part of longtail, so that it is not drawn." in section.sentences
    assert len(parts_of(section)["samplers"].rows) == 3


def test_samplers_on_other_counts_are_another_line():
    one, other = recorded(stage(), name="a"), recorded(stage(), name="b")
    classes = tuple(replace(entry, train_images=5) for entry in other.report.classes)
    section = training([one, replace(other, report=replace(other.report, classes=classes))])
    assert {row[0] for row in parts_of(section)["sampling"].numbers.rows} == {"instance-balanced", "instance-balanced, b"}


def test_lengths_of_class_vectors_by_hand():
    weight = torch.tensor([[3.0, 4.0], [0.0, 2.0]])
    assert norms_of({"head.weight": weight}, 2).tolist() == [5, 2]
    scaled = {"head.inner.weight": weight, "head.class_scale": torch.tensor([-2.0, 0.5])}
    assert norms_of(scaled, 2).tolist() == [10, 1]
    aligned = {**scaled, "head.confidence.weight": torch.zeros(1, 2)}
    assert norms_of(aligned, 2).tolist() == [5, 2]
    assert norms_of({"head.weight": weight}, 3) is None
    assert norms_of({"backbone.weight": weight}, 2) is None


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Folder of a run of two stages, one epoch each."""
    words = ("--method", "crt", "--epochs", 1, "--device", "cpu", "--runs", tmp_path_factory.mktemp("trained"))
    return Path(longtail("train", "digits_lt", *words).folder)


@pytest.mark.slow
def test_a_run_shows_its_vectors_before_and_after_the_second_stage(trained):
    made = read_answer(trained, "crt", groups="auto")
    first, last = (read_tensors(stages_of(trained) / f"{key}.pt")["model"]["head.weight"] for key in made.record["stages"])
    parts = parts_of(training([made]))
    rows = parts["class-norms"].numbers.rows
    assert [row[1] for row in rows] == ["stage 1"] * 10 + ["training"] * 10
    np.testing.assert_allclose([row[-1] for row in rows], torch.cat([first, last]).norm(dim=1), rtol=1e-6)
    assert not torch.equal(first, last)
    assert [row[4] for row in parts["samplers"].rows] == ["instance-balanced", "class-balanced"]
    assert len(parts["training"].numbers.rows) == len(made.log) == 2


@pytest.mark.slow
def test_stages_that_are_gone_or_damaged_leave_the_final_vectors(trained):
    made = read_answer(trained, "crt", groups="auto")
    stored = stages_of(trained) / f"{made.record['stages'][0]}.pt"
    whole = stored.read_bytes()
    try:
        stored.write_bytes(whole[:-10])
        with pytest.raises(UserError):
            read_tensors(stored)
        assert {row[1] for row in parts_of(training([made]))["class-norms"].numbers.rows} == {"training"}
        stored.unlink()
        assert {row[1] for row in parts_of(training([made]))["class-norms"].numbers.rows} == {"training"}
    finally:
        stored.write_bytes(whole)


def test_a_record_cannot_name_a_file_outside_the_stages(tmp_path):
    outside = {"recipe": {"stages": [stage()]}, "stages": ["../../secret", "0" * 64]}
    made = drawn(COUNTS, [4, 4, 4], record=json.loads(json.dumps(outside)), folder=tmp_path)
    assert "class-norms" not in parts_of(training([made]))
    assert "The head of ce has no class vectors that can be read from the run." in training([made]).sentences


def test_many_classes_are_drawn_as_means_and_samples():
    made = drawn(long_tailed(700), [1] * 700)
    (line,) = parts_of(training([made]))["sampling"].figure.axes[0].lines
    assert len(line.get_xdata()) == 400
    assert len(parts_of(training([made]))["sampling"].numbers.rows) == 700


def test_the_classifier_of_a_network_of_timm_is_read_by_its_name(tmp_path):
    folder, classes = made_run(tmp_path / "run", [50, 5], [0, 1], [0, 1]), ["class 0", "class 1"]
    (folder / "model").mkdir()
    save_file({"classifier.weight": torch.tensor([[3.0, 4.0], [0.0, 2.0]])}, folder / "model" / "model.safetensors")
    (folder / "model" / "config.json").write_text(json.dumps({"longtail": {"classifier": "classifier", "classes": classes}}))
    (drawing,), _ = class_norms(read_answers([folder], groups="shots"))
    assert [row[-1] for row in drawing.numbers.rows] == [5, 2]
