"""What recipes cost: parameters, multiply-adds of a pass, and the arithmetic of the training relative to plain training."""

import math
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn

from longtail import recipes, settings
from longtail.errors import UserError
from longtail.networks import CifarResNet
from longtail.spec.cost import Size, plain_size, stage_sizes, training_cost

COMMON = replace(settings.cifar100_lt(), budget="common")


def tiny():
    """A network of one convolution, 3 to 2 channels with 3x3 weights and a bias, and one linear layer, 2 to 5 features."""
    network = nn.Sequential(nn.Conv2d(3, 2, 3, stride=2, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 5))
    network.num_features = 5
    return network


def no_data(root, *, size):
    """Stands for data of one size."""


def broken():
    return nn.Sequential(nn.Linear(7, 5))


def asks_for_a_residual_network():
    raise UserError("There are no blocks.")


def cifar_multiply_adds(blocks, width):
    """Multiply-adds of the convolutions of a CIFAR ResNet at 32 pixels: the stem, the first group, and the two later ones."""
    stem = 32 * 32 * width * 3 * 9
    first = 2 * blocks * 32 * 32 * width * width * 9
    later = 0
    for channels, side in ((2 * width, 16), (4 * width, 8)):
        later += side * side * channels * 9 * (channels // 2 + (2 * blocks - 1) * channels)
    return stem, first, later


def test_a_pass_by_hand():
    setting = replace(COMMON, backbone=tiny)
    assert plain_size(setting) == Size(parameters=(54 + 2) + (10 + 5), multiply_adds=16 * 16 * 2 * 27 + 10)
    large = replace(setting, data=partial(no_data, size=64))
    assert plain_size(large).multiply_adds == 32 * 32 * 2 * 27 + 10


def test_resnet_32_and_its_three_experts():
    stem, first, later = cifar_multiply_adds(5, 16)
    assert plain_size(COMMON) == Size(463_504, stem + first + later)
    assert stage_sizes(recipes.balpoe(COMMON), COMMON) == (Size(1_342_864, stem + first + 3 * later),)
    cost = training_cost(recipes.balpoe(COMMON), COMMON) / 200
    assert cost == pytest.approx((stem + first + 3 * later) / (stem + first + later))
    assert cost == pytest.approx(2.30, abs=0.005)
    two = recipes.balpoe(COMMON, tau=(0.5, 1.5))
    assert training_cost(two, COMMON) / 200 == pytest.approx((stem + first + 2 * later) / (stem + first + later))


def test_cost_counts_passes_over_the_images():
    cost = {build.__name__: training_cost(build(COMMON), COMMON) / 200 for build in recipes.ALL}
    assert (cost["ce"], cost["bbn"], cost["hybrid_sc"], cost["hybrid_psc"]) == (1, 2, 3, 2)
    assert math.isclose(cost["gcl"], 1 + 0.15 / 3)
    attention = 4 * 64 * 64 * 32 + 64 * 64 * 64  # g, theta, phi and mask at 8 x 8 positions, then one linear layer
    assert cost["oltr"] == pytest.approx(2 + attention / plain_size(COMMON).multiply_adds)


def test_the_size_of_a_network_that_a_later_stage_wraps():
    first, second = stage_sizes(recipes.oltr(COMMON), COMMON)
    assert first == plain_size(COMMON)
    assert second.parameters - first.parameters == 3 * (64 * 32 + 32) + 32 * 64 + 64 * 64 * 64 + 64


def test_both_branches_of_a_network_have_parameters_but_a_pass_runs_one():
    (size,), plain = stage_sizes(recipes.bbn(COMMON), COMMON), plain_size(COMMON)
    assert size.parameters == 463_504 + 73_984
    assert size.multiply_adds == plain.multiply_adds


def test_nothing_is_downloaded_and_no_random_number_is_drawn():
    pytest.importorskip("timm")
    setting = replace(COMMON, backbone=settings.named_backbone("resnet18", pretrained=True, image_size=32))
    state = torch.get_rng_state()
    plain, (experts,) = plain_size(setting), stage_sizes(recipes.balpoe(setting), setting)
    assert plain.parameters == 11_176_512
    assert experts.parameters == 11_176_512 + 2 * 8_393_728
    assert torch.equal(torch.get_rng_state(), state)


def test_a_network_that_cannot_be_run_here_counts_as_the_plain_one():
    setting = replace(COMMON, backbone=broken)
    assert plain_size(setting) is None
    assert stage_sizes(recipes.ce(setting), setting) == ()
    assert training_cost(recipes.hybrid_sc(setting), setting) == 600


def test_a_network_that_the_method_cannot_have_is_refused():
    with pytest.raises(UserError, match="There are no blocks"):
        plain_size(replace(COMMON, backbone=asks_for_a_residual_network))
    pytest.importorskip("timm")
    setting = replace(COMMON, backbone=settings.named_backbone("vit_tiny_patch16_224", image_size=32))
    with pytest.raises(UserError, match="backbone=resnet50"):
        stage_sizes(recipes.balpoe(setting), setting)


def test_the_size_of_the_images_is_the_data_s_then_the_backbone_s():
    digits = settings.digits_lt()
    assert plain_size(digits).multiply_adds == sum(cifar_multiply_adds(1, 16))
    folder = settings.folder(name="photos", size=64, epochs=2, backbone="resnet8")
    assert plain_size(folder).multiply_adds == 4 * sum(cifar_multiply_adds(1, 16))
    assert plain_size(replace(digits, backbone=partial(CifarResNet, depth=8, width=4))).parameters < 10_000
