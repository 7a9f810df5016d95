"""The section on other class frequencies: accuracies against loops, and the trade between few and many against the metrics."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from longtail.data.groups import shot_groups
from longtail.metrics import confusion_matrix as counted
from longtail.metrics import group_means, per_class_recall
from longtail.reporting.other_priors import other_priors
from longtail.reporting.shifts import TAUS
from longtail.reporting.trades import _within
from made_answers import answer, drawn, long_tailed

COUNTS = long_tailed(8)


def parts_of(section):
    return {part.name: part for part in section.parts}


def test_accuracy_is_the_sum_of_recalls_times_shares_over_the_tested_classes():
    made = drawn(COUNTS, [20, 20, 0, 20, 20, 20, 20, 9])
    rows = {row[1]: row[2:] for row in parts_of(other_priors([made]))["test-priors"].numbers.rows}
    assert len(rows) == 11
    for name, ratio in (("forward 50", 50), ("uniform", 1), ("backward 5", 1 / 5)):
        shares = [ratio ** (-j / 7) if j != 2 else 0 for j in range(8)]
        recalls = [(made.predicted[made.labels == j] == j).mean() if j != 2 else 0 for j in range(8)]
        expected = sum(share * recall for share, recall in zip(shares, recalls, strict=True)) / sum(shares)
        assert rows[name][0] == pytest.approx(expected)
        assert rows[name][1] < expected < rows[name][2]
    assert rows["uniform"][0] == pytest.approx(made.report.test.mean_recall)


def test_the_trade_is_that_of_the_metrics_and_ends_with_the_run_as_it_is():
    made = drawn(COUNTS, [25] * 8, bias=1.0)
    section = other_priors([made])
    rows = parts_of(section)["tau"].numbers.rows
    assert [row[1] for row in rows] == [*TAUS, "as it is"]
    shift = (torch.tensor(COUNTS) / sum(COUNTS)).log()
    for row in (rows[0], rows[10], rows[20]):
        recalls = per_class_recall(counted(torch.from_numpy(made.logits) - row[1] * shift, torch.from_numpy(made.labels)))
        means = group_means(recalls, shot_groups(COUNTS))
        assert row[2:] == pytest.approx((means["many"], means["medium"], means["few"], recalls.mean().item()))
    assert rows[-1][2:5] == pytest.approx(tuple(made.report.test.group_recalls[name] for name in ("many", "medium", "few")))
    few, many = (100 * (rows[10][place] - rows[0][place]) for place in (4, 2))
    assert f"the recall of few changes by {few:+.1f} points and that of many by {many:+.1f}" in section.sentences[-1]
    assert few > 5 > -0.5 > many


def test_without_few_shot_classes_the_thirds_are_compared():
    made = drawn([900, 800, 700, 600, 500, 400], [10] * 6, bias=1)
    drawing = parts_of(other_priors([made]))["tau"]
    assert "third of the classes" in drawing.caption
    assert "tau = 0 to 1 the recall of the rarest third changes by " in other_priors([made]).sentences[-1]
    assert "points and that of the most common third by " in other_priors([made]).sentences[-1]
    recalls = np.array(made.report.test.recalls)
    assert drawing.numbers.rows[-1][2:5] == pytest.approx((recalls[:2].mean(), recalls[2:4].mean(), recalls[4:].mean()))


def test_the_logits_are_adjusted_and_not_the_scores_of_the_rule():
    made = drawn(COUNTS, [25] * 8)
    adjusted = answer(COUNTS, made.labels, made.scores[:, ::-1].copy(), logits=made.logits)
    rows = [parts_of(other_priors([each]))["tau"].numbers.rows for each in (made, adjusted)]
    assert rows[0][:-1] == [(made.name, *row[1:]) for row in rows[1][:-1]]
    assert rows[0][-1] != rows[1][-1]


def test_with_one_class_there_is_no_trade():
    section = other_priors([drawn([10], [5])])
    assert list(parts_of(section)) == ["test-priors"]
    assert section.sentences[1].startswith("Head-heavy (50 to 1): ce with 100.0 %; equal shares: ce with 100.0 %;")


def test_the_highest_answer_is_named_at_both_ends():
    head, tail = drawn(COUNTS, [25] * 8, bias=2.0, name="head"), drawn(COUNTS, [25] * 8, bias=-0.5, name="tail")
    assert "50 to 1): head with" in other_priors([head, tail]).sentences[1]
    assert "1 to 50): tail with" in other_priors([head, tail]).sentences[1]


def with_rule(made, name):
    return replace(made, record={"recipe": {"stages": [], "inference": {"call": f"longtail.inference.{name}"}}})


def test_an_answer_that_is_not_by_the_logits_of_the_network_has_no_curve():
    retrained = with_rule(drawn(COUNTS, [25] * 8, strength=0.0, name="ce_retrained"), "retrained")
    section = other_priors([with_rule(drawn(COUNTS, [25] * 8), "as_trained"), retrained])
    assert {row[0] for row in parts_of(section)["tau"].numbers.rows} == {"ce"}
    assert section.sentences[-1] == (
        "The curves over tau leave out ce_retrained (rule retrained): a curve would be that of the network's own classifier, by "
        "which it does not answer."
    )
    alone = other_priors([retrained, replace(with_rule(retrained, "nearest_class_mean"), name="ncm")])
    assert list(parts_of(alone)) == ["test-priors"]
    assert not any("tau = 0" in sentence for sentence in alone.sentences)
    assert alone.sentences[-1].endswith("by which they do not answer.")


@pytest.mark.parametrize("ends", [(-0.05, 0.05), (-3.0, 50.0), (99.9, 100.1), (97.0, 108.0), (40.0, 41.0)])
def test_an_axis_of_recalls_stays_within_0_and_100_percent(ends):
    low, high = _within(*ends)
    assert 0 <= low <= max(ends[0], 0) <= min(ends[1], 100) <= high <= 100
    assert high - low >= 5


def test_the_figure_of_recalls_that_are_all_0_has_no_negative_recalls():
    made = drawn(COUNTS, [25] * 8)
    wrong = answer(COUNTS, made.labels, -made.scores - 1000 * np.eye(8, dtype=np.float32)[made.labels])
    (axes,) = parts_of(other_priors([wrong]))["tau"].figure.axes
    assert (axes.get_xlim()[0], axes.get_ylim()[0]) == (0, 0)
