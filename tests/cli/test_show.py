"""`longtail show`: the recipe as it would be trained, every value with the path that --set takes for it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from commands import longtail
from longtail import recipes, schedules, settings
from longtail.cli.recipe_lines import Line, gloss_of, rates_in_words
from longtail.cli.recipe_page import sections_of
from longtail.losses import GCLLoss
from longtail.spec.changing import change, look_up
from longtail.spec.description import digest
from longtail.weighting import Progress

UNKNOWN = """
from dataclasses import replace

from torch import nn

from longtail.settings import digits_lt


def narrow():
    return nn.Linear(7, 5)


def odd():
    return replace(digits_lt(), name="odd", backbone=narrow)
"""


def shown(*words):
    said = longtail("show", *words)
    assert said.code == 0, said.err
    return said


def as_json(*words):
    return json.loads(shown(*words, "--json").out)


def rates(schedule, epochs, lr):
    return [lr * schedule(Progress(epoch, epochs)) for epoch in range(epochs)]


def trained(path, runs, *words):
    said = longtail("train", path, *words, "--runs", runs, "--device", "cpu")
    return json.loads((Path(said.folder) / "record.json").read_text())


def paths_of(recipe, setting):
    lines = [line for section, _ in sections_of(setting, recipe).values() for line in section]
    return {line.path: line.value for line in lines if line.path and not line.path.startswith("--")}


@pytest.mark.parametrize("build", recipes.ALL, ids=lambda build: build.__name__)
@pytest.mark.parametrize("budget", ["paper", "common"])
@pytest.mark.parametrize("name", ["digits_lt", "cifar100_lt", "imagenet_lt"])
def test_every_path_is_one_that_set_takes_and_its_value_is_the_recipe_s(build, budget, name):
    setting = replace(settings.NAMED[name](), budget=budget)
    recipe = build(setting)
    paths = paths_of(recipe, setting)
    for path, value in paths.items():
        if path.endswith("learning_rates"):
            assert (look_up(recipe, path) is None) == (value == "every parameter")
        else:
            assert look_up(recipe, path) is value
            same = change(recipe, path, value)
            assert look_up(same, path) == value
            assert path.endswith("nesterov") or digest(same) == digest(recipe), (
                "torch's own defaults are hashed where written out"
            )
    stages = range(len(recipe.stages))
    wanted = ("loss", "resample", "reweight", "step", "epochs", "batch_size", "drop_last", "optimizer.lr", "optimizer.nesterov")
    wanted += ("optimizer.momentum", "optimizer.weight_decay", "schedule", "learning_rates", "batch_norm", "augment", "head")
    missing = {f"stages.{stage}.{field}" for stage in stages for field in wanted} - set(paths)
    of_augmentations = {path for path in missing if path.endswith(".augment")}
    assert missing == of_augmentations, "a whole tuple of augmentations cannot be set; the paths of its members are printed"
    assert all((f"{path}.0" in paths) == bool(look_up(recipe, path)) for path in of_augmentations)
    assert {"head", "inference"} <= set(paths)


def test_a_page_says_what_is_trained_stage_by_stage():
    out = shown("gcl", "cifar100_lt").out
    headings = ("\nData\n", "\nStage 1 of 2\n", "\nStage 2 of 2\n", "\nInference\n")
    data, first, second, rule = (out.index(heading) for heading in headings)
    assert out.startswith("gcl · 2022 · Li, Cheung, Lu, CVPR 2022; Keke921/GCLLoss@c2a6233\nGaussian clouded logits on mixed ")
    paper_s = "cloud=log, sampler=class_based_effective_number, retraining=crt|lws|tau_norm|none, alpha"
    assert f"Variants (--with): {paper_s}, target\n" in out
    for begin, end, words in (
        (data, first, ("setting cifar100_lt", "budget paper --budget", "imbalance 100 --imbalance", "head CosineHead head")),
        (data, first, ("wrapper of the backbone none", "The scale is 30, then 20")),
        (first, second, ("loss GCLLoss stages.0.loss", "scale 30 stages.0.loss.scale", "trained every parameter")),
        (first, second, ("draw of images uniform", "epochs 200 stages.0.epochs", "batch size 64 stages.0.batch_size")),
        (first, second, ("lr 0.1 stages.0.optimizer.lr", "momentum 0.9", "weight_decay 0.0002", "nesterov false")),
        (first, second, ("milestones [0.8, 0.9] stages.0.schedule.schedule.milestones", "alpha 1 stages.0.step.alpha")),
        (first, second, ("0.02 in epoch 1; rising to 0.1 in epoch 5; 0.01 from epoch 161; 0.001 from epoch 181",)),
        (second, rule, ("scale 20 stages.1.loss.scale", "gamma 1 stages.1.loss.gamma", "a 0.999 stages.1.resample.a")),
        (second, rule, ("epochs 30 stages.1.epochs", "head.* 1 stages.1.learning_rates.head.*", "no pattern names is frozen")),
        (second, rule, ("batch norm eval stages.1.batch_norm", "falling to 5.48e-06 in epoch 30", "Second-stage sampler")),
        (rule, len(out), ("rule as_trained inference", "fitted on nothing", "Training costs 1.05 times what cross-entropy")),
        (rule, len(out), ("Next: longtail train cifar100_lt --method gcl",)),
    ):
        text = " ".join(out[begin:end].split())
        assert [word for word in words if word not in text] == []
    assert "Second-stage" not in out[:second]


def test_departures_are_printed_with_their_brackets():
    assert "one sample per logit, clamped to [-1, 1], times noise_mul" in shown("gcl", "cifar10_lt").text


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([0.1], "0.1 from epoch 1"),
        ([0.1, 0.1], "0.1 from epoch 1"),
        (rates(schedules.constant, 3, 0.5), "0.5 from epoch 1"),
        (rates(schedules.steps, 200, 0.1), "0.1 from epoch 1; 0.01 from epoch 161; 0.001 from epoch 181"),
        (rates(schedules.cosine, 30, 0.002), "0.002 in epoch 1; falling to 5.48e-06 in epoch 30"),
        ([0.05, 0.1, 0.08, 0.02, 0.02, 0.0], "0.05 in epoch 1; 0.1 from epoch 2; falling to 0.02 in epoch 4; 0 from epoch 6"),
        ([0.1, 0.3, 0.5, 0.5, 0.05], "0.1 in epoch 1; rising to 0.5 in epoch 3; 0.05 from epoch 5"),
    ],
)
def test_a_learning_rate_in_words(values, said):
    assert rates_in_words(values) == said


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.0, "1"),
        (2e-4, "0.0002"),
        (None, "none"),
        (False, "false"),
        ((0.8, 604 / 1241), "[0.8, 0.486704]"),
        (GCLLoss, "GCLLoss"),
    ],
)
def test_a_value_is_written_as_set_takes_it(value, text):
    assert Line("", value).text == text


def test_a_class_without_a_docstring_has_no_meaning_of_its_base():
    class Bare(GCLLoss):
        pass

    assert gloss_of(Bare) == ""
    assert gloss_of(GCLLoss).startswith("Lowers the rare classes' logits by a random amount")


def test_a_page_as_json():
    page = as_json("gcl", "cifar100_lt")
    assert (page["method"], page["year"], page["cost"], page["fitted_on"]) == ("gcl", 2022, 1.05, None)
    assert page["summary"] == "Gaussian clouded logits on mixed images, then the classifier alone on re-balanced draws."
    assert page["variants"]["retraining"] == ["crt", "lws", "tau_norm", "none"]
    values = page["values"]
    assert (values["stages.0.loss"], values["stages.0.loss.scale"], values["stages.1.loss.scale"]) == ("GCLLoss", 30.0, 20.0)
    assert values["stages.1.learning_rates.head.*"] == 1.0
    assert page["learning_rates_in_words"][1] == "0.002 in epoch 1; falling to 5.48e-06 in epoch 30"
    assert page["recipe"]["stages"][1]["batch_norm"] == "eval"
    stages = recipes.gcl(settings.cifar100_lt()).stages
    assert page["departures"]["stages"] == [list(stage.departures) for stage in stages]


@pytest.mark.parametrize(
    ("method", "data", "cost", "fitted_on"),
    [
        ("ce", "imagenet_lt", 1.0, None),
        ("balanced_softmax", "cifar100_lt", 591 / 200, None),
        ("hybrid_sc", "cifar10_lt", 3.0, None),
        ("balpoe", "cifar100_lt", 317_030_400 / 137_723_904, None),
        ("tau_norm", "cifar10_lt", 1.0, "val"),
        ("ncm", "places_lt", 1.0, "train"),
        ("gala_rebalanced", "cifar100_lt", 1.0, "test"),
    ],
)
def test_what_training_costs_and_what_the_rule_is_fitted_on(method, data, cost, fitted_on):
    page = as_json(method, data)
    assert page["cost"] == pytest.approx(cost, abs=1e-4)
    assert page["fitted_on"] == fitted_on


def test_the_size_of_the_network_is_said_beside_that_of_cross_entropy(tmp_path):
    said = shown("balpoe", "cifar100_lt").text
    assert "The network has 1,342,864 parameters up to its features, that of cross-entropy 463,504; a pass " in said
    assert "takes 2.30 times the arithmetic. Training costs 2.30 times what cross-entropy costs at the same budget" in said
    assert "463,504 parameters up to its features, as that of cross-entropy." in shown("gcl", "cifar100_lt").text
    file = tmp_path / "mine.py"
    file.write_text(UNKNOWN)
    said = shown("ce", f"{file}:odd").text
    assert "The network's size is not known: it cannot be built and run here. Training costs 1.00 times" in said
    assert as_json("ce", f"{file}:odd")["parameters"] is None


def test_options_change_what_is_shown():
    asked = ("--with", "retraining=lws", "--set", "stages.1.optimizer.lr=0.01", "--epochs", 40, "--imbalance", 10)
    page = as_json("gcl", "cifar10_lt", *asked, "--budget", "common", "--backbone", "resnet20")
    values = page["values"]
    assert (values["stages.0.epochs"], values["stages.1.epochs"], values["stages.1.optimizer.lr"]) == (40, 6, 0.01)
    assert values["stages.1.head"] == "ScaledHead"
    setting = page["setting"]
    assert (setting["name"], setting["budget"], setting["backbone"]["depth"]) == ("cifar10_lt_10", "common", 20)
    assert page["cost"] == pytest.approx(1 + 6 / 40 / 3, abs=1e-4), "of 40 epochs of cross-entropy"
    said = shown("gcl", "cifar10_lt", "--with", "cloud=power(exponent=1/3)", "--epochs", 40, "--set", "stages.1.epochs=3")
    next_words = "longtail train cifar10_lt --method gcl --with 'cloud=power(exponent=1/3)' --set stages.1.epochs=3 --epochs 40"
    assert f"Next: {next_words}\n" in said.out


def test_augmentation_symmetry_and_views_are_shown():
    usual, strong = as_json("gala", "cifar100_lt"), as_json("gala", "cifar100_lt", "--augment", "strong", "--symmetry", "square")
    calls = [[part["call"].split(".")[-1] for part in page["setting"]["augment"]] for page in (usual, strong)]
    own = [[part["call"].split(".")[-1] for part in page["recipe"]["stages"][0]["augment"]] for page in (usual, strong)]
    assert calls[0] == ["random_crop", "random_flip"]
    assert calls[1] == ["random_crop", "random_symmetry", "random_rotation", "auto_augment", "cutout"]
    assert own == [["auto_augment", "cutout"], []]
    page = shown("gala", "cifar100_lt", "--augment", "strong", "--symmetry", "square", "--views", 8).text
    assert page.count("auto_augment") == 1
    assert "symmetry square --symmetry" in page
    assert "views in evaluation 8 --views" in page
    assert "Next: longtail train cifar100_lt --method gala --augment strong --symmetry square --views 8" in page


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("gcll", "cifar10_lt"), "There is no method 'gcll'. Did you mean 'gcl'?"),
        (("gcl", "cifar11_lt"), "There is no setting or folder 'cifar11_lt'."),
        (("gcl", "cifar10_lt", "--set", "stages.0.los.scale=1"), "Stage has no 'los'. Did you mean 'loss'?"),
        (("gcl", "cifar10_lt", "--with", "retraning=lws"), "There is no variant of gcl 'retraning'."),
        (("gcl", "cifar10_lt", "--size", "32"), "--size is for folders and CSVs; leave it out for the setting 'cifar10_lt'."),
        (("gcl", "imagenet_lt", "--imbalance", "10"), "takes no --imbalance"),
        (("gcl", "cifar10_lt", "--epochs", "0"), "--epochs must be at least 1; got 0."),
    ],
)
def test_what_cannot_be_trained_is_not_shown(words, sentence):
    assert sentence in longtail("show", *words).sentence
