"""The contract that every public loss keeps. A new loss is tested as soon as it is public."""

import inspect
import re
from contextlib import nullcontext

import jaxtyping
import pytest
import torch
from torch import nn

from longtail import losses
from longtail.losses.contract import check_contract, needs_generator
from longtail.losses.cross_entropy import CrossEntropyLoss

pytestmark = pytest.mark.filterwarnings("ignore:.* but it takes (cosines|unit vectors)")

COUNTS, WEIGHT, ORDER = [100, 30, 7, 1], [0.2, 0.8, 2.0, 1.0], torch.tensor([2, 0, 3, 1])
CIFAR_2 = {"scale": 20.0, "margin": 0.1, "gamma": 1.0}
VARIANTS = {
    "FocalLoss": [{"gamma": 2.0}, {"form": "sigmoid"}],
    "ClassBalancedLoss": [{"beta": 0.9, "gamma": 1.0}, {"form": "sigmoid", "gamma": 0.5}, {"reduction": "batch"}],
    "GCLLoss": [CIFAR_2, {"cloud": losses.clouds.cosine}],
    "GCLAngularLoss": [{"gamma": 1.0}, {"margin": 0.1, "easy_margin": False}],
    "LDAMLoss": [{"max_margin": 0.3, "scale": 10.0}],
    "LogitAdjustedLoss": [{"tau": 2.0}],
    "GALALoss": [{"lambda_1": 1.2}, {"form": "paper", "lambda_1": 1.2, "lambda_2": 0.9}],
    "LabelAwareSmoothingLoss": [*({"shape": shape} for shape in ("linear", "convex", "exp")), {"form": "paper"}],
    "SupervisedContrastiveLoss": [{"temperature": 1.0}],
    "PrototypicalContrastiveLoss": [{"temperature": 1.0}],
    "CentroidLoss": [{"margin": 20.0, "repel": 1.0}],
    "ExpertsLoss": [{"scale": 30.0}, {"tau": (0.5, 1.5)}, {"tau": (1.0,)}],
}


def named(cases):
    shown = [" ".join(f"{k}={getattr(v, '__name__', v)}" for k, v in values.items()) for _, values in cases]
    return [pytest.param(*case, id=f"{case[0].__name__} {text}".strip()) for case, text in zip(cases, shown, strict=True)]


ALL = [getattr(losses, name) for name in losses.__all__ if name not in ("Loss", "FeatureLoss")]
CASES = [(loss, values) for loss in ALL for values in [{}, *VARIANTS.get(loss.__name__, [])]]


def takes(loss, name):
    return name in inspect.signature(loss.forward).parameters


def every(chosen=lambda loss, values: True):
    return pytest.mark.parametrize(("loss", "values"), named([case for case in CASES if chosen(*case)]))


every_loss = every()
every_classifier = every(lambda loss, values: takes(loss, "logits"))
every_representation = every(lambda loss, values: takes(loss, "features"))
every_mean = every(lambda loss, values: values.get("reduction") != "batch")
every_classifier_mean = every(lambda loss, values: takes(loss, "logits") and values.get("reduction") != "batch")
# A factor that is held constant for the gradient is not the derivative of the value, by design.
every_derivative = every(lambda loss, values: not (loss.requires_head and values.get("gamma")))


def experts_of(loss, values):
    """The shape of the experts between images and classes: one number where the loss takes logits of several experts."""
    return (len(values.get("tau", (0, 1, 2))),) if loss is losses.ExpertsLoss else ()


def batch(loss, values, dtype=torch.float64, images=9, classes=4):
    """Logits (cosines or unit features where the loss needs them), labels of every class, and noise."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(images, *experts_of(loss, values), classes, generator=generator, dtype=torch.float64)
    noise = torch.randn(images, classes, generator=generator, dtype=torch.float64) / 3
    logits = logits.tanh() if loss.requires_head else logits
    logits = nn.functional.normalize(logits, dim=1) if takes(loss, "features") else logits
    return logits.to(dtype), torch.arange(images) % classes, noise.to(dtype)


def call(loss, logits, labels, noise):
    return loss(logits, labels, **({"noise": noise} if takes(loss, "noise") else {}))


def made(loss, counts, seed=0, **values):
    """The loss, for features of length 4 if it takes features; its initial weights are drawn with the seed."""
    size = {"feature_size": 4} if takes(loss, "features") else {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return loss(counts, **size, **values)


@every_loss
def test_loss_keeps_the_contract(loss, values):
    built = made(loss, COUNTS, weight=WEIGHT, **values)
    check_contract(built, 4)
    assert [name for name, _ in built.named_buffers()][:2] == ["class_counts", "weight"]
    assert (built.class_counts.tolist(), built.weight.tolist()) == (COUNTS, WEIGHT)
    assert loss.draws_random_numbers == takes(loss, "generator") == needs_generator(built)
    assert issubclass(loss, losses.FeatureLoss) == takes(loss, "features")


def spread(logits, loss, values):
    """The same logits for every expert, where the loss takes those of several."""
    return logits.reshape(len(logits), *[1] * len(experts_of(loss, values)), -1).repeat(1, *experts_of(loss, values), 1)


@every_derivative
def test_loss_gradient(loss, values):
    logits, labels, noise = batch(loss, values)
    function = lambda z: call(made(loss, COUNTS, weight=WEIGHT, **values), z, labels, noise)  # noqa: E731
    assert torch.autograd.gradcheck(function, logits.requires_grad_())


@every_classifier
def test_loss_is_finite_at_its_limits(loss, values):
    _, labels, noise = batch(loss, values, torch.float32)
    size = 1.0 if loss.requires_head else 1e4
    for sign in (torch.eye(4)[labels] * 2 - 1, 1 - torch.eye(4)[labels] * 2, torch.ones(9, 4)):
        logits = spread(size * sign, loss, values).requires_grad_()
        value = call(loss(COUNTS, **values), logits, labels, noise)
        assert value.isfinite()
        assert torch.autograd.grad(value, logits)[0].isfinite().all()


@every_representation
@pytest.mark.parametrize("size", [0.0, 1e-4, 1.0, 1e4])
def test_representation_loss_is_finite_at_its_limits(loss, values, size):
    built, labels = made(loss, COUNTS, **values), torch.arange(9) % 4
    for sign in (torch.eye(4)[labels], -torch.eye(4)[labels], torch.ones(9, 4), -torch.ones(9, 4)):
        features = (size * sign).requires_grad_()
        value = call(built, features, labels, None)
        assert value.isfinite()
        assert all(grad.isfinite().all() for grad in torch.autograd.grad(value, [features, *built.parameters()]))


@every_representation
def test_renaming_the_classes_leaves_the_representation_loss(loss, values):
    features, labels, _ = batch(loss, values)
    built, renamed = made(loss, COUNTS, weight=WEIGHT, **values), made(loss, COUNTS, seed=1, **values)
    renamed.load_state_dict({name: tensor[ORDER] for name, tensor in built.state_dict().items()})
    torch.testing.assert_close(renamed(features, ORDER.argsort()[labels]), built(features, labels))


@every_classifier
def test_renaming_the_classes_leaves_the_loss(loss, values):
    logits, labels, noise = batch(loss, values)
    renamed = loss([COUNTS[j] for j in ORDER], weight=[WEIGHT[j] for j in ORDER], **values)
    expected = call(loss(COUNTS, weight=WEIGHT, **values), logits, labels, noise)
    torch.testing.assert_close(call(renamed, logits[..., ORDER], ORDER.argsort()[labels], noise[:, ORDER]), expected)


@every_mean
def test_only_ratios_of_the_weights_matter(loss, values):
    once, thrice = (made(loss, COUNTS, weight=[factor * w for w in WEIGHT], **values) for factor in (1, 3))
    torch.testing.assert_close(call(once, *batch(loss, values)), call(thrice, *batch(loss, values)), rtol=1e-12, atol=0)
    assert call(once, *batch(loss, values)) != call(made(loss, COUNTS, **values), *batch(loss, values))


@every_classifier_mean
@pytest.mark.parametrize("label", range(4))
def test_a_weight_on_one_class_leaves_the_images_of_that_class(loss, values, label):
    logits, labels, noise = batch(loss, values)
    only = labels == label
    weighted = call(loss(COUNTS, weight=[float(j == label) for j in range(4)], **values), logits, labels, noise)
    alone = call(loss(COUNTS, **values), logits[only], labels[only], noise[only])
    torch.testing.assert_close(weighted, alone, rtol=1e-12, atol=0)


@every_loss
def test_loss_state_survives_saving(loss, values):
    stored, other = made(loss, COUNTS, weight=WEIGHT, **values), made(loss, [5, 6, 7, 8], seed=1, **values)
    assert {"class_counts", "weight"} <= dict(stored.named_buffers()).keys()
    other.load_state_dict(stored.state_dict())
    assert torch.equal(call(other, *batch(loss, values)), call(stored, *batch(loss, values)))


@every_loss
def test_a_class_without_images_is_named(loss, values):
    with pytest.raises(ValueError, match=r"class_counts\[2\] is 0"):
        made(loss, [5, 3, 0, 2], **values)


@every_loss
@pytest.mark.parametrize("count", [1, 7, 100_000])
def test_balanced_counts_give_a_number(loss, values, count):
    assert call(made(loss, [count] * 4, **values), *batch(loss, values)).isfinite()


@every_loss
def test_soft_labels_work_or_are_refused(loss, values, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    (logits, labels, noise), built = batch(loss, values), made(loss, COUNTS, weight=WEIGHT, **values)
    certain = torch.eye(4, dtype=torch.float64)[labels]
    try:
        soft = call(built, logits, certain, noise)
    except TypeError as error:
        sentence = str(error)
    else:
        sentence = ""
        torch.testing.assert_close(soft, call(built, logits, labels, noise))
    assert not sentence or re.match(rf"{loss.__name__} needs class indices of shape .B,.; got torch.float64 .*mixup", sentence)


@every_loss
def test_loss_is_float32_under_autocast(loss, values):
    logits, labels, noise = batch(loss, values, torch.bfloat16)
    outside = call(made(loss, COUNTS, weight=WEIGHT, **values), logits.float(), labels, noise.float())
    with torch.autocast("cpu", torch.bfloat16):
        inside = call(made(loss, COUNTS, weight=WEIGHT, **values), logits, labels, noise.float())
    assert inside.dtype == torch.float32
    torch.testing.assert_close(inside, outside, rtol=1e-6, atol=0)


@every_loss
def test_loss_reads_no_value_back_from_the_device(loss, values, monkeypatch):
    """On the meta device, which has no autocast, tensors have no values, so a branch on a value or an `item` is an error."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
    built = made(loss, COUNTS, weight=WEIGHT, **values).to("meta")
    logits, labels, noise = (tensor.to("meta") for tensor in batch(loss, values, torch.float32))
    call(built, logits.requires_grad_(), labels, noise).backward()
    assert logits.grad.shape == logits.shape


def test_soft_labels_are_exact_under_autocast():
    (logits, _, _), loss = batch(CrossEntropyLoss, {}, torch.float32), CrossEntropyLoss(COUNTS, weight=WEIGHT)
    shares = torch.rand(9, 4, generator=torch.Generator().manual_seed(1)).softmax(1)
    with torch.autocast("cpu", torch.bfloat16):
        inside = loss(logits, shares)
    torch.testing.assert_close(inside, loss(logits, shares), rtol=1e-6, atol=0)


@every_loss
def test_loss_says_where_it_comes_from(loss, values):
    assert re.search(r"Source: .+", loss.__doc__)
    assert re.search(r"(19|20)\d\d|likelihood", loss.__doc__)
    assert ">>>" in loss.__doc__
    documented = set(inspect.signature(loss).parameters)
    assert all(re.search(rf"^\s+(\w+, )*{name}(, \w+)*:", loss.__doc__, re.MULTILINE) for name in documented)


def test_every_public_loss_is_covered():
    assert all(takes(loss, "logits") != takes(loss, "features") for loss in ALL)
    assert set(VARIANTS) <= set(losses.__all__)
