"""The section on certainty: what its sentences, its table and the numbers of its figures say of answers with known results."""

from itertools import pairwise

import numpy as np
import pytest

from longtail.reporting.calibration import NO_FEW, calibration
from longtail.reporting.curves import certainty
from made_answers import answer, drawn, long_tailed

COUNTS = long_tailed(6)


def parts_of(section):
    return {part.name: part for part in section.parts}


def sure(probability, right, *, classes=3, counts=(200, 50, 5), **fields):
    """An answer that gives its class this probability for every image, and is right where `right` says."""
    labels = np.arange(len(right)) % classes
    predicted = np.where(right, labels, (labels + 1) % classes)
    scores = np.full((len(right), classes), np.log((1 - probability) / (classes - 1)))
    scores[np.arange(len(right)), predicted] = np.log(probability)
    return answer(list(counts), labels, scores, **fields)


def test_sentences_say_in_which_direction_the_probabilities_are_wrong():
    right = np.arange(60) % 10 < 7
    low, high = sure(0.5, right, name="low"), sure(0.9, right, name="high")
    exact = sure(0.7, right, name="exact")
    sentences = calibration([low, high, exact]).sentences[2:]
    assert "low: the mean probability of the predicted classes is 50.0 %, and 70.0 % of them are right" in sentences[0]
    assert "too low by 20.0 points, ECE 20.0 %" in sentences[0]
    assert "too high by 20.0 points, ECE 20.0 %" in sentences[1]
    assert "right on average (within half a point), ECE 0.0 %" in sentences[2]


def test_the_table_has_the_errors_of_all_and_of_few_shot_classes():
    made = drawn(COUNTS, [30] * 6)
    (row,) = parts_of(calibration([made]))["calibration"].rows
    assert row[1] == made.report.test.calibration_error
    few = made.labels >= 4
    assert [entry.group for entry in made.report.classes][4:] == ["few", "few"]
    certain, right = certainty(made.scores)[few], (made.predicted == made.labels)[few]
    edges = np.linspace(0, 1, 16)
    bins = [(certain > low) & (certain <= high) for low, high in pairwise(edges)]
    error = sum(own.sum() * abs(right[own].mean() - certain[own].mean()) for own in bins if own.any()) / few.sum()
    assert row[2] == pytest.approx(error)
    assert row[3] == pytest.approx(certainty(made.scores).mean(), abs=1e-6)


def test_the_numbers_of_the_figures_are_those_of_the_bins_and_of_every_percent():
    answers = [drawn(COUNTS, [40] * 6, name="a"), drawn(COUNTS, [40] * 6, seed=1, bias=0, name="b")]
    parts = parts_of(calibration(answers))
    for name, images in (("reliability", 240), ("reliability-few", 80)):
        rows = parts[name].numbers.rows
        assert [sum(row[3] for row in rows if row[0] == own) for own in "ab"] == [images, images]
        assert all(row[1] <= row[4] <= row[2] for row in rows if row[3])
    kept = [row for row in parts["coverage"].numbers.rows if row[0] == "b"]
    assert [row[1] for row in kept] == pytest.approx([np.ceil(2.4 * percent) / 240 for percent in range(1, 101)])
    assert kept[-1][2:] == pytest.approx((answers[1].report.test.accuracy, answers[1].report.test.mean_recall, 6))


def test_without_few_shot_classes_there_is_no_diagram_of_them():
    section = calibration([drawn([500, 300, 200], [5, 5, 5])])
    assert "reliability-few" not in parts_of(section)
    assert NO_FEW in section.sentences
    assert parts_of(section)["calibration"].rows[0][2] is None
