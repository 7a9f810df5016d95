"""A pass over a split sees every image once and in order, whatever the batch size and the number of processes."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from commands import paint
from longtail import recipes, settings
from longtail.data.groups import shot_groups
from longtail.data.loaders import Feed
from longtail.data.splits import Data, Split, hold_out
from longtail.engine.devices import make_compute
from longtail.engine.evaluation import evaluate, judged_epoch, per_epoch_recalls, predict
from longtail.heads import LinearHead
from longtail.inference import (
    as_trained,
    fitted,
    fitted_on,
    logit_adjusted,
    nearest_class_mean,
    rebalanced,
    reference_of,
    tau_normalised,
)
from longtail.metrics import confusion_matrix, mean_recall, per_class_recall, report
from longtail.networks.backbones import CifarResNet
from longtail.networks.classifier import Classifier
from longtail.sampling import EpochSampler
from longtail.spec.experiment import Experiment
from longtail.weighting import power

COUNTS = (30, 10, 5, 1)


def a_split(images, seed):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(4), images))
    pixels = torch.randint(0, 256, (len(labels), 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
    return Split(tuple(f"{seed}/{i}" for i in range(len(labels))), labels, pixels)


def some_data():
    return Data(a_split(COUNTS, 0), a_split((9, 10, 11, 7), 1), tuple("abcd"), 8, (0.5,) * 3, (0.25,) * 3)


def a_model(classes=4):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Classifier(CifarResNet(depth=8), LinearHead(64, classes))


def sampled(rank=0, world=1):
    """Two epochs of two draws."""
    labels = some_data().train.labels
    samplers = [EpochSampler(labels, seed=3, rank=rank, world=world), EpochSampler(labels, rule=power, rank=rank, world=world)]
    for epoch, sampler in enumerate(samplers):
        sampler.epoch = epoch
    return torch.stack([sampler.indices() for sampler in samplers])


def in_each_process():
    """Results of one process as arrays; the last split has fewer images than there are processes."""
    data, model, compute = some_data(), a_model(), make_compute("cpu", "32-true")
    found = [predict(model, split, data, compute, batch_size=4) for split in (data.test, data.test.take([5]))]
    indices = compute.all_gather(sampled(compute.rank, compute.world))
    arrays = [(p.features.numpy(), p.logits.numpy(), p.labels.tolist()) for p in found]
    return arrays, indices.numpy(), per_epoch_recalls(model, as_trained, data, compute)


@pytest.fixture(scope="module")
def of_two(pair):
    """Results of two processes together, returned by the second of them."""
    return pair.run(in_each_process)[1]


# --- Two processes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("index", [0, 1])
def test_two_processes_find_what_one_finds(of_two, index):
    (features, logits, labels), (own_features, own_logits, own_labels) = of_two[0][index], in_each_process()[0][index]
    assert labels == own_labels
    assert len(features) == len(labels) == (37, 1)[index]
    np.testing.assert_array_equal(features, own_features)
    np.testing.assert_array_equal(logits, own_logits)


def test_two_processes_judge_every_image_once(of_two, compute):
    assert len(np.unique(of_two[0][0][1], axis=0)) == 37
    assert of_two[2] == per_epoch_recalls(a_model(), as_trained, some_data(), compute)


def test_two_processes_share_the_draw(of_two):
    whole, shares = sampled(), torch.from_numpy(of_two[1])
    assert shares.shape == (2, 2, 23)
    assert torch.equal(shares.permute(1, 2, 0).flatten(1), whole)
    assert torch.equal(whole[0].sort().values, torch.arange(46))


# --- One process -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 5, 37, 256])
def test_the_batch_size_changes_nothing(compute, batch_size):
    data, model = some_data(), a_model()
    found = predict(model, data.test, data, compute, batch_size=batch_size)
    torch.testing.assert_close(found.logits, predict(model, data.test, data, compute).logits, rtol=1e-5, atol=1e-5)
    assert found.labels.tolist() == data.test.labels.tolist()
    assert found.class_counts.tolist() == list(COUNTS)


def test_logits_are_the_head_s_of_the_features(compute):
    data, model = some_data(), a_model()
    model.head.scale.fill_(3.0)
    found = predict(model, data.test, data, compute)
    torch.testing.assert_close(found.logits, 3 * (found.features @ found.head["weight"].T + found.head["bias"]))
    assert found.head.keys() == model.head.state_dict().keys()


@pytest.mark.parametrize("training", [True, False])
def test_looking_changes_nothing(compute, training):
    data, model = some_data(), a_model().train(training)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    predict(model, data.test, data, compute)
    assert model.training is model.backbone.norm.training is training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_backbone_held_in_eval_mode_stays_there(compute):
    data, model = some_data(), a_model().train()
    model.backbone.eval()
    predict(model, data.test, data, compute)
    assert (model.head.training, model.backbone.training, model.backbone.norm.training) == (True, False, False)


@pytest.mark.parametrize("groups", ["shots", "auto"])
def test_evaluated_as_trained(compute, groups):
    data, model = some_data(), a_model()
    evaluation = evaluate(model, as_trained, data, compute, groups=groups)
    found = predict(model, data.test, data, compute)
    assert evaluation.rule is as_trained
    assert str(evaluation.report) == str(report(found.logits, found.labels, shot_groups(list(COUNTS), rule=groups)))
    assert (torch.equal(evaluation.scores, found.logits), evaluation.val_mean_recall) == (True, None)


@pytest.mark.parametrize(
    ("rule", "learned"),
    [(nearest_class_mean, {"mean", "centroids"}), (tau_normalised, {"tau"}), (partial(logit_adjusted, tau=None), {"tau"})],
)
def test_what_a_rule_learns_is_fixed(compute, rule, learned):
    data, model = hold_out(some_data(), 0.3, seed=0), a_model()
    evaluation = evaluate(model, rule, data, compute)
    assert evaluation.rule.keywords.keys() == learned
    assert torch.equal(evaluation.rule(predict(model, data.test, data, compute)), evaluation.scores)
    assert 0 <= evaluation.val_mean_recall <= 1


def test_what_is_learned_does_not_depend_on_the_test_images(compute):
    data, model = hold_out(some_data(), 0.3, seed=0), a_model()
    other = replace(data, test=a_split((3, 3, 3, 3), 9))
    first, second = (evaluate(model, nearest_class_mean, d, compute).rule.keywords for d in (data, other))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_rule_that_chooses_needs_validation_images(compute):
    with pytest.raises(
        ValueError, match=r"^This rule chooses a value on validation images, but none were held out; add `val=0\.1`\.$"
    ):
        evaluate(a_model(), tau_normalised, some_data(), compute)


# --- Several views of each image -------------------------------------------------------------------------------------------


def by_numpy(pixels, views):
    """The views of uint8 images (M, 3, S, S), by numpy."""
    sides = [pixels.numpy(), pixels.numpy()[..., ::-1]]
    turned = [np.rot90(side, turns, axes=(2, 3)) for side in sides for turns in range(4)]
    return [torch.from_numpy(view.copy()) for view in (turned if views == 8 else sides[:views])]


@pytest.mark.parametrize("views", [1, 2, 8])
def test_features_and_logits_are_means_over_the_views(compute, views):
    data, model = some_data(), a_model()
    apart = [predict(model, replace(data.test, pixels=view), data, compute) for view in by_numpy(data.test.pixels, views)]
    found = predict(model, data.test, data, compute, batch_size=10, views=views)
    for name in ("features", "logits"):
        mean = torch.stack([getattr(each, name) for each in apart]).mean(0)
        torch.testing.assert_close(getattr(found, name), mean, rtol=1e-5, atol=1e-6)
    assert torch.equal(found.labels, apart[0].labels)
    if views > 1:
        assert not torch.allclose(found.logits, apart[0].logits, atol=1e-3)


def test_no_image_is_read_twice_for_its_views(compute, monkeypatch):
    read, data = [], some_data()
    whole = Feed._pixels_of
    monkeypatch.setattr(Feed, "_pixels_of", lambda feed, chunk: (read.extend(chunk.indices.tolist()), whole(feed, chunk))[1])
    predict(a_model(), data.test, data, compute, batch_size=10, views=8)
    assert read == list(range(37))


def on_val(rule, ready, val):
    """The rule for the validation images: a transductive one looks at these together, not at the test images."""
    return fitted(rule, val) if reference_of(rule) == "test" else ready


@pytest.mark.parametrize("rule", [tau_normalised, nearest_class_mean, rebalanced, partial(logit_adjusted, tau=1.0)])
def test_a_rule_is_fitted_and_applied_once_on_the_means(compute, rule):
    data, model = hold_out(some_data(), 0.3, seed=0), a_model()
    views = {"train": 1, "val": 8, "test": 8}  # training images, which are many, are seen once
    means = {name: predict(model, split, data, compute, views=views[name]) for name, split in data.splits.items()}
    ready = fitted(rule, means[reference_of(rule)]) if reference_of(rule) else rule
    evaluation = evaluate(model, rule, data, compute, views=8)
    assert torch.equal(evaluation.scores, ready(means["test"]))
    assert evaluation.val_mean_recall == mean_recall(on_val(rule, ready, means["val"])(means["val"]), means["val"].labels)
    recalls = per_class_recall(confusion_matrix(evaluation.scores, means["test"].labels)).tolist()
    assert per_epoch_recalls(model, rule, data, compute, views=8) == recalls


# --- One pass over each split ----------------------------------------------------------------------------------------------


def passes_in(model):
    """Numbers of images in the network's forward passes from now on; no split here has more images than a batch."""
    sizes = []
    model.backbone.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0])))
    return sizes


every_reference = pytest.mark.parametrize(
    ("rule", "splits"),
    [
        (as_trained, ["test", "val"]),
        (tau_normalised, ["test", "val"]),
        (partial(logit_adjusted, tau=None), ["test", "val"]),
        (rebalanced, ["test", "val"]),
        (partial(rebalanced, source="val"), ["test", "val"]),
        (nearest_class_mean, ["test", "train", "val"]),
    ],
)


@every_reference
def test_each_split_is_passed_once_and_nothing_else_changes(compute, rule, splits):
    data, model = hold_out(some_data(), 0.3, seed=0), a_model()
    alone = {name: predict(model, split, data, compute) for name, split in data.splits.items()}
    ready = fitted(rule, alone[reference_of(rule)]) if reference_of(rule) else rule
    sizes = passes_in(model)
    evaluation = evaluate(model, rule, data, compute)
    assert len({len(split) for split in data.splits.values()}) == 3, "so that a pass says which split it was"
    assert sorted(sizes) == sorted(len(data.splits[name]) for name in splits)
    assert torch.equal(evaluation.scores, ready(alone["test"]))
    assert evaluation.val_mean_recall == mean_recall(on_val(rule, ready, alone["val"])(alone["val"]), alone["val"].labels)
    assert torch.equal(evaluation.predictions.features, alone["test"].features)


@pytest.mark.parametrize(
    ("rule", "splits"), [(as_trained, ["test"]), (rebalanced, ["test"]), (nearest_class_mean, ["test", "train"])]
)
def test_each_split_is_passed_once_per_judged_epoch(compute, rule, splits):
    data, model = some_data(), a_model()
    alone = {name: predict(model, split, data, compute) for name, split in data.splits.items()}
    ready = fitted(rule, alone[reference_of(rule)]) if reference_of(rule) else rule
    sizes = passes_in(model)
    recalls = per_epoch_recalls(model, rule, data, compute)
    assert sorted(sizes) == sorted(len(data.splits[name]) for name in splits)
    assert recalls == per_class_recall(confusion_matrix(ready(alone["test"]), alone["test"].labels)).tolist()


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_a_rule_of_one_s_own_is_fitted_on_its_split(compute, split):
    @fitted_on(split, keyword="shift", learn=lambda rule, predictions: {"shift": predictions.logits.mean(0)})
    def centred(predictions, *, shift=None):
        return predictions.logits - shift

    data, model = hold_out(some_data(), 0.3, seed=0), a_model()
    evaluation = evaluate(model, centred, data, compute)
    shift = predict(model, data.splits[split], data, compute).logits.mean(0)
    assert torch.equal(evaluation.rule.keywords["shift"], shift)
    assert torch.equal(evaluation.scores, evaluation.predictions.logits - shift)
    right = per_class_recall(confusion_matrix(evaluation.scores, evaluation.predictions.labels)).tolist()
    assert per_epoch_recalls(model, centred, data, compute) == right


def test_judging_an_epoch_on_files_leaves_random_numbers_and_modes_as_they_are(compute, tmp_path):
    files = paint(tmp_path, {"apple": 9, "berry": 6}, size=8)
    setting = replace(settings.folder(name="photos", size=8, epochs=1, backbone="resnet8"), weights="")
    data = hold_out(setting.data(files), 0.3, seed=0)
    data = replace(data, val=replace(data.val, pixels=None, root=files))
    model = a_model(classes=2).train()
    model.backbone.groups.eval()
    modes, state = [module.training for module in model.modules()], torch.get_rng_state()
    experiment = Experiment(recipes.ce(setting), setting, data)
    judged = judged_epoch(model, experiment, 0, 0, compute)
    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in model.modules()] == modes
    found = predict(model, data.val, data, compute)
    assert judged == {"val_mean_recall": mean_recall(found.logits, found.labels)}
