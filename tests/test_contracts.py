"""What every public loss, rule, schedule, head and recipe promises. A new one is taken up by being public."""

import inspect
import json
import re
from contextlib import nullcontext
from dataclasses import replace
from fnmatch import fnmatchcase

import jaxtyping
import pytest
import torch
from torch import nn

from longtail import heads, losses, models, recipes, schedules, settings, weighting
from longtail.backbones import CifarResNet
from longtail.data.loaders import Batch
from longtail.description import describe
from longtail.losses.plain import CrossEntropyLoss
from longtail.weighting import Progress

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
}


def public(module, first):
    """Functions of `module` whose parameters begin with `first`."""
    functions = [f for name, f in inspect.getmembers(module, inspect.isfunction) if not name.startswith("_")]
    own = [f for f in functions if f.__module__ == module.__name__]
    return [f for f in own if tuple(inspect.signature(f).parameters)[: len(first)] == first]


def named(cases):
    shown = [" ".join(f"{k}={getattr(v, '__name__', v)}" for k, v in values.items()) for _, values in cases]
    return [pytest.param(*case, id=f"{case[0].__name__} {text}".strip()) for case, text in zip(cases, shown, strict=True)]


ALL = [getattr(losses, name) for name in losses.__all__]
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
every_derivative = every(lambda loss, values: not (hasattr(loss, "requires_head") and values.get("gamma")))
every_rule = pytest.mark.parametrize("rule", public(weighting, ("class_counts", "progress")))
every_schedule = pytest.mark.parametrize("schedule", public(schedules, ("progress",)))
every_head = pytest.mark.parametrize(
    "head", [h for _, h in inspect.getmembers(heads, inspect.isclass) if issubclass(h, nn.Module)]
)
every_recipe = pytest.mark.parametrize("build", recipes.ALL)


def batch(loss, dtype=torch.float64, images=9, classes=4):
    """Logits (cosines or unit features where the loss needs them), labels of every class, and noise."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(images, classes, generator=generator, dtype=torch.float64)
    noise = torch.randn(images, classes, generator=generator, dtype=torch.float64) / 3
    logits = logits.tanh() if hasattr(loss, "requires_head") else logits
    logits = nn.functional.normalize(logits, dim=1) if takes(loss, "features") else logits
    return logits.to(dtype), torch.arange(images) % classes, noise.to(dtype)


def call(loss, logits, labels, noise):
    return loss(logits, labels, **({"noise": noise} if takes(loss, "noise") else {}))


def made(loss, counts, seed=0, **values):
    """The loss, with features of length 4 where it takes features; what it draws comes from the seed."""
    size = {"feature_size": 4} if takes(loss, "features") else {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return loss(counts, **size, **values)


@every_derivative
def test_loss_gradient(loss, values):
    logits, labels, noise = batch(loss)
    function = lambda z: call(made(loss, COUNTS, weight=WEIGHT, **values), z, labels, noise)  # noqa: E731
    assert torch.autograd.gradcheck(function, logits.requires_grad_())


@every_classifier
def test_loss_is_finite_at_its_limits(loss, values):
    _, labels, noise = batch(loss, torch.float32)
    size = 1.0 if hasattr(loss, "requires_head") else 1e4
    for sign in (torch.eye(4)[labels] * 2 - 1, 1 - torch.eye(4)[labels] * 2, torch.ones(9, 4)):
        logits = (size * sign).requires_grad_()
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
    features, labels, _ = batch(loss)
    built, renamed = made(loss, COUNTS, weight=WEIGHT, **values), made(loss, COUNTS, seed=1, **values)
    renamed.load_state_dict({name: tensor[ORDER] for name, tensor in built.state_dict().items()})
    torch.testing.assert_close(renamed(features, ORDER.argsort()[labels]), built(features, labels))


@every_classifier
def test_renaming_the_classes_leaves_the_loss(loss, values):
    logits, labels, noise = batch(loss)
    renamed = loss([COUNTS[j] for j in ORDER], weight=[WEIGHT[j] for j in ORDER], **values)
    expected = call(loss(COUNTS, weight=WEIGHT, **values), logits, labels, noise)
    torch.testing.assert_close(call(renamed, logits[:, ORDER], ORDER.argsort()[labels], noise[:, ORDER]), expected)


@every_mean
def test_only_ratios_of_the_weights_matter(loss, values):
    once, thrice = (made(loss, COUNTS, weight=[factor * w for w in WEIGHT], **values) for factor in (1, 3))
    torch.testing.assert_close(call(once, *batch(loss)), call(thrice, *batch(loss)), rtol=1e-12, atol=0)
    assert call(once, *batch(loss)) != call(made(loss, COUNTS, **values), *batch(loss))


@every_classifier_mean
@pytest.mark.parametrize("label", range(4))
def test_a_weight_on_one_class_leaves_the_images_of_that_class(loss, values, label):
    logits, labels, noise = batch(loss)
    only = labels == label
    weighted = call(loss(COUNTS, weight=[float(j == label) for j in range(4)], **values), logits, labels, noise)
    alone = call(loss(COUNTS, **values), logits[only], labels[only], noise[only])
    torch.testing.assert_close(weighted, alone, rtol=1e-12, atol=0)


@every_loss
def test_loss_state_survives_saving(loss, values):
    stored, other = made(loss, COUNTS, weight=WEIGHT, **values), made(loss, [5, 6, 7, 8], seed=1, **values)
    assert {"class_counts", "weight"} <= dict(stored.named_buffers()).keys()
    other.load_state_dict(stored.state_dict())
    assert torch.equal(call(other, *batch(loss)), call(stored, *batch(loss)))


@every_loss
def test_a_class_without_images_is_named(loss, values):
    with pytest.raises(ValueError, match=r"class_counts\[2\] is 0"):
        made(loss, [5, 3, 0, 2], **values)


@every_loss
@pytest.mark.parametrize("count", [1, 7, 100_000])
def test_balanced_counts_give_a_number(loss, values, count):
    assert call(made(loss, [count] * 4, **values), *batch(loss)).isfinite()


@every_loss
def test_soft_labels_work_or_are_refused(loss, values, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    (logits, labels, noise), built = batch(loss), made(loss, COUNTS, weight=WEIGHT, **values)
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
    logits, labels, noise = batch(loss, torch.bfloat16)
    outside = call(made(loss, COUNTS, weight=WEIGHT, **values), logits.float(), labels, noise.float())
    with torch.autocast("cpu", torch.bfloat16):
        inside = call(made(loss, COUNTS, weight=WEIGHT, **values), logits, labels, noise.float())
    assert inside.dtype == torch.float32
    torch.testing.assert_close(inside, outside, rtol=1e-6, atol=0)


@every_loss
def test_loss_reads_no_value_back_from_the_device(loss, values, monkeypatch):
    """On the meta device, which has no autocast, tensors have no values, so a branch on one or an `item` is an error."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
    built = made(loss, COUNTS, weight=WEIGHT, **values).to("meta")
    logits, labels, noise = (tensor.to("meta") for tensor in batch(loss, torch.float32))
    call(built, logits.requires_grad_(), labels, noise).backward()
    assert logits.grad.shape == (9, 4)


def test_soft_labels_are_exact_under_autocast():
    (logits, _, _), loss = batch(CrossEntropyLoss, torch.float32), CrossEntropyLoss(COUNTS, weight=WEIGHT)
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


def weights_of(rule, counts, progress):
    needed = {"rule": weighting.power} if "rule" in inspect.signature(rule).parameters else {}
    return rule(counts, progress, **needed)


@every_rule
@pytest.mark.parametrize("epoch", [0, 5, 9])
def test_rule(rule, epoch):
    progress, counts = Progress(epoch, 10), torch.tensor([10**6, 500, 20, 1])
    weights = weights_of(rule, counts, progress)
    assert (weights.shape, weights.dtype) == ((4,), torch.float64)
    assert weights.isfinite().all()
    assert (weights > 0).all()
    assert (weights.diff() >= 0).all(), "an image of a rarer class never weighs less"
    torch.testing.assert_close(weights_of(rule, counts[ORDER], progress), weights[ORDER])
    torch.testing.assert_close(weights_of(rule, counts.tolist(), progress), weights)


@every_rule
def test_rule_on_balanced_and_empty_classes(rule):
    for count in (1, 7, 10**6):
        weights = weights_of(rule, [count] * 3, Progress())
        assert weights.isfinite().all()
        assert weights.unique().numel() == 1
    with pytest.raises(ValueError, match=r"class_counts\[1\] is 0"):
        weights_of(rule, [4, 0], Progress())
    assert weights_of(rule, [4, 2], None).isfinite().all(), "progress may be left out"
    assert rule.__doc__


@every_schedule
@pytest.mark.parametrize("epochs", [1, 2, 7, 200])
def test_schedule(schedule, epochs):
    needed = {"schedule": schedules.cosine} if "schedule" in inspect.signature(schedule).parameters else {}
    rates = [schedule(Progress(epoch, epochs), **needed) for epoch in range(epochs)]
    assert all(isinstance(rate, float) and 0 <= rate <= 1 for rate in rates)
    peak = rates.index(max(rates))
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert schedule.__doc__


def build_head(head, dtype=torch.float32, seed=0):
    """The head on 6 features and 4 classes, around a linear one where it wraps; what it remembers of features is drawn."""
    torch.manual_seed(seed)
    wraps = next(iter(inspect.signature(head).parameters)) == "head"
    built = (head(heads.LinearHead(6, 4)) if wraps else head(6, 4)).to(dtype)
    for buffer in (buffer for buffer in built.buffers() if buffer.ndim):
        buffer.normal_()
    return built


@every_head
def test_head_gradient(head):
    built, features = build_head(head, torch.float64), torch.randn(3, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(built, features)


@every_head
@pytest.mark.parametrize("size", [0.0, 1e-4, 1e4])
def test_head_is_finite(head, size):
    features = torch.full((3, 6), size, requires_grad=True)
    built = build_head(head)
    logits = built(features)
    assert logits.isfinite().all()
    wanted = [features, *built.parameters()]
    assert all(gradient.isfinite().all() for gradient in torch.autograd.grad(logits.sum(), wanted))


@every_head
def test_head_scale_multiplies_the_logits(head):
    built, features = build_head(head), torch.randn(3, 6)
    plain = built(features)
    built.scale.fill_(30.0)
    torch.testing.assert_close(built(features), 30 * plain)


@every_head
def test_renaming_the_classes_renames_the_logits(head):
    built, features = build_head(head), torch.randn(3, 6)
    expected, state = built(features)[:, ORDER], built.state_dict()
    built.load_state_dict({k: v[ORDER] if v.ndim and len(v) == 4 else v for k, v in state.items()})
    torch.testing.assert_close(built(features), expected)


@every_head
def test_head_state_survives_saving(head):
    stored, features = build_head(head), torch.randn(3, 6)
    stored.scale.fill_(20.0)
    other = build_head(head, seed=1)
    other.load_state_dict(stored.state_dict())
    assert torch.equal(other(features), stored(features))


@every_head
def test_head_is_float32_under_autocast(head):
    with torch.autocast("cpu", torch.bfloat16):
        built, features = build_head(head), torch.randn(3, 6).bfloat16()
        inside = built(features)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, built(features.float()))
    assert head.__doc__


@every_recipe
def test_recipe_is_data_with_a_source(build):
    recipe = build(settings.digits_lt())
    assert recipe.name == build.__name__
    assert recipe.source
    assert recipe.departures
    assert all(re.fullmatch(r"[A-Z_a-z].*\.", departure) for departure in recipe.departures)
    assert build.__doc__
    json.dumps(describe(recipe))


def network_of(recipe, classes=4, image_size=8):
    """The recipe's network on the small ResNet, as the loop builds it."""
    torch.manual_seed(0)
    parts = {"head": recipe.head, "wrapper": recipe.backbone, "projection": recipe.projection}
    return models.assemble(CifarResNet(depth=8, width=4), classes=classes, image_size=image_size, **parts)


def entered(model, recipe, stage):
    models.enter(model, head=stage.head, backbone=stage.backbone, fresh_head=recipe.head, image_size=8)
    loss = stage.loss(COUNTS)
    if stage.feature_loss is not None:
        loss.add_module("feature_loss", stage.feature_loss(COUNTS, feature_size=model.representation_size))
    return loss


@every_recipe
def test_recipe_computes_a_finite_gradient_in_every_stage(build):
    recipe, generator = build(settings.digits_lt()), torch.Generator().manual_seed(0)
    model = network_of(recipe)
    images, labels = torch.randn(8, 3, 8, 8, generator=generator), torch.arange(8) % 4
    second = Batch(images.flip(0), labels.flip(0), generator)
    for stage in recipe.stages:
        loss, progress = entered(model, recipe, stage), Progress(1, max(stage.epochs, 2))
        views = (images.flip(3),) * (stage.views - 1)
        given = Batch(images, labels, generator, views, second if stage.companion is not None else None)
        value = stage.step(model, loss, given, progress)
        named = [*model.named_parameters(), *((f"loss.{name}", p) for name, p in loss.named_parameters())]
        gradients = torch.autograd.grad(value, [p for _, p in named], allow_unused=True)
        assert value.shape == ()
        unused = {name for (name, _), gradient in zip(named, gradients, strict=True) if gradient is None}
        assert not unused, "every parameter takes part in the loss"
        assert all(gradient.isfinite().all() for gradient in gradients)
        assert isinstance(getattr(model.head, "inner", model.head), getattr(loss, "requires_head", nn.Module))


@every_recipe
@pytest.mark.parametrize("budget", ["paper", "common"])
@pytest.mark.parametrize("data", settings.NAMED)
def test_recipe_stages_fit_together(build, budget, data):
    setting = replace(settings.NAMED[data](), budget=budget)
    recipe = build(setting)
    model = network_of(recipe)
    for stage in recipe.stages:
        loss = entered(model, recipe, stage)
        names = [*(name for name, _ in model.named_parameters()), *(f"loss.{name}" for name, _ in loss.named_parameters())]
        assert all(any(fnmatchcase(name, pattern) for name in names) for pattern in stage.learning_rates or ())
        assert all(0 <= stage.schedule(Progress(e, stage.epochs)) <= 1 for e in range(stage.epochs))
        for rule in (stage.resample, stage.reweight, stage.companion or stage.resample):
            assert (rule(COUNTS, Progress(stage.epochs - 1, stage.epochs)) > 0).all()
        assert stage.optimizer(model.parameters()).param_groups[0]["lr"] > 0
        assert stage.batch_size <= (setting.largest_batch or stage.batch_size)


COMMON_BUDGET = {"lr": 0.1, "momentum": 0.9, "weight_decay": 2e-4, "nesterov": False}


@every_recipe
def test_the_common_budget_is_the_same_for_every_first_stage(build):
    recipe = build(replace(settings.cifar100_lt(), budget="common"))
    stage = recipe.stages[0]
    options = stage.optimizer([nn.Parameter(torch.zeros(1))]).param_groups[0]
    assert {name: options[name] for name in COMMON_BUDGET} == COMMON_BUDGET
    assert (stage.epochs, stage.batch_size, stage.augment, stage.drop_last) == (200, 64, (), False)
    rates = [stage.schedule(Progress(epoch, 200)) for epoch in (0, 4, 159, 160, 180)]
    assert rates == pytest.approx([0.2, 1, 1, 0.1, 0.01])


def test_every_public_loss_is_covered():
    assert all(takes(loss, "logits") != takes(loss, "features") for loss in ALL)
    assert set(VARIANTS) <= set(losses.__all__)
