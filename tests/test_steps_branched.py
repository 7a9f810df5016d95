"""Steps of methods with more than one batch, view or loss, against the vectors of the reference document."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from longtail import steps
from longtail.data.loaders import Batch, Feed
from longtail.data.splits import Data, Split
from longtail.heads import CausalHead, LinearHead, MetaHead
from longtail.losses import CentroidLoss, CrossEntropyLoss
from longtail.networks.backbones import CifarResNet
from longtail.networks.classifier import Classifier, Projection
from longtail.networks.wrappers import TwoBranchBackbone
from longtail.schedules import constant, cosine, parabolic
from longtail.steps import class_means
from longtail.weighting import Progress
from reference.formulas import agrees

COUNTS = [100, 10, 1]


def half(progress):
    return 0.5


class Branches(nn.Module):
    """A backbone whose branches return the features of the reference document."""

    def branch(self, images, which):
        return images[:, :2] if which == "conventional" else images[:, 2:]


def bbn_of_the_reference():
    head = LinearHead(4, 3).double()
    head.weight.data = torch.tensor([[1, 0, 0.5, 0], [0, 1, 0, 0.5], [-1, 0.5, 1, 1]], dtype=torch.float64)
    head.bias.data = torch.tensor([0.1, 0, -0.1], dtype=torch.float64)
    both = torch.tensor([[1, 2, 3, -1]], dtype=torch.float64)
    batch = Batch(both, torch.tensor([1]), None, (), Batch(both, torch.tensor([2])))
    return SimpleNamespace(backbone=Branches(), head=head), batch


@pytest.mark.parametrize(
    ("share", "printed"),
    [(0.75, "1.065480218498831"), (1.0, "0.15370025950988087"), (0.0, "0.37622546399943824"), (0.5, "1.5040188667067789")],
)
def test_bilateral_loss_of_the_reference(share, printed):
    model, batch = bbn_of_the_reference()
    value = steps.bilateral(model, CrossEntropyLoss(COUNTS), batch, Progress(), curriculum=lambda progress: share)
    assert agrees(value.item(), printed)


def test_mixed_features_of_the_reference():
    features = torch.tensor([[1.0, 2]]), torch.tensor([[3.0, -1]])
    assert steps.mixed_features(*features, 0.75).tolist() == [[1.5, 3, 1.5, -0.5]]
    assert steps.mixed_features(*features, 0.5).tolist() == [[1, 2, 3, -1]], "at one half it is what inference sees"


def test_bbn_at_one_half_trains_the_average():
    torch.manual_seed(0)
    backbone = TwoBranchBackbone(CifarResNet(depth=8, width=4))
    model = Classifier(backbone, LinearHead(backbone.num_features, 3)).eval()
    images, labels, others = torch.randn(6, 3, 8, 8), torch.arange(6) % 3, torch.arange(6).flip(0) % 3
    loss = CrossEntropyLoss(COUNTS)
    value = steps.bilateral(model, loss, Batch(images, labels, None, (), Batch(images, others)), Progress(), curriculum=half)
    logits = model(images)
    torch.testing.assert_close(value, (loss(logits, labels) + loss(logits, others)) / 2)


@pytest.mark.parametrize(
    ("epochs", "horizon", "expected"),
    [
        (200, 1.0, {0: 1, 50: 0.9375, 100: 0.75, 150: 0.4375, 160: 0.36, 199: 0.009975}),
        (90, 100 / 90, {60: 0.64, 89: 0.2079}),
        (180, 200 / 180, {120: 0.64, 179: 0.198975}),
    ],
)
def test_cumulative_learning_of_the_reference(epochs, horizon, expected):
    for epoch, share in expected.items():
        assert parabolic(Progress(epoch, epochs), horizon=horizon) == pytest.approx(share, abs=1e-12)


@pytest.mark.parametrize(
    ("shape", "epochs", "expected"),
    [
        ({"first": -1, "last": 1}, 90, {0: 0.1999390827019096, 44: 0.1, 79: 0.006030737921409169, 89: 0}),
        ({}, 10, {0: 0.2, 1: 0.1951056516, 5: 0.1}),
        ({"first": 1, "last": 1}, 200, {1: 0.2, 2: 0.1999874128, 99: 0.1015865964, 199: 0}),
    ],
)
def test_half_cosines_of_the_reference(shape, epochs, expected):
    for epoch, rate in expected.items():
        assert 0.2 * cosine(Progress(epoch, epochs), **shape) == pytest.approx(rate, abs=1e-9)


class Constant(nn.Module):
    """A loss on features with a given value, which keeps its input."""

    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, features, labels):
        self.features, self.labels = features, labels
        return features.sum() * 0 + self.value


def hybrid(value=1.0130546163355705):
    torch.manual_seed(0)
    model = Classifier(CifarResNet(depth=8, width=4), LinearHead(16, 3), Projection(16, size=8))
    loss = CrossEntropyLoss(COUNTS)
    loss.add_module("feature_loss", Constant(value))
    images, labels = torch.randn(4, 3, 8, 8), torch.tensor([0, 1, 2, 0])
    return model, loss, Batch(images, labels, None, (images.flip(3),), Batch(images.flip(0), labels.flip(0)))


def test_contrast_of_the_reference(monkeypatch):
    model, loss, batch = hybrid()
    monkeypatch.setattr(type(loss), "forward", lambda *_: torch.tensor(1.2))
    assert steps.contrast(model, loss, batch, Progress(100, 200)).item() == pytest.approx(1.059790962251678, abs=1e-6)


def test_contrast_shows_both_views_and_the_companion():
    model, loss, batch = hybrid()
    steps.contrast(model.eval(), loss, batch, Progress(1, 4))
    seen = loss.feature_loss
    assert seen.labels.tolist() == [0, 1, 2, 0] * 2
    torch.testing.assert_close(seen.features, model.projection(model.backbone(torch.cat([batch.images, *batch.views]))))
    torch.testing.assert_close(seen.features.norm(dim=1), torch.ones(8))
    value = steps.contrast(model, loss, batch, Progress(3, 4), curriculum=lambda progress: 0.0)
    torch.testing.assert_close(value, loss(model(batch.companion.images), batch.companion.labels))


def test_the_classifier_learns_nothing_in_the_first_epoch_of_the_curriculum():
    model, loss, batch = hybrid()
    gradient = torch.autograd.grad(steps.contrast(model, loss, batch, Progress(0, 4)), model.head.weight)[0]
    assert not gradient.any()


def oltr():
    torch.manual_seed(0)
    model = Classifier(CifarResNet(depth=8, width=4), MetaHead(LinearHead(16, 3)))
    loss = CrossEntropyLoss(COUNTS)
    loss.add_module("feature_loss", CentroidLoss(COUNTS, feature_size=16))
    return model, loss, Batch(torch.randn(4, 3, 8, 8), torch.tensor([0, 1, 2, 0]))


def test_meta_embedding_sends_the_centroids_only_the_centroid_loss():
    model, loss, batch = oltr()
    centroids = loss.feature_loss.centroids
    value = steps.meta_embed(model, loss, batch, Progress(), feature_weight=0.01)
    assert torch.equal(model.head.memory, centroids)
    features = model.backbone(batch.images).detach()
    expected = 0.01 * torch.autograd.grad(loss.feature_loss(features, batch.labels), centroids)[0]
    torch.testing.assert_close(torch.autograd.grad(value, centroids, retain_graph=True)[0], expected)
    assert torch.equal(
        steps.meta_embed(model, loss, batch, Progress(), feature_weight=0.0), loss(model(batch.images), batch.labels)
    )


def split_of(images, labels):
    return Split(tuple(map(str, range(len(labels)))), np.array(labels), pixels=images)


def small_data(images=12):
    pixels = torch.randint(256, (images, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    split = split_of(pixels, [i % 3 for i in range(images)])
    return Data(split, split, ("a", "b", "c"), 8, (0.5,) * 3, (0.25,) * 3)


def test_centroids_start_at_the_mean_feature_of_each_class():
    model, loss, _ = oltr()
    data = small_data()
    class_means(model.train(), loss, data, batch_size=5)
    assert model.training, "the mode is what it was"
    batch = next(Feed(data.train, data, torch.device("cpu")).batches(torch.arange(12), 12))
    with torch.no_grad():
        features = model.eval().backbone(batch.images)
    expected = torch.stack([features[batch.labels == label].mean(0) for label in range(3)])
    torch.testing.assert_close(loss.feature_loss.centroids.detach(), expected)


@pytest.mark.parametrize(("rate", "momentum"), [(0.2, 0.9), (0.02, 0.9), (0.01, 0.95), (0.002, 0.99), (0.0, 1.0)])
def test_the_moving_average_slows_down_with_the_learning_rate(rate, momentum):
    model = Classifier(nn.Flatten(), CausalHead(12, 3))
    batch = Batch(torch.randn(4, 3, 2, 2), torch.tensor([0, 1, 2, 0]))
    steps.remember(model, CrossEntropyLoss(COUNTS), batch, Progress(), momentum=constant, base=rate)
    assert model.head.momentum == pytest.approx(momentum)


def test_a_feed_gives_views_and_a_companion_in_one_pass():
    data = small_data()
    feed = Feed(data.train, data, torch.device("cpu"))

    def shift(images, generator):
        return images + torch.randint(1, 9, (len(images), 1, 1, 1), generator=generator, dtype=torch.uint8)

    indices, other = torch.arange(12), torch.arange(12).flip(0)
    generator = torch.Generator().manual_seed(0)
    batches = list(feed.batches(indices, 5, augment=(shift,), generator=generator, views=2, companion=other))
    assert [len(batch.images) for batch in batches] == [5, 5, 2]
    assert [len(batch.companion.images) for batch in batches] == [5, 5, 2]
    assert torch.cat([batch.labels for batch in batches]).tolist() == [i % 3 for i in range(12)]
    assert torch.cat([batch.companion.labels for batch in batches]).tolist() == [i % 3 for i in reversed(range(12))]
    for batch in batches:
        (view,) = batch.views
        assert view.shape == batch.images.shape
        assert not torch.equal(view, batch.images), "each view is augmented anew"
    plain = list(feed.batches(indices, 5, companion=other))
    torch.testing.assert_close(torch.cat([b.companion.images for b in plain]).flip(0), torch.cat([b.images for b in plain]))
    assert len(list(feed.batches(indices, 5, drop_last=True, companion=other))) == 2


class Drawn(nn.Module):
    """A loss on features that draws a random number."""

    def forward(self, features, labels, *, generator=None):
        return features.sum() * 0 + torch.rand((), generator=generator)


def test_a_loss_on_features_draws_from_the_batchs_generator():
    model, loss, batch = hybrid()
    loss.feature_loss, generator = Drawn(), torch.Generator().manual_seed(4)
    value = steps.contrast(model, loss, replace(batch, generator=generator), Progress(), curriculum=lambda progress: 1.0)
    assert value.item() == torch.rand((), generator=torch.Generator().manual_seed(4)).item()
