"""Recipes as data: described, restored, hashed, and refused where they cannot be trained or kept."""

import json
import re
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from torchvision.transforms.v2 import ColorJitter

from longtail import recipes, settings, steps, weighting
from longtail.errors import UserError
from longtail.losses import CrossEntropyLoss, FocalLoss, clouds
from longtail.spec.description import describe, digest, parameters_of
from longtail.spec.experiment import Experiment
from longtail.spec.parts import restore
from longtail.weighting import Progress
from reference.formulas import agrees

SETTING = settings.cifar100_lt()
GCL = recipes.gcl(SETTING)


@pytest.mark.parametrize("build", recipes.ALL, ids=lambda build: build.__name__)
def test_describe_is_json_and_restores(build):
    for stage in build(SETTING).stages:
        for part in (stage.loss, stage.optimizer, stage.schedule, stage.resample, stage.reweight, stage.step):
            described = json.loads(json.dumps(describe(part)))
            assert describe(restore(described)) == described
    whole = build(SETTING)
    assert json.loads(json.dumps(describe(whole))) == describe(whole)
    assert describe(restore(describe(whole.inference))) == describe(whole.inference)


def test_describe_names_every_hyper_parameter():
    first = describe(GCL)["stages"][0]
    assert first["loss"] == {
        "call": "longtail.losses.GCLLoss",
        "scale": 30.0,
        "margin": 0.0,
        "noise_mul": 0.5,
        "gamma": 0.0,
        "cloud": {"call": "longtail.losses.clouds.log"},
    }
    assert first["step"] == {"call": "longtail.steps.mixup", "alpha": 1.0}
    assert describe(weighting.uniform) == {"call": "longtail.weighting.uniform"}


def test_describe_leaves_prose_out():
    assert set(describe(GCL)) == {"name", "stages", "head", "inference", "backbone", "projection"}


def test_a_restored_rule_computes_the_same():
    rule = partial(weighting.deferred, rule=partial(weighting.power, exponent=-0.5), start=0.5)
    again = restore(json.loads(json.dumps(describe(rule))))
    assert again([100, 25], Progress(9, 10)).tolist() == rule([100, 25], Progress(9, 10)).tolist() == [0.1, 0.2]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("os.system", "'os.system' is not part of longtail"),
        ("longtailed.losses.GCLLoss", "is not part of longtail"),
        ("torch.load", "is not part of longtail"),
        ("longtail.losses.cross_entropy.GoneLoss", "does not exist in this version"),
        ("longtail.losses.gone.GoneLoss", "does not exist in this version"),
    ],
)
def test_restore_refuses_what_is_not_ours(name, said):
    with pytest.raises(ValueError, match=said):
        restore({"call": name})


def test_digest_is_stable():
    assert digest(GCL, SETTING) == digest(recipes.gcl(settings.cifar100_lt()), settings.cifar100_lt())
    assert len(digest(GCL)) == 64
    assert digest(partial(FocalLoss, gamma=1.0)) == digest(FocalLoss), "a default written out is the same experiment"


def test_where_the_files_come_from_is_not_part_of_the_experiment():
    assert "download" in parameters_of(settings.cifar10_lt().data)
    assert "root" not in describe(settings.cifar10_lt())["data"]


def rate(stage, epoch):
    return stage.optimizer.keywords["lr"] * stage.schedule(Progress(epoch, stage.epochs))


def test_gcl_has_the_constants_of_the_scripts():
    first, second = GCL.stages
    assert agrees([rate(first, epoch) for epoch in (0, 4, 159, 160, 180)], ".02 .1 .1 .01 .001")
    assert agrees([rate(second, epoch) for epoch in (0, 10, 15, 29)], ".002 .0015 .001 5.4781e-06")
    assert (first.epochs, second.epochs, first.batch_size, second.batch_size) == (200, 30, 64, 64)
    assert second.loss.keywords == {"scale": 20.0, "margin": 0.1, "gamma": 1.0, "noise_mul": 0.5, "cloud": clouds.log}
    assert (second.batch_norm, second.head, second.learning_rates) == ("eval", "keep", {"head.*": 1.0})


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"loss": None}, "'loss' must be a function; got None"),
        ({"resample": None}, "'resample' must be a function; got None"),
        ({"start": 3}, "'start' must be a function; got 3"),
        ({"epochs": 0}, "'epochs' must be a whole number of at least 1; got 0"),
        ({"views": 0}, "'views' must be a whole number of at least 1; got 0"),
        ({"batch_size": 2.5}, "'batch_size' must be a whole number of at least 1; got 2.5"),
        ({"learning_rates": 3}, "'learning_rates' must map patterns of parameter names to factors; got 3"),
        ({"learning_rates": {"*": "a"}}, "'learning_rates' must map patterns of parameter names to factors"),
        ({"augment": (3,)}, "'augment' must be a tuple of functions; got (3,)"),
    ],
    ids=str,
)
def test_a_stage_that_cannot_be_trained_is_refused(wrong, said):
    with pytest.raises(UserError, match=re.escape(said)):
        replace(recipes.ce(settings.digits_lt()).stages[0], **wrong)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"stages": ()}, "The recipe 'ce' needs a tuple of at least one Stage as `stages`; got ()"),
        ({"head": None}, "'head' must be a function; got None"),
        ({"inference": "tau"}, "'inference' must be a function; got 'tau'"),
        ({"projection": 3}, "'projection' must be a function; got 3"),
        *(({"name": name}, f"as a folder is named by it; got {name!r}") for name in ("", "..", ".", "../x", "/tmp/x", "a b", 3)),
    ],
    ids=str,
)
def test_a_recipe_that_cannot_be_trained_or_kept_is_refused(wrong, said):
    with pytest.raises(UserError, match=re.escape(said)):
        replace(recipes.ce(settings.digits_lt()), **wrong)
    if "name" in wrong:
        with pytest.raises(UserError, match=re.escape(said)):
            replace(settings.digits_lt(), **wrong)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"views": 4}, "`views` must be 1 (each image)"),
        ({"augmentation": "more"}, "`augment` must be one of none, light, standard, strong; got 'more'."),
        ({"symmetry": "cube"}, "`symmetry` must be one of none, mirror, square; got 'cube'."),
    ],
    ids=str,
)
def test_a_setting_with_an_unknown_name_is_refused(wrong, said):
    with pytest.raises(UserError, match=re.escape(said)):
        replace(settings.digits_lt(), **wrong)


LATER = {"augmentation": "strong", "symmetry": "square", "views": 8}


@pytest.mark.parametrize("name", LATER)
def test_fields_that_were_added_later_change_the_digest_only_where_they_are_set(name):
    description = describe(SETTING)
    assert not description.keys() & LATER.keys()
    changed = replace(SETTING, **{name: LATER[name]})
    assert describe(changed) == {**description, name: LATER[name]}
    assert digest(changed) != digest(SETTING)


def test_views_do_not_change_what_is_trained_unless_epochs_are_judged_with_them():
    data, recipe = settings.digits_lt().data(Path()), recipes.crt(settings.digits_lt())

    def keys(protocol, views):
        experiment = Experiment(recipe, replace(settings.digits_lt(), views=views), data, protocol=protocol)
        return experiment.key(), experiment.key(1), experiment.key(2)

    (one, *one_stages), (eight, *eight_stages) = keys("clean", 1), keys("clean", 8)
    assert (one == eight, one_stages == eight_stages) == (False, True)
    assert not set(keys("paper", 1)) & set(keys("paper", 8))


def test_a_part_without_a_name_of_its_own_has_no_description():
    with pytest.raises(UserError, match=r"<lambda>' is defined inside a function, so that its name does not say what it does"):
        describe(replace(recipes.ce(settings.digits_lt()), inference=lambda predictions: predictions.logits))


class Factor:
    """An object with a method that a user may take for a function."""

    def __init__(self, factor):
        self.factor = factor

    def step(self, model, loss, batch, progress):
        return self.factor * loss(model(batch.images), batch.labels)


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (partial(steps.mixup, 0.4), "arguments without a name.*pass them as keywords"),
        (Factor(0.1).step, "is the method of an object"),
        (ColorJitter(0.1), "An object of ColorJitter has no name that says what it does.*write a function that calls it"),
    ],
)
def test_what_a_description_would_not_hold_is_refused(step, said):
    recipe = recipes.ce(settings.digits_lt())
    with pytest.raises(UserError, match=said):
        describe(replace(recipe, stages=(replace(recipe.stages[0], step=step),)))


def softened(class_counts, *, smoothing=0.1):
    """A loss of a user's own, whose default is not that of the package's keyword of the same name."""


def test_a_keyword_that_was_added_later_is_described_where_the_default_is_another():
    assert len({digest(partial(softened, smoothing=value)) for value in (0.0, 0.1, 0.2)}) == 3
    assert digest(partial(softened, smoothing=0.1)) == digest(softened)
    assert digest(partial(CrossEntropyLoss, smoothing=0.0)) == digest(CrossEntropyLoss)
    assert "smoothing" not in describe(CrossEntropyLoss)


def test_stages_are_shared_by_rules_unless_they_hold_what_a_rule_measured(tmp_path):
    """Under the paper protocol the epochs of a last stage are evaluated with the recipe's rule on the test images."""
    setting = settings.digits_lt()
    data = setting.data(tmp_path)
    methods = (recipes.ce, recipes.logit_adjusted_post_hoc, recipes.ncm)
    keys = {p: [Experiment(method(setting), setting, data, protocol=p).key(1) for method in methods] for p in ("clean", "paper")}
    assert len(set(keys["clean"])) == 1
    assert len(set(keys["paper"])) == 3
    first = [Experiment(method(setting), setting, data, protocol="paper").key(1) for method in (recipes.ce, recipes.crt)]
    assert first[0] == first[1], "a first stage of two is evaluated as it is"
