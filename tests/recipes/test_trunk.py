"""On Places-LT GCL, MiSLAS and GALA train a new last block on a frozen pretrained trunk, as published."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torchvision.models.resnet import Bottleneck

import longtail
from longtail import recipes, settings
from longtail.networks import CifarResNet, FrozenTrunk, TimmBackbone
from longtail.recipes.trunk import BLOCK, WHOLE_NETWORK
from longtail.spec.cost import stage_sizes

PLACES = settings.places_lt()
every_method = pytest.mark.parametrize("build", [recipes.gcl, recipes.gcl_angular, recipes.mislas, recipes.gala])


@every_method
def test_the_trunk_is_frozen_where_a_pretrained_resnet_is_used(build):
    recipe = build(PLACES)
    assert recipe.backbone_wrapper is FrozenTrunk
    assert recipe.stages[0].learning_rates == BLOCK
    assert WHOLE_NETWORK not in recipe.all_departures
    of_file = build(replace(settings.places_lt(pretrained=False), weights="0123"))
    assert of_file.backbone_wrapper is FrozenTrunk


@every_method
@pytest.mark.parametrize(
    "setting",
    [
        settings.places_lt(pretrained=False),
        replace(PLACES, budget="common"),
        replace(PLACES, budget="fine-tuning"),
        settings.places_lt(backbone="vit_tiny_patch16_224"),
    ],
    ids=["random", "common", "fine-tuning", "transformer"],
)
def test_else_the_whole_network_is_trained_and_that_is_said(build, setting):
    recipe = build(setting)
    assert recipe.backbone_wrapper is None
    assert "backbone.block.*" not in (recipe.stages[0].learning_rates or {})
    assert WHOLE_NETWORK in recipe.stages[0].departures


def test_other_data_and_methods_train_the_whole_network():
    pretrained = settings.imagenet_lt(pretrained=True)
    for recipe in (recipes.gcl(pretrained), recipes.mislas(pretrained), recipes.crt(PLACES), recipes.ce(PLACES)):
        assert recipe.backbone_wrapper is None
        assert WHOLE_NETWORK not in recipe.all_departures


def test_the_new_block_is_a_bottleneck_with_torch_s_usual_weights():
    """Of ResNet-152, the third block of the last group: 2048 -> 512 -> 512 -> 2048 without a shortcut of its own."""
    torch.manual_seed(0)
    wrapped = FrozenTrunk(TimmBackbone(name="resnet152"))
    theirs = Bottleneck(2048, 512)
    ours = {name: tensor.shape for name, tensor in wrapped.block.state_dict().items()}
    assert ours == {name: tensor.shape for name, tensor in theirs.state_dict().items()}
    for name, weight in wrapped.block.named_parameters():
        if weight.ndim == 4:
            bound = (1 / weight[0].numel()) ** 0.5  # U(-bound, bound), torch's default
            assert weight.abs().max().item() == pytest.approx(bound, rel=0.01), name
        else:
            assert torch.equal(weight, torch.ones_like(weight) if name.endswith("weight") else torch.zeros_like(weight))
    assert [type(block) for block in wrapped.trunk.last_group][-1] is nn.Identity


def test_the_trunk_keeps_its_statistics_and_gets_no_gradient():
    wrapped = FrozenTrunk(CifarResNet(depth=14)).train()
    assert not any(module.training for module in wrapped.trunk.modules())
    assert all(module.training for module in wrapped.block.modules())
    before = {name: tensor.clone() for name, tensor in wrapped.state_dict().items()}
    wrapped(torch.randn(4, 3, 16, 16)).sum().backward()
    assert all(parameter.grad is None for parameter in wrapped.trunk.parameters())
    assert all(parameter.grad is not None for parameter in wrapped.block.parameters())
    changed = {name for name, tensor in wrapped.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {name for name in before if name.startswith("block") and ("running" in name or "tracked" in name)}
    assert not any(module.training for module in wrapped.eval().modules())


def test_the_network_keeps_its_size():
    small = settings.places_lt(backbone="resnet50", pretrained=True)
    (whole, *_), (frozen, *_) = (stage_sizes(build(small), small) for build in (recipes.ce, recipes.mislas))
    assert whole == frozen


def test_a_run_changes_the_block_and_the_head_alone(publish, tmp_path):
    torch.manual_seed(0)
    weights = TimmBackbone(name="resnet18").state_dict()
    save_file(weights, tmp_path / "resnet18.safetensors")
    result = longtail.train(
        "places_lt",
        method="mislas",
        epochs=1,
        root=publish("places_lt", paint=True),
        runs=tmp_path / "runs",
        backbone="resnet18",
        weights=tmp_path / "resnet18.safetensors",
        device="cpu",
        precision="32-true",
    )
    stored = load_file(result.folder / "model" / "model.safetensors")
    trunk = {name.removeprefix("backbone.trunk."): tensor for name, tensor in stored.items() if "trunk" in name}
    assert trunk.keys() == {name for name in weights if not name.startswith("body.layer4.1")}
    assert all(torch.equal(tensor, weights[name]) for name, tensor in trunk.items())
    assert stored["backbone.block.bn1.num_batches_tracked"] == 2  # one step of each stage
    assert not torch.equal(stored["backbone.block.conv1.weight"], weights["body.layer4.1.conv1.weight"])
    assert longtail.load(result.folder, device="cpu").classes == ("n01", "n02", "n03")
