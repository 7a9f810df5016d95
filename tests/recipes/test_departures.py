"""Departures from the paper are stated where they belong: at the stage, or at the recipe."""

from dataclasses import replace

import pytest

from longtail import recipes, settings
from longtail.recipes.budget import COMMON, DECOUPLING_BUDGET, GCL_BUDGET, OTHER_DATA, PLACES_BUDGET
from longtail.spec.description import describe, digest
from longtail.spec.recipe import Recipe

SETTINGS = {name: build() for name, build in settings.NAMED.items()}
every_setting = pytest.mark.parametrize("name", SETTINGS)
every_budget = pytest.mark.parametrize("budget", ["paper", "common"])
every_recipe = pytest.mark.parametrize("build", recipes.ALL, ids=lambda build: build.__name__)
LARGE = ("imagenet_lt", "inaturalist2018")


def test_all_departures_are_the_recipe_s_and_then_each_stage_s():
    first, second = recipes.crt(SETTINGS["digits_lt"]).stages
    stages = (replace(first, departures=("B.", "A.")), replace(second, departures=("C.", "B.")))
    assert Recipe("mine", stages, departures=("A.",)).all_departures == ("A.", "B.", "C.")
    assert Recipe("mine", (replace(first, departures=()),)).all_departures == ()


def test_what_is_said_of_a_stage_is_no_part_of_the_experiment():
    stage = recipes.ce(SETTINGS["digits_lt"]).stages[0]
    assert "departures" not in describe(stage)
    assert digest(stage) == digest(replace(stage, departures=("Something else.",)))


@every_recipe
@every_setting
@every_budget
def test_every_sentence_is_said_once_and_what_is_of_the_second_stage_goes_with_it(build, name, budget):
    recipe = build(replace(SETTINGS[name], budget=budget))
    parts = [recipe.departures, *(stage.departures for stage in recipe.stages)]
    said = {note for notes in parts for note in notes}
    assert len(said) == len(recipe.all_departures)
    assert said == set(recipe.all_departures)
    assert not any("second stage" in note or "Second-stage" in note for note in (*recipe.departures, *parts[1]))


@every_recipe
@every_setting
def test_the_common_budget_is_said_of_the_first_stage(build, name):
    recipe = build(replace(SETTINGS[name], budget="common"))
    assert recipe.stages[0].departures.count(COMMON) == 1
    assert all(COMMON not in notes for notes in (recipe.departures, *(stage.departures for stage in recipe.stages[1:])))


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("cifar10_lt", GCL_BUDGET),
        ("cifar100_lt", GCL_BUDGET),
        ("digits_lt", OTHER_DATA),
        ("imagenet_lt", DECOUPLING_BUDGET),
        ("inaturalist2018", DECOUPLING_BUDGET),
        ("places_lt", PLACES_BUDGET),
    ],
)
def test_the_plain_budget_is_said_of_every_stage_that_has_it(name, sentence):
    for build in (recipes.ce, recipes.mixup, recipes.crt, recipes.lws, recipes.tau_norm, recipes.ncm, recipes.mixup_crt):
        assert build(SETTINGS[name]).stages[0].departures[0] == sentence


@every_setting
@every_budget
@pytest.mark.parametrize("retraining", ["none", "tau_norm"])
def test_gcl_without_a_second_stage_leaves_out_what_is_said_of_it_and_nothing_else(retraining, budget, name):
    setting = replace(SETTINGS[name], budget=budget)
    whole, cut = recipes.gcl(setting), recipes.gcl(setting, retraining=retraining)
    first, second = whole.stages
    assert digest(cut.stages) == digest((first,))
    assert cut.stages[0].departures == first.departures
    own = [note for note in cut.departures if not note.startswith("Tau-normalisation acts on the raw features")]
    assert tuple(own) == whole.departures
    assert len(cut.departures) - len(own) == (retraining == "tau_norm")
    assert set(cut.all_departures).isdisjoint(second.departures)


@pytest.mark.parametrize("name", LARGE)
@pytest.mark.parametrize("retraining", ["none", "tau_norm"])
def test_gcl_on_large_data_says_of_each_stage_that_it_was_not_published(retraining, name):
    begin = "No script was published for these data: "
    of_first = (
        f"{begin}the 200 epochs are what the author stated, the loss constants are CIFAR's, "
        "batch and learning rate are the decoupling repository's."
    )
    of_second = f"{begin}the second stage is CIFAR's."
    unpublished = [note for note in recipes.gcl(SETTINGS[name]).all_departures if note.startswith(begin)]
    assert unpublished == [of_first, of_second]
    cut = recipes.gcl(SETTINGS[name], retraining=retraining).all_departures
    assert [note for note in cut if note.startswith(begin)] == [of_first]


@pytest.mark.parametrize("name", ["cifar10_lt", "cifar100_lt"])
def test_gcl_without_a_second_stage_on_cifar(name):
    noise, scale = recipes.gcl(SETTINGS[name], retraining="none").all_departures
    assert noise.startswith("The noise is as in the code: one sample per logit")
    assert scale == "The scale is 30, then 20 (15 on Places-LT) as in the code; the paper has one scale."


def test_gcl_on_places_names_the_bug_of_the_second_stage():
    first, second = recipes.gcl(SETTINGS["places_lt"]).stages
    assert first.departures == ()
    assert second.departures[0].endswith("the code mixes the labels and feeds the images unmixed (a bug).")


def test_lws_of_gcl_adds_a_sentence_to_the_second_stage():
    crt, lws = (recipes.gcl(SETTINGS["cifar10_lt"], retraining=retraining) for retraining in ("crt", "lws"))
    (added,) = set(lws.all_departures) - set(crt.all_departures)
    assert added == lws.stages[1].departures[-1]
    assert added.startswith("LWS trains the scale alone")


def test_a_stage_that_another_method_starts_from_keeps_its_own_sentences_alone():
    gala, mislas = (build(SETTINGS["places_lt"]) for build in (recipes.gala, recipes.mislas))
    assert describe(gala.stages[0]) == describe(mislas.stages[0])
    assert mislas.stages[0].departures == ()
    (downloaded,) = gala.stages[0].departures
    assert downloaded.startswith("The first stage is MiSLAS's")
