"""The contract that every public rule, schedule, head and recipe keeps. A new one is tested as soon as it is public."""

import inspect
import json
import re
from dataclasses import replace
from fnmatch import fnmatchcase

import pytest
import torch
from torch import nn

from longtail import heads, inference, recipes, schedules, settings, weighting
from longtail.data.loaders import Batch
from longtail.heads.base import check_head, class_vectors, innermost
from longtail.inference import Predictions, fitted, reference_of
from longtail.losses.contract import check_contract
from longtail.networks import classifier as models
from longtail.networks.backbones import CifarResNet
from longtail.spec.description import describe
from longtail.spec.parts import restore
from longtail.weighting import Progress

COUNTS, ORDER = [100, 30, 7, 1], torch.tensor([2, 0, 3, 1])


def public(module, first):
    """Functions of `module` whose parameters begin with `first`."""
    functions = [f for name, f in inspect.getmembers(module, inspect.isfunction) if not name.startswith("_")]
    own = [f for f in functions if f.__module__ == module.__name__]
    return [f for f in own if tuple(inspect.signature(f).parameters)[: len(first)] == first]


every_rule = pytest.mark.parametrize("rule", public(weighting, ("class_counts", "progress")))
every_schedule = pytest.mark.parametrize("schedule", public(schedules, ("progress",)))
HEADS = [head for _, head in inspect.getmembers(heads, inspect.isclass) if head is not heads.Head]
every_head = pytest.mark.parametrize("head", HEADS)
every_recipe = pytest.mark.parametrize("build", recipes.ALL)
post_hoc = [f for _, f in inspect.getmembers(inference, inspect.isfunction) if inspect.signature(f).return_annotation == "Scores"]
every_post_hoc_rule = pytest.mark.parametrize("rule", post_hoc)


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
    """The head for 6 features and 4 classes, around a linear head if it wraps one; what it remembers of features is random."""
    torch.manual_seed(seed)
    wraps = next(iter(inspect.signature(head).parameters)) == "head"
    built = (head(heads.LinearHead(6, 4)) if wraps else head(6, 4)).to(dtype)
    for buffer in (buffer for buffer in built.buffers() if buffer.ndim):
        buffer.normal_()
    return built


@every_head
def test_head_keeps_the_contract(head):
    built = build_head(head)
    assert check_head(built) is built
    assert (built.scale.item(), built.scale.dtype) == (1.0, torch.float32)
    assert class_vectors(built).shape == (4, 6)


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


def drawn_predictions(images=12):
    """Predictions of a head whose state holds what every post hoc rule needs."""
    head = build_head(heads.CausalHead)
    features, labels = torch.randn(images, 6), torch.arange(images) % 4
    return Predictions(features, head(features).detach(), labels, torch.tensor(COUNTS, dtype=torch.float64), head.state_dict())


def without_labels(predictions):
    return replace(predictions, labels=torch.full_like(predictions.labels, -1))


@every_post_hoc_rule
def test_post_hoc_rule_gives_scores_without_labels(rule):
    given = drawn_predictions()
    ready = fitted(rule, drawn_predictions())
    scores = ready(given)
    assert (scores.shape, scores.dtype) == (given.logits.shape, given.logits.dtype)
    assert scores.isfinite().all()
    assert torch.equal(ready(without_labels(given)), scores)
    one = replace(given, features=given.features[:1], logits=given.logits[:1], labels=given.labels[:1])
    torch.testing.assert_close(ready(one), scores[:1])


@every_post_hoc_rule
def test_post_hoc_rule_is_pure(rule):
    given = drawn_predictions()
    tensors = {"features": given.features, "logits": given.logits, "labels": given.labels, "counts": given.class_counts}
    tensors |= given.head
    before = {name: tensor.clone() for name, tensor in tensors.items()}
    ready = fitted(rule, given)
    assert torch.equal(ready(given), ready(given))
    assert all(torch.equal(tensor, before[name]) for name, tensor in tensors.items())


@every_post_hoc_rule
def test_post_hoc_rule_is_described_and_what_it_learns_is_stored(rule):
    _, *keywords = inspect.signature(rule).parameters.values()
    assert all(keyword.kind is keyword.KEYWORD_ONLY and keyword.default is not keyword.empty for keyword in keywords)
    assert describe(restore(json.loads(json.dumps(describe(rule))))) == describe(rule)
    split, ready = reference_of(rule), fitted(rule, drawn_predictions())
    assert (split is None) is (ready is rule)
    learned = ready.keywords if split else {}
    json.dumps([value for value in learned.values() if not isinstance(value, torch.Tensor)])
    assert reference_of(ready) is None
    assert rule.__doc__


@pytest.mark.parametrize("rule", [rule for rule in post_hoc if reference_of(rule) == "test"])
def test_a_rule_that_is_fitted_on_the_test_images_does_not_look_at_their_labels(rule):
    given = drawn_predictions()
    assert torch.equal(fitted(rule, without_labels(given))(given), fitted(rule, given)(given))


@every_recipe
def test_recipe_is_data_with_a_source(build):
    recipe = build(settings.digits_lt())
    assert recipe.name == build.__name__
    assert recipe.source
    assert recipe.all_departures
    assert all(re.fullmatch(r"[A-Z_a-z].*\.", departure) for departure in recipe.all_departures)
    assert build.__doc__
    json.dumps(describe(recipe))


def network_of(recipe, classes=4, image_size=8):
    """The recipe's network on the small ResNet, as the loop builds it."""
    torch.manual_seed(0)
    parts = {"head": recipe.head, "backbone_wrapper": recipe.backbone_wrapper, "projection": recipe.projection}
    return models.assemble(CifarResNet(depth=8, width=4), classes=classes, image_size=image_size, **parts)


def entered(model, recipe, stage):
    models.prepare_for_stage(
        model, head=stage.head, backbone_wrapper=stage.backbone_wrapper, fresh_head=recipe.head, image_size=8
    )
    loss = stage.loss(COUNTS)
    if stage.feature_loss is not None:
        loss.add_module("feature_loss", stage.feature_loss(COUNTS, feature_size=model.representation_size))
    check_contract(loss, len(COUNTS))
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
        assert isinstance(innermost(model.head), loss.requires_head or heads.Head)


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
