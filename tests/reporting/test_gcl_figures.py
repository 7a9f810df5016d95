"""The figures of the GCL paper: gradients against autograd and loops, clouds by hand, the classes that are shown, t-SNE."""

import io
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.manifold import trustworthiness
from torch.nn import functional

from longtail import recipes, settings
from longtail.errors import UserError
from longtail.losses import GCLAngularLoss, GCLLoss, clouds
from longtail.reporting.gcl_figures import gcl_figures
from longtail.reporting.losses import cloud_sigmas, clouded_losses
from longtail.reporting.plotting import image_of
from longtail.reporting.saturation import clouded_gradient, median_difference, plain_gradient
from longtail.reporting.subset import asked_classes, classes_of_figure, shortened, spread_classes
from longtail.reporting.tsne import laid_out
from shown_runs import shown_run

COUNTS = [400, 90, 30, 12, 4]
SETTING = settings.digits_lt()


def drawn(counts=COUNTS, images=60, **more):
    generator = np.random.default_rng(0)
    labels = generator.integers(len(counts), size=images)
    scores = generator.normal(size=(images, len(counts)))
    scores[np.arange(images), labels] += 2
    return shown_run(counts, labels, scores, **more)


def test_the_plain_gradient_is_that_of_autograd():
    differences = np.array([-30.0, -2.0, 0.0, 1.5, 40.0])
    logits = torch.tensor([[x, 0.0] for x in differences], dtype=torch.float64, requires_grad=True)
    functional.cross_entropy(logits, torch.zeros(5, dtype=torch.long), reduction="sum").backward()
    np.testing.assert_allclose(plain_gradient(differences), logits.grad[:, 0], atol=1e-12)


@pytest.mark.parametrize("label", [0, 2, 4])
def test_the_clouded_gradient_is_the_mean_over_drawn_noise(label):
    loss = GCLLoss(COUNTS, scale=20.0, noise_mul=0.5, margin=0.1)
    sizes = [(math.log(400) - math.log(count)) / (math.log(400) - math.log(4)) for count in COUNTS]
    rival = 1 if label == 0 else 0
    noise = np.abs(np.random.default_rng(1).normal(0, 1 / 3, (2, 400_000)).clip(-1, 1))
    for difference in (-3.0, 0.0, 4.0, 9.0):
        lowered = 20 * (0.5 * noise[0] * sizes[label] - 0.5 * noise[1] * sizes[rival] + 0.1)
        expected = (-1 / (1 + np.exp(difference - lowered))).mean()
        found = clouded_gradient(loss, np.array([difference]), label=label, rival=rival)
        assert found == pytest.approx(expected, abs=0.004)


def test_the_angular_gradient_turns_the_angle_of_the_true_class():
    loss = GCLAngularLoss(COUNTS, scale=30.0, epsilon=0.5)
    noise = np.abs(np.random.default_rng(2).normal(0, 1 / 3, 400_000).clip(-1, 1))
    angle = math.acos(0.5 + 3.0 / 60) + math.pi / 2 * 0.5 * noise  # of the rarest class; the largest one has no cloud
    expected = (-1 / (1 + np.exp(30 * np.cos(angle) - 30 * (0.5 - 3.0 / 60)))).mean()
    assert clouded_gradient(loss, np.array([3.0]), label=4, rival=0) == pytest.approx(expected, abs=0.004)


def test_rarer_classes_keep_more_of_their_gradient_and_the_loss_is_left_as_it_was():
    loss, differences = GCLLoss(COUNTS), np.linspace(0, 10, 7)
    sizes = loss.cloud_size.clone()
    curves = np.array([clouded_gradient(loss, differences, label=label, rival=0) for label in (1, 2, 3, 4)])
    assert (np.diff(curves, axis=0) < 0).all()
    assert (curves < plain_gradient(differences)).all()
    assert torch.equal(loss.cloud_size, sizes)


def test_the_median_difference_by_hand():
    logits = np.array([[3.0, 1, 0], [0, 2, 1], [9, 8, 9.5], [1, 5, 2]])
    assert median_difference(logits, np.array([0, 0, 0, 1]), 0) == -0.5  # of 2, -2 and -0.5
    assert math.isnan(median_difference(logits, np.array([0, 0, 0, 1]), 2))


def test_clouds_are_restored_from_the_record():
    gcl = drawn(recipe=recipes.gcl(SETTING, cloud=clouds.cosine))
    (first, loss), (second, again) = clouded_losses(gcl)
    assert (first, second, loss.scale, again.scale, again.margin) == (1, 2, 30.0, 20.0, 0.1)
    torch.testing.assert_close(loss.cloud_size, clouds.cosine(COUNTS))
    assert not list(clouded_losses(drawn(recipe=recipes.ce(SETTING))))
    assert not list(clouded_losses(drawn()))


def test_a_loss_of_a_users_own_is_not_run():
    own = drawn(recipe=recipes.gcl(SETTING))
    own.record["recipe"]["stages"][0]["loss"]["call"] = "mine@12345678.GCLLoss"
    assert [number for number, _ in clouded_losses(own)] == [2]


def test_sizes_of_clouds_by_hand():
    third = np.log([1, 10, 100]) / np.log(100) / 3  # of 100, 10 and 1 images
    np.testing.assert_allclose(cloud_sigmas(GCLLoss([100, 10, 1], noise_mul=0.5)), 0.5 * third, rtol=1e-6)
    np.testing.assert_allclose(cloud_sigmas(GCLAngularLoss([100, 10, 1], epsilon=0.4)), 0.2 * math.pi * third, rtol=1e-6)


def test_the_classes_that_are_shown():
    counts = [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]  # of CIFAR-10-LT at imbalance 100
    assert [counts[label] for label in classes_of_figure(counts, [True] * 10)] == [387, 232, 83, 50]
    assert spread_classes(counts) == [0, 3, 6, 9]
    assert spread_classes([5, 9]) == [1, 0]
    assert classes_of_figure(COUNTS, [True, True, True, True, False]) == [0, 1, 2, 3], "the largest class is smaller than 500"
    assert classes_of_figure([900, 800, 3, 2], [True] * 4) == [0, 1, 2, 3], "no classes of about 200 and 100"
    assert asked_classes(["b", "a", "b"], ["a", "b"], [9, 5], [True, True]) == [1, 0]


def test_no_two_shortened_names_are_alike():
    alike = ["copepod_cyclopoid_oithona", "copepod_cyclopoid_oithona_eggs", "short"]
    assert shortened(alike, 18) == ["copepod_c…_oithona", "copepod_c…ona_eggs", "short"]
    assert shortened(["copepod_cyclopoid_oithona", "short"], 18) == ["copepod_cyclopoid…", "short"]
    middle = ["a" * 20 + "1" + "b" * 20, "a" * 20 + "2" + "b" * 20]
    assert shortened(middle, 18) == middle
    assert all(len(name) <= 18 for name in shortened(alike, 18))


@pytest.mark.parametrize(("asked", "said"), [("e", "no class 'e'"), ("b", "no test images")])
def test_a_class_that_cannot_be_shown_is_refused(asked, said):
    with pytest.raises(UserError, match=said):
        asked_classes([asked], ["a", "b"], [9, 5], [True, False])


def test_the_layout_keeps_neighbours_and_repeats():
    generator = np.random.default_rng(3)
    features = np.repeat(np.eye(3, 8), 20, axis=0) + generator.normal(0, 0.05, (60, 8))
    places = laid_out(features)
    assert trustworthiness(features, places, n_neighbors=5) > 0.9
    np.testing.assert_array_equal(places, laid_out(3 * features))


@pytest.mark.parametrize("images", [1, 2, 3, 4, 5])
def test_few_images_have_a_layout(images):
    assert np.isfinite(laid_out(np.random.default_rng(0).normal(size=(images, 4)))).all()


def test_a_section_of_several_runs():
    ce, other = drawn(name="ce", recipe=recipes.ce(SETTING)), drawn(name="ce again", recipe=recipes.ce(SETTING))
    gcl = drawn(name="<b>$gcl$</b>", recipe=recipes.gcl(SETTING))
    saturation, sizes, embedding = gcl_figures([ce, other, gcl], tsne=("auto",)).parts
    assert {row[0] for row in saturation.numbers.rows} == {"ce", "<b>$gcl$</b>, stage 1"}, "runs of one loss share a panel"
    assert [row[:3] for row in sizes.numbers.rows] == [("<b>$gcl$</b>", f"class {j}", count) for j, count in enumerate(COUNTS)]
    assert len(embedding.figure.axes) == 3
    for part in (saturation, sizes, embedding):
        picture = Image.open(io.BytesIO(image_of(part.figure, "png", 50)))
        assert np.asarray(picture)[..., 3].any()


def test_points_of_the_saturation_figure_are_in_the_units_of_the_shown_stage():
    gcl = drawn(recipe=recipes.gcl(SETTING))
    rows = gcl_figures([gcl]).parts[0].numbers.rows
    found = {row[2]: row[3] for row in rows if row[-1] == "median test image"}
    expected = {count: 30 / 20 * median_difference(gcl.logits, gcl.labels, label) for label, count in enumerate(COUNTS)}
    assert found == pytest.approx({count: expected[count] for count in found})
    alone = gcl_figures([drawn()]).parts
    assert [part.name for part in alone] == ["saturation"], "no clouds, and t-SNE only on request"


@pytest.mark.parametrize("method", ["ce", "gcl"])
def test_markers_of_one_place_lie_within_each_other_and_none_stands_for_nothing(method):
    record = drawn(recipe=getattr(recipes, method)(SETTING))
    shown = record.labels != COUNTS.index(min(COUNTS))
    record = replace(record, labels=record.labels[shown], logits=np.zeros_like(record.logits[shown]))
    (axes,) = gcl_figures([record]).parts[0].figure.axes
    lines = [line for line in axes.lines if line.get_label() != "cross-entropy"]
    marked = [line for line in lines if line.get_marker() not in ("None", "")]
    assert (len(lines), len(marked)) == ((3, 3) if method == "ce" else (4, 3))
    assert len({line.get_markersize() for line in marked}) == 3
    assert {line.get_fillstyle() for line in marked} == {"none"}


def test_thousands_of_classes():
    counts = np.geomspace(1000, 2, 8142).astype(int).tolist()
    answer = shown_run(counts, [5, 5, 8141], np.zeros((3, 8142)), recipe=recipes.gcl(SETTING), features=np.eye(3))
    saturation, sizes, _ = gcl_figures([answer], tsne=("auto",)).parts
    assert len(sizes.numbers.rows) == 8142
    assert len(saturation.numbers.rows) < 1000


def test_a_cloud_of_the_second_stage_alone_has_its_own_line():
    recipe = recipes.gcl(SETTING)
    record = drawn(recipe=recipe)
    record.record["recipe"]["stages"][1]["loss"]["noise_mul"] = 1.0
    rows = gcl_figures([record]).parts[1].numbers.rows
    assert [row[0] for row in rows[:: len(COUNTS)]] == ["run", "run, stage 2"]
    assert rows[len(COUNTS) + 4][3] == pytest.approx(2 * rows[4][3]) == pytest.approx(1 / 3)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_features_that_are_all_alike_lie_in_a_row(value):
    assert laid_out(np.full((24, 64), value, np.float32)).tolist() == [[place, 0] for place in range(24)]
