"""A budget becomes a stage: values that the budget leaves open are the setting's, values that it fixes are the method's."""

from dataclasses import replace
from functools import partial

import pytest

from longtail import recipes, schedules, settings
from longtail.data.autoaugment import auto_augment
from longtail.data.transforms import cutout, random_grayscale
from longtail.errors import UserError
from longtail.losses import CrossEntropyLoss, FocalLoss
from longtail.recipes import Budget, first_stage, own_budget, second_stage
from longtail.recipes.budget import COMMON, COMMON_128, STEPS, THIRDS, asked_or_published
from longtail.spec.description import digest
from longtail.spec.recipe import with_augmentation
from longtail.weighting import power

SETTING = replace(settings.cifar100_lt(), epochs=100, batch_size=32, learning_rate=0.3, weight_decay=1e-3)
OWN = Budget(
    epochs=70,
    batch_size=128,
    lr=0.2,
    weight_decay=5e-4,
    nesterov=True,
    drop_last=True,
    schedule=schedules.cosine,
    augment=(cutout,),
)


def fixed(stage):
    return stage.optimizer.keywords


def test_a_first_stage_without_a_budget_is_the_setting_s():
    stage = first_stage(SETTING)
    assert (stage.epochs, stage.batch_size, stage.drop_last, stage.augment) == (100, 32, False, ())
    assert (stage.loss, stage.schedule, stage.learning_rates) == (CrossEntropyLoss, STEPS, None)
    assert fixed(stage) == {"lr": 0.3, "momentum": 0.9, "weight_decay": 1e-3}
    assert digest(first_stage(SETTING, Budget())) == digest(stage)


def test_a_first_stage_at_the_method_s_budget():
    stage = first_stage(SETTING, OWN, loss=FocalLoss, departures=("A.",))
    assert (stage.epochs, stage.batch_size, stage.drop_last, stage.augment) == (70, 128, True, (cutout,))
    assert (stage.loss, stage.schedule, stage.departures) == (FocalLoss, schedules.cosine, ("A.",))
    assert fixed(stage) == {"lr": 0.2, "momentum": 0.9, "weight_decay": 5e-4, "nesterov": True}


def test_the_common_budget_replaces_the_method_s_in_the_first_stage_alone():
    common = replace(SETTING, budget="common")
    first = first_stage(common, OWN)
    assert (first.epochs, first.batch_size, fixed(first)["lr"], first.augment) == (100, 32, 0.3, ())
    second = second_stage(common, first, OWN)
    assert (second.epochs, second.batch_size, fixed(second)["lr"], second.augment) == (70, 128, 0.2, (cutout,))


def test_the_common_budget_with_batch_128_says_so_and_is_limited_as_others_are():
    first = first_stage(replace(SETTING, budget="common-128"), OWN)
    assert (first.epochs, first.batch_size, fixed(first)["lr"], first.augment) == (100, 128, 0.1, ())
    assert second_stage(replace(SETTING, budget="common-128"), first).batch_size == 128
    limited = first_stage(replace(SETTING, budget="common-128", largest_batch=64), OWN)
    assert (limited.batch_size, fixed(limited)["lr"]) == (64, 0.05)
    assert own_budget(replace(SETTING, budget="common-128"), {}) == (Budget(), (COMMON_128,))


def test_a_second_stage_without_a_budget():
    first = first_stage(SETTING, OWN)
    stage = second_stage(SETTING, first, resample=power)
    assert (stage.epochs, stage.batch_size, stage.schedule, stage.resample) == (10, 128, THIRDS, power), "15 % of 70"
    assert (stage.learning_rates, fixed(stage)["lr"], fixed(stage)["weight_decay"]) == ({"head.*": 1.0}, 0.3, 1e-3)
    assert second_stage(SETTING, first, learning_rates={"head.class_scale": 1.0}).learning_rates == {"head.class_scale": 1.0}


@pytest.mark.parametrize(("budget", "epochs"), [(Budget(share=0.5), 35), (Budget(share=1 / 1000), 1), (Budget(epochs=3), 3)])
def test_the_epochs_of_a_second_stage(budget, epochs):
    assert second_stage(SETTING, first_stage(SETTING, OWN), budget).epochs == epochs


@pytest.mark.parametrize(("largest", "batch_size", "lr"), [(None, 128, 0.2), (200, 128, 0.2), (64, 64, 0.1), (32, 32, 0.05)])
def test_a_batch_that_the_data_cannot_fill_shrinks_and_the_learning_rate_with_it(largest, batch_size, lr):
    stage = first_stage(replace(SETTING, largest_batch=largest), OWN)
    assert (stage.batch_size, fixed(stage)["lr"]) == (batch_size, pytest.approx(lr))


def test_epochs_carry_over_between_imbalances_and_not_between_data():
    values = {("cifar100", 100): OWN, ("cifar100", 10): replace(OWN, epochs=80)}
    assert own_budget(SETTING, values) == (OWN, ())
    near, said = own_budget(replace(SETTING, imbalance=20), values)
    assert (near.epochs, said) == (80, ("Not published for this setting: the values are those of cifar100 at imbalance 10.",))
    other, said = own_budget(replace(SETTING, benchmark=""), values)
    assert other == replace(OWN, epochs=None)
    assert said == (
        "Not published for this setting: the values are those of cifar100 at imbalance 100.",
        "The number of epochs is the setting's.",
    )
    assert own_budget(replace(SETTING, budget="common"), values) == (Budget(), (COMMON,))


def test_a_value_that_was_asked_for_is_no_departure():
    values = {("imagenet_lt", None): 3.0}
    assert asked_or_published(SETTING, 0.0, values) == (0.0, ())
    said = ("Not published for this setting: the values are those of imagenet_lt.",)
    assert asked_or_published(SETTING, None, values) == (3.0, said)


def test_batch_and_weight_decay_of_a_second_stage_stay_with_their_data():
    imagenet, digits = (recipes.crt(settings.NAMED[name]()).stages[1] for name in ("imagenet_lt", "digits_lt"))
    assert (imagenet.batch_size, fixed(imagenet)["weight_decay"], imagenet.epochs) == (512, 5e-4, 10)
    assert (digits.batch_size, fixed(digits)["weight_decay"], digits.epochs) == (32, 2e-4, 9)
    disalign = recipes.disalign(settings.digits_lt()).stages[1]
    assert (disalign.batch_size, fixed(disalign)["weight_decay"], disalign.epochs) == (32, 2e-4, 7), "published for ImageNet-LT"


def test_a_form_that_does_not_exist_is_refused():
    with pytest.raises(UserError, match=r"There is no form 'papr'\. Did you mean 'paper'"):
        recipes.oltr(SETTING, form="papr")


@pytest.mark.parametrize("build", [recipes.gala, recipes.gala_rebalanced, recipes.balanced_softmax])
@pytest.mark.parametrize("symmetry", ["none", "mirror", "square"])
def test_a_strong_augmentation_is_not_applied_twice(build, symmetry):
    usual, strong = SETTING, with_augmentation(SETTING, "strong", symmetry)
    assert strong.augment[-2:] == build(usual).stages[0].augment == (auto_augment, cutout)
    assert build(strong).stages[0].augment == ()
    assert build(with_augmentation(SETTING, "light", symmetry)).stages[0].augment == (auto_augment, cutout)


def test_what_the_setting_lacks_stays_with_the_stage():
    setting = replace(SETTING, augment=(partial(cutout, share=0.2),))
    own = replace(OWN, augment=(random_grayscale, cutout))
    assert first_stage(setting, own).augment == second_stage(setting, first_stage(setting), own).augment == (random_grayscale,)
    assert recipes.hybrid_sc(with_augmentation(SETTING, "strong", None)).stages[0].augment == (random_grayscale,)


@pytest.mark.parametrize("budget", ["paper", "common"])
def test_gala_says_whose_auto_augment_it_trains_with(budget):
    strong = with_augmentation(replace(SETTING, budget=budget), "strong", None)
    said = "AutoAugment and Cutout, with which GALA was published, are those of the setting."
    assert said in recipes.gala(strong).all_departures
    assert said not in recipes.gala(replace(SETTING, budget=budget)).all_departures
