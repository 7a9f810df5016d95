"""Values of recipes changed at a dotted path: what changes, what is refused; Python and the command line give the same."""

from dataclasses import replace
from functools import partial

import pytest
from test_recipe import GCL
from torch.optim import LBFGS, AdamW

from longtail import inference, recipes, settings, steps, weighting
from longtail.errors import UserError
from longtail.losses import clouds
from longtail.schedules import half_cosine
from longtail.spec.changing import change, checked
from longtail.spec.description import describe, digest
from longtail.spec.parsing import parse_value
from longtail.weighting import deferred, effective_number


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("stages.0.loss.scale", 20.0),
        ("stages.0.loss.cloud", clouds.power),
        ("stages.1.epochs", 31),
        ("stages.1.resample", weighting.power),
        ("stages.1.resample.a", 0.9999),
        ("stages.0.optimizer.lr", 0.2),
        ("stages.0.schedule.schedule.factor", 0.01),
        ("stages.0.step.alpha", 0.2),
        ("stages.0.drop_last", True),
        ("inference", inference.nearest_class_mean),
        ("name", "mine"),
    ],
)
def test_change_replaces_one_value_and_the_digest(path, value):
    before = digest(GCL)
    changed = change(GCL, path, value)
    assert digest(changed) != before == digest(GCL)
    found = describe(changed)
    for step in path.split("."):
        found = found[int(step) if step.isdigit() else step]
    assert found == describe(value)


@pytest.mark.parametrize("same", [30.0, 30])
def test_a_value_that_is_there_already_changes_nothing(same):
    assert digest(change(GCL, "stages.0.loss.scale", same)) == digest(GCL)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        (
            "stages.0.loss.maxmargin",
            r"GCLLoss has no 'maxmargin'\. Did you mean 'margin'\? It has scale, margin, noise_mul, gamma",
        ),
        ("stages.0.los.scale", r"Stage has no 'los'\. Did you mean 'loss'\? It has loss, epochs, batch_size"),
        ("stage", r"Recipe has no 'stage'\. Did you mean 'stages'\? It has name, stages, head, inference"),
        ("stages.2.epochs", r"There is no entry '2' in a list whose entries are 0, 1\."),
        ("stages.0.resample.beta", "uniform has no 'beta'"),
        ("stages.0.epochs.x", r"int has no 'x'\. It has nothing to change"),
    ],
)
def test_a_misspelt_path_says_what_exists(path, said):
    with pytest.raises(ValueError, match=said):
        change(GCL, path, 1)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("stages.0.epochs", "many", "'epochs' is 200 and cannot become 'many'"),
        ("stages.0.epochs", 2.5, "'epochs' is 200 and cannot become 2.5"),
        ("stages.0.epochs", 0, "'epochs' must be at least 1; got 0"),
        ("stages.0.epochs", True, "cannot become True"),
        ("stages.0.drop_last", 1, "'drop_last' is False and cannot become 1"),
        ("stages.0.loss", 3, "'loss' is longtail.losses.GCLLoss and cannot become 3"),
        ("name", 3, "'name' is 'gcl' and cannot become 3"),
        ("stages.1.batch_norm", "evl", "train"),
        ("stages.1.head", "rest", "reset"),
    ],
)
def test_a_value_of_another_kind_is_refused(path, value, said):
    with pytest.raises(ValueError, match=said):
        change(GCL, path, value)


def test_checked_turns_json_lists_into_tuples():
    assert checked([0.5, 0.75], (0.8, 0.9), "milestones") == (0.5, 0.75)
    assert change(GCL, "stages.0.schedule.schedule.milestones", [0.5]).stages[0].schedule.keywords["schedule"].keywords == {
        "milestones": (0.5,)
    }


def test_a_change_beside_an_argument_without_a_name_does_not_drop_it():
    stage = replace(recipes.ce(settings.digits_lt()).stages[0], step=partial(steps.mixup, 0.4))
    with pytest.raises(UserError, match="arguments without a name"):
        describe(change(stage, "step.alpha", 0.2))


def test_a_function_from_python_is_the_same_experiment_as_one_from_the_command_line():
    recipe = recipes.ce(settings.digits_lt())
    given = change(recipe, "stages.0.schedule", partial(half_cosine, warm=0))
    typed = change(recipe, "stages.0.schedule", parse_value("half_cosine(warm=0)", recipe.stages[0].schedule))
    assert digest(given) == digest(typed) != digest(recipe)
    given = change(recipe, "stages.0.reweight", partial(deferred, rule=partial(effective_number, beta=0), start=0))
    typed = parse_value("deferred(rule=effective_number(beta=0), start=0)", recipe.stages[0].reweight)
    assert digest(given) == digest(change(recipe, "stages.0.reweight", typed))
    given = change(recipe, "stages.0.optimizer", partial(AdamW, betas=(0, 1)))
    typed = parse_value("AdamW(betas=(0, 1))", recipe.stages[0].optimizer)
    assert digest(given) == digest(change(recipe, "stages.0.optimizer", typed))


def test_a_keyword_that_torch_declares_as_a_float_takes_one_though_its_default_is_whole():
    recipe = change(recipes.ce(settings.digits_lt()), "stages.0.optimizer", partial(AdamW, lr=0.1, weight_decay=0))
    changed = change(change(recipe, "stages.0.optimizer.weight_decay", 0.25), "stages.0.optimizer.lr", 1)
    assert changed.stages[0].optimizer.keywords == {"lr": 1.0, "weight_decay": 0.25}
    rates = change(change(recipe, "stages.0.optimizer", partial(LBFGS, lr=1)), "stages.0.optimizer.lr", 0.5)
    assert rates.stages[0].optimizer.keywords == {"lr": 0.5}
