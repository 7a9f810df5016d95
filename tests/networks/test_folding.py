"""A folded backbone computes what the backbone computes in eval mode."""

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from longtail import recipes, settings
from longtail.engine import building
from longtail.engine.devices import make_compute
from longtail.engine.training import train_stages
from longtail.heads import CosineHead
from longtail.networks.backbones import CifarResNet
from longtail.networks.classifier import Classifier
from longtail.networks.experts import ExpertsBackbone
from longtail.networks.folding import folded, is_frozen
from longtail.networks.timm_backbone import TimmBackbone
from longtail.networks.wrappers import AttentiveBackbone, TwoBranchBackbone
from longtail.runs.run import Run
from longtail.spec.experiment import Experiment

BACKBONES = {
    "cifar": lambda: CifarResNet(depth=8),
    "timm resnet": lambda: TimmBackbone(name="resnet18"),
    "timm mobilenet": lambda: TimmBackbone(name="mobilenetv3_small_050"),
    "no batch norm": lambda: TimmBackbone(name="convnext_atto"),
    "experts": lambda: ExpertsBackbone(CifarResNet(depth=8)),
    "two branches": lambda: TwoBranchBackbone(CifarResNet(depth=8)),
    "not traceable": lambda: AttentiveBackbone(CifarResNet(depth=8), image_size=32),
}


def moved(backbone):
    """The backbone with running statistics that are not the initial ones."""
    torch.manual_seed(0)
    built = backbone()
    with torch.no_grad():
        built.train()(torch.randn(4, 3, 32, 32) * 2 + 1)
    return built


@pytest.mark.parametrize("name", BACKBONES)
def test_folding_changes_no_feature_and_not_the_backbone(name):
    backbone, images = moved(BACKBONES[name]), torch.randn(3, 3, 32, 32)
    before = copy.deepcopy(backbone.state_dict())
    fast = folded(backbone)
    assert backbone.training, "the mode is what it was"
    assert all(torch.equal(before[key], value) for key, value in backbone.state_dict().items())
    with torch.no_grad():
        torch.testing.assert_close(fast.eval()(images), backbone.eval()(images), rtol=1e-4, atol=1e-4)


def test_a_folded_network_has_no_batch_norm_left_and_learns_nothing():
    fast = folded(moved(BACKBONES["cifar"]), dtype=torch.bfloat16)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fast.modules())
    assert is_frozen(fast)
    assert {parameter.dtype for parameter in fast.parameters()} == {torch.bfloat16}


def test_only_a_backbone_that_is_frozen_to_the_last_statistic_is_folded():
    stage = recipes.gcl(settings.digits_lt()).stages[1]
    model = Classifier(moved(BACKBONES["cifar"]), CosineHead(64, 10))
    assert building.fast_network(model, stage, "32-true") is model, "its backbone is trained"
    model.backbone.requires_grad_(False)
    fast = building.fast_network(model, stage, "32-true")
    assert fast.backbone is not model.backbone
    assert fast.head is model.head
    assert building.fast_network(model, replace(stage, batch_norm="train"), "32-true") is model, "its statistics move"


def test_a_folded_second_stage_trains_the_classifier_that_the_plain_one_trains(tmp_path, monkeypatch):
    setting = replace(settings.digits_lt(), epochs=2)
    experiment, compute = Experiment(recipes.gcl(setting), setting, setting.data(Path())), make_compute("cpu", "32-true")
    fast, _ = train_stages(experiment, Run(tmp_path / "fast"), compute)
    monkeypatch.setattr("longtail.engine.training.fast_network", lambda model, stage, precision: model)
    plain, _ = train_stages(experiment, Run(tmp_path / "plain"), compute)
    assert torch.equal(fast.backbone.conv.weight, plain.backbone.conv.weight)
    torch.testing.assert_close(fast.head.weight, plain.head.weight, rtol=1e-4, atol=1e-5)
    assert not torch.equal(fast.head.weight, CosineHead(64, 10).weight)
