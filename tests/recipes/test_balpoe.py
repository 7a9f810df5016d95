"""BalPoE as a recipe: its parts, its variants, what is refused before training, and a short run from training to prediction."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import longtail
from commands import longtail as command
from longtail import recipes, settings
from longtail.heads import ExpertsHead
from longtail.losses import ExpertsLoss
from longtail.networks import CifarResNet, ExpertsBackbone
from longtail.spec.description import describe, digest

DIGITS = ("digits_lt", "--method", "balpoe", "--device", "cpu", "--epochs", "2")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    runs = tmp_path_factory.mktemp("experts")
    return longtail.train("digits_lt", method="balpoe", epochs=2, runs=runs, device="cpu")


def test_its_parts():
    recipe = recipes.balpoe(settings.cifar100_lt())
    (stage,) = recipe.stages
    assert describe(stage.loss) == {"call": "longtail.losses.ExpertsLoss", "tau": [0.0, 1.0, 2.0], "scale": 30.0}
    assert describe(stage.step) == {"call": "longtail.steps.mixup_experts", "alpha": 0.4}
    assert describe(recipe.head) == {"call": "longtail.heads.ExpertsHead", "experts": 3}
    assert (stage.batch_size, stage.epochs) == (128, 200)
    optimizer = {"lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4, "nesterov": True}
    assert {name: describe(stage.optimizer)[name] for name in optimizer} == optimizer


def test_as_many_experts_as_exponents():
    recipe = recipes.balpoe(settings.cifar100_lt(), tau=(0, 2), alpha=0.2)
    assert recipe.stages[0].loss.keywords["tau"] == (0.0, 2.0)
    assert (recipe.head.keywords, recipe.backbone_wrapper.keywords["experts"]) == ({"experts": 2}, 2)
    same = recipes.balpoe(settings.cifar100_lt(), tau=(0, 1, 2))
    assert digest(same) == digest(recipes.balpoe(settings.cifar100_lt()))


def test_experts_of_a_pretrained_network_start_as_copies():
    drawn, named = settings.cifar100_lt(), settings.places_lt()
    for setting, start in ((drawn, "drawn"), (replace(drawn, weights="0123"), "copied"), (named, "copied")):
        assert recipes.balpoe(setting).backbone_wrapper.keywords["start"] == start


def test_what_differs_from_the_paper_is_said_where_it_does():
    def said(setting):
        return " ".join(recipes.balpoe(setting).all_departures)

    assert "CIFAR-100's own" in said(settings.cifar100_lt())
    assert "CIFAR-100's own" not in said(settings.cifar10_lt())
    assert "last group" in said(settings.imagenet_lt())
    assert "last group" not in said(settings.cifar100_lt())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--with", "tau=0,1,3"), "must have mean 1, or the mean of the experts' logits would be right for another prior"),
        (("--with", "tau=0,1,x"), "'0,1,x' is no list of numbers; write them with commas alone, as 0,1,2."),
        (("--with", "tau=[]"), "must hold one finite number for each expert"),
        (("--set", "stages.0.loss.tau=0,3"), "must have mean 1"),
        (("--backbone", "vit_tiny_patch16_224"), "'vit_tiny_patch16_224' has no residual blocks"),
    ],
)
def test_what_cannot_be_trained_is_refused_before(words, said, tmp_path):
    assert said in command("train", *DIGITS, *words, "--runs", tmp_path).sentence
    assert list(tmp_path.rglob("*.ckpt")) == []
    assert list(tmp_path.rglob("log.jsonl")) == []


def test_a_short_run_is_stored_read_back_and_predicts_as_it_was_evaluated(trained):
    config = json.loads((trained.folder / "model" / "config.json").read_text())["longtail"]
    wrapper = {"call": "longtail.networks.ExpertsBackbone", "experts": 3, "start": "drawn"}
    assert (config["wrapper"], config["head"]) == (wrapper, {"call": "longtail.heads.ExpertsHead", "experts": 3})
    predictor = longtail.load(trained.folder)
    assert isinstance(predictor.model.backbone, ExpertsBackbone)
    assert isinstance(predictor.model.head, ExpertsHead)
    assert predictor.model.head.scale.item() == 30
    test = settings.digits_lt().data(Path()).test
    scores = predictor.scores(test.pixels)
    right = (scores.argmax(1) == torch.from_numpy(test.labels)).float().mean().item()
    assert right == pytest.approx(trained.report.test.accuracy, abs=2 / len(test.labels))
    prediction = predictor.predict(test.pixels[0])
    assert prediction.probability == pytest.approx(scores[0].softmax(0).max().item(), abs=1e-5)
    assert prediction.label == predictor.classes[int(scores[0].argmax())]


def test_experts_on_a_network_of_timm_s_are_stored_and_read_back(tmp_path):
    pytest.importorskip("timm")
    options = {"backbone": "test_resnet", "variants": {"tau": "0.5,1.5"}, "device": "cpu"}
    result = longtail.train("digits_lt", method="balpoe", epochs=1, runs=tmp_path, **options)
    predictor, test = longtail.load(result.folder), settings.digits_lt().data(Path()).test
    assert len(predictor.model.backbone.experts) == 2
    right = (predictor.scores(test.pixels).argmax(1) == torch.from_numpy(test.labels)).float().mean().item()
    assert right == pytest.approx(result.report.test.accuracy, abs=2 / len(test.labels))


def test_the_scores_are_the_mean_of_the_experts_logits(trained):
    predictor = longtail.load(trained.folder)
    pixels = settings.digits_lt().data(Path()).test.pixels[:5]
    seen = []
    predictor.model.head.register_forward_pre_hook(lambda head, given: seen.append(given[0]))
    scores = predictor.scores(pixels)
    each = predictor.model.head.expert_logits(seen[0])
    assert each.shape == (5, 3, 10)
    assert each.abs().max() <= 30
    torch.testing.assert_close(each.mean(1), scores)


def test_the_experts_have_learnt_different_priors(trained):
    """On test images, where all classes are equally frequent, a larger exponent gives rare classes more of the probability."""
    predictor, data = longtail.load(trained.folder), settings.digits_lt().data(Path())
    rare = torch.as_tensor(data.class_counts).argsort()[:3]
    seen = []
    predictor.model.head.register_forward_pre_hook(lambda head, given: seen.append(given[0]))
    predictor.scores(data.test.pixels)
    each = predictor.model.head.expert_logits(seen[0]).softmax(2)[:, :, rare].sum(2).mean(0)
    assert each[0] < each[1] < each[2]


def test_a_run_from_weights_starts_every_expert_with_them(tmp_path):
    torch.manual_seed(3)
    plain = CifarResNet(depth=8)
    save_file(plain.state_dict(), tmp_path / "plain.safetensors")
    options = {
        "weights": tmp_path / "plain.safetensors",
        "changes": {"stages.0.optimizer.lr": "0", "stages.0.optimizer.weight_decay": "0"},
    }
    result = longtail.train("digits_lt", method="balpoe", epochs=1, runs=tmp_path / "runs", device="cpu", **options)
    stored = load_file(result.folder / "model" / "model.safetensors")
    for expert in range(3):
        assert torch.equal(stored[f"backbone.experts.{expert}.1.0.conv1.weight"], plain.groups[1][0].conv1.weight)
        assert torch.equal(stored[f"backbone.experts.{expert}.2.0.conv2.weight"], plain.groups[2][0].conv2.weight)
    assert torch.equal(stored["backbone.trunk.groups.0.0.conv1.weight"], plain.groups[0][0].conv1.weight)


def test_exponents_are_written_with_commas_on_the_command_line():
    page = json.loads(command("show", "balpoe", "cifar100_lt", "--with", "tau=0.5,1.5", "--json").out)
    assert page["values"]["stages.0.loss.tau"] == [0.5, 1.5]
    assert page["values"]["head.experts"] == 2
    assert page["parameters"] == 463_504 + 439_680


def test_a_loss_for_other_experts_than_the_head_has_is_refused(tmp_path):
    said = command("train", *DIGITS, "--set", "stages.0.loss.tau=0.5,1.5", "--runs", tmp_path).sentence
    assert "ExpertsLoss needs `logits` of shape (B, 2, 10)" in said


def test_the_head_that_the_loss_needs():
    assert ExpertsLoss.requires_head is ExpertsHead
