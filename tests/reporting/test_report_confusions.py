"""Confused pairs and the confusion matrix against scikit-learn and by hand."""

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from longtail.reporting.confusions import confused_pairs, confusions, row_shares
from made_answers import answer, drawn, long_tailed


def hard(labels, predicted, counts, **fields):
    """An answer that predicts these classes."""
    return answer(counts, labels, np.eye(len(counts))[predicted], **fields)


def parts_of(answers):
    return {part.name: part for part in confusions(answers).parts}


def test_pairs_and_shares_are_those_of_scikit_learn():
    generator = np.random.default_rng(0)
    labels, predicted = generator.integers(4, size=200), generator.integers(5, size=200)
    matrix = confusion_matrix(labels, predicted, labels=range(5))
    expected = {(i, j): matrix[i, j] for i in range(5) for j in range(5) if i != j and matrix[i, j]}
    assert confused_pairs(labels, predicted) == expected
    order = np.array([3, 1, 4, 0, 2])
    shares = row_shares(labels, predicted, order)
    normalised = confusion_matrix(labels, predicted, labels=order, normalize="true")
    np.testing.assert_allclose(shares[[0, 1, 3, 4]], normalised[[0, 1, 3, 4]])
    assert np.isnan(shares[2]).all(), "class 4 has no test images"


def test_tables_rank_by_images_and_by_a_share_that_is_known():
    labels = [0] * 100 + [1] * 10 + [2]
    predicted = [0] * 88 + [1] * 12 + [2] * 6 + [1] * 4 + [0]
    parts = parts_of([hard(labels, predicted, [500, 50, 5], names=["a", "b", "c"])])
    assert [(row[:2], row[2]) for row in parts["confused-pairs"].rows] == [(("a", "b"), 12), (("b", "c"), 6), (("c", "a"), 1)]
    shares = parts["confused-shares"]
    assert [row[:2] for row in shares.rows] == [("b", "c"), ("c", "a"), ("a", "b")], "Wilson's lower ends: 0.31, 0.21, 0.07"
    assert [row[2] for row in shares.rows] == [0.6, 1, 0.12]
    assert shares.percent == {"share of the class"}
    assert sorted(parts["confusions"].rows)[0] == ("ce", "a", "b", 12, 0.12, 500, 100)


def test_several_answers_have_a_column_each():
    answers = [hard([0, 0, 1, 1], [1, 1, 1, 1], [9, 5], name="x"), hard([0, 0, 1, 1], [0, 1, 0, 1], [9, 5], name="y")]
    table = parts_of(answers)["confused-pairs"]
    assert table.columns[2:] == ("x: images", "y: images", "training images", "test images")
    assert [row[2:] for row in table.rows] == [(2, 1, 9, 2), (0, 1, 5, 2)]
    assert (
        "x: 2 of 4 test images are taken for another class; most often 'class 0' for 'class 1', 2 of 2"
        in (confusions(answers).sentences[1])
    )


def test_matrices_have_classes_in_the_order_of_their_training_images_and_none_for_many_classes():
    made = hard([0, 1, 1, 2], [0, 2, 1, 1], [5, 50, 20], names=["few", "most", "<b>$x$"])
    matrix = parts_of([made])["confusion-1"].numbers
    assert matrix.columns == ("true class", "most", "<b>$x$", "few")
    assert matrix.rows == [("most", 0.5, 0.5, 0.0), ("<b>$x$", 1.0, 0.0, 0.0), ("few", 0.0, 0.0, 1.0)]
    assert "confusion-1" in parts_of([drawn(long_tailed(50), [1] * 50)])
    assert "confusion-1" not in parts_of([drawn(long_tailed(51), [1] * 51)])


def test_of_many_pairs_thirty_are_shown():
    parts = parts_of([drawn(long_tailed(60), [5] * 60, strength=0.5)])
    assert [len(parts[name].rows) for name in ("confused-pairs", "confused-shares")] == [30, 30]
    assert len(parts["confusions"].rows) > 100


def test_an_answer_without_errors_has_a_sentence():
    section = confusions([hard([0, 1], [0, 1], [9, 5])])
    assert section.sentences == ["No test image of ce is classified wrongly."]
    assert not section.parts


@pytest.mark.parametrize("classes", [1, 10, 121])
def test_classes_without_test_images_are_no_obstacle(classes):
    tested = [3 if j % 2 == 0 else 0 for j in range(classes)]
    section = confusions([drawn(long_tailed(classes), tested, strength=1)])
    assert all(0 < row[2] <= 1 for part in section.parts if part.name == "confused-shares" for row in part.rows)


def test_one_image_and_one_pair_are_said_in_the_singular():
    one = hard([0, 1], [0, 0], [9, 1], names=["a", "b"])
    said = " ".join(confusions([one]).sentences)
    assert "ce: 1 of 2 test images is taken for another class; most often 'b' for 'a', 1 of 1 image (100.0 %)." in said
    assert parts_of([one])["confused-pairs"].caption == "The pair of classes with the most confused test images."
