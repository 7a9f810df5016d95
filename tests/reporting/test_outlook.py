"""What a network says of images: probabilities, suspected labels, neighbours, equal and nearly equal images."""

import numpy as np
import pytest
import torch

from longtail.reporting.copies import correlation, equal_files, nearest, nearly_equal
from longtail.reporting.originals import Row
from longtail.reporting.outlook import Outlook, drawn_evenly, judged, unit_rows
from longtail.reporting.suspects import sure_from, suspected
from longtail.reporting.tail_gallery import shown_cosine


def outlook(labels, scores, features=None, split="test", prefix="", content=None):
    labels, scores = np.asarray(labels), np.asarray(scores, dtype=np.float32)
    rows = [Row(f"{prefix}{i}", int(y), split, content[i] if content else "") for i, y in enumerate(labels)]
    return Outlook(
        rows, unit_rows(scores if features is None else np.asarray(features)), *judged(scores, labels, scores.argmax(1))
    )


def test_probabilities_are_the_softmax():
    generator = np.random.default_rng(0)
    scores, labels = generator.normal(size=(3000, 5)).astype(np.float32), generator.integers(5, size=3000)
    predicted, top, own = judged(scores, labels, scores.argmax(1))
    shares = torch.from_numpy(scores).double().softmax(1).numpy()
    np.testing.assert_allclose(top, shares.max(1))
    np.testing.assert_allclose(own, shares[np.arange(3000), labels])
    np.testing.assert_array_equal(predicted, shares.argmax(1))
    assert judged(np.array([[np.inf, -np.inf]], np.float32), np.array([1]), np.array([0]))[1:] == (1, 0)


def test_suspected_labels_by_hand():
    shares = np.array([[0.9, 0.1, 0], [0.7, 0.3, 0], [0.03, 0.97, 0], [0.96, 0.04, 0], [0.2, 0.8, 0], [0.78, 0.02, 0.2]])
    with np.errstate(divide="ignore"):
        found = outlook([0, 0, 0, 1, 1, 1], np.log(shares).clip(-50))
    thresholds = sure_from(found, 3)
    np.testing.assert_allclose(thresholds, [(0.9 + 0.7 + 0.03) / 3, (0.04 + 0.8 + 0.02) / 3, np.inf], rtol=1e-5)
    assert suspected(found, thresholds).tolist() == [2, 3, 5], "differences of 0.94, 0.92 and 0.76"
    assert suspected(found, np.array([0.8, 0.5, 0.5])).tolist() == [2, 3], "the last one is not sure enough"
    assert suspected(found, np.array([0.99, 0.99, 0.5])).tolist() == [2, 3], "90 % are enough"


@pytest.mark.parametrize("count", [1, 3, 90])
def test_nearest_by_a_loop(count):
    generator = np.random.default_rng(1)
    queries, keys = (unit_rows(generator.normal(size=(images, 6))) for images in (1500, 80))
    skip = generator.integers(-1, 80, 1500)
    indices, cosines = nearest(queries, keys, count, skip=skip)
    assert indices.shape == (1500, min(count, 80))
    for place in range(0, 1500, 137):
        similar = [float(queries[place] @ key) if index != skip[place] else -np.inf for index, key in enumerate(keys)]
        np.testing.assert_array_equal(indices[place], np.argsort(-np.float32(similar), kind="stable")[:count])
        np.testing.assert_allclose(cosines[place], np.sort(similar)[::-1][:count], atol=1e-6)


def test_equal_files_are_those_in_several_splits_or_classes():
    rows = [Row("a", 0, "train", "x"), Row("b", 0, "train", "x"), Row("c", 0, "train", "y"), Row("d", 1, "train", "y")]
    rows += [Row("e", 1, "train", "z"), Row("f", 1, "test", "z"), Row("g", 1, "test", ""), Row("h", 0, "train", "")]
    assert [[row.file for row in group] for group in equal_files(rows)] == [["e", "f"], ["c", "d"]]


def test_nearly_equal_images_are_alike_in_features_and_in_grey():
    base = np.random.default_rng(2).normal(size=(4, 256))
    grey = {"test0": base[0], "train0": base[0] * 2 + 5, "test1": base[1], "train1": base[2], "test2": base[3], "train2": base[3]}
    test = outlook([0, 0, 1], np.eye(3), [[1, 0, 0], [0, 1, 0], [0, 0, 1]], prefix="test", content=["a", "b", "same"])
    training = outlook([0, 0, 1], np.eye(3), [[1, 0.1, 0], [0, 1, 0], [0, 0, 1]], "train", "train", ["c", "d", "same"])
    (pair,) = nearly_equal(test, training, lambda row: grey[row.file])
    assert (pair.first.file, pair.second.file) == ("test0", "train0"), "one pair differs in grey, one is of equal files"
    assert pair.correlation == pytest.approx(1)
    assert correlation(np.ones(256), base[0]) == correlation(None, base[0]) == 0


def test_images_are_drawn_evenly():
    rows = [Row(str(i), label, "train", "") for i, label in enumerate([0] * 50 + [1] * 7 + [3] * 2)]
    for limit, expected in ((100, [50, 7, 0, 2]), (22, [13, 7, 0, 2]), (12, [5, 5, 0, 2]), (1, [1, 1, 0, 1])):
        drawn = drawn_evenly(rows, limit)
        assert np.bincount([row.label for row in drawn]).tolist() == expected
        assert drawn == drawn_evenly(rows, limit)
    assert drawn_evenly([], 5) == []


@pytest.mark.parametrize(
    ("cosine", "shown"), [(0.5, "0.50"), (0.994, "0.99"), (0.9987, "0.9987"), (0.99998, "0.999980"), (1.0, "1.00"), (-1, "-1.00")]
)
def test_cosines_near_1_have_the_decimals_that_tell_them_apart(cosine, shown):
    assert shown_cosine(cosine) == shown
