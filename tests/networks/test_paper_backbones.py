"""The networks of the papers on large long-tailed sets: ResNet-10, -50 and -152, ResNeXt-50, with the start that they had."""

import numpy as np
import pytest
import timm
import torch
from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

import longtail
from commands import longtail as command
from longtail import settings
from longtail.errors import UserError
from longtail.networks import TimmBackbone
from longtail.spec.description import describe
from longtail.spec.parts import BACKBONE, restore
from longtail.workflow.request import Request
from longtail.workflow.resolve import chosen_setting
from small_lists import train

LAYERS = {
    "resnet10": (BasicBlock, [1, 1, 1, 1], {}),
    "resnet50": (Bottleneck, [3, 4, 6, 3], {}),
    "resnext50_32x4d": (Bottleneck, [3, 4, 6, 3], {"groups": 32, "width_per_group": 4}),
}


@pytest.mark.parametrize("name", LAYERS)
def test_networks_are_torchvision_s(name):
    block, layers, how = LAYERS[name]
    ours, theirs = TimmBackbone(name=name).eval(), ResNet(block, layers, **how).eval()
    theirs.fc = nn.Identity()
    ours.body.load_state_dict(theirs.state_dict())
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images))


def test_resnet10_has_the_size_of_its_layers():
    """Stem, then per group two 3x3 convolutions, a 1x1 shortcut from the second group on, and the batch norms."""
    stem = 3 * 64 * 49 + 2 * 64
    first = 2 * 64 * 64 * 9 + 2 * 2 * 64
    later = sum(n // 2 * n * 9 + n * n * 9 + n // 2 * n + 3 * 2 * n for n in (128, 256, 512))
    assert sum(each.numel() for each in TimmBackbone(name="resnet10").parameters()) == stem + first + later == 4_905_792


def norms(backbone):
    return [module.weight for module in backbone.modules() if isinstance(module, nn.BatchNorm2d)]


def test_no_batch_norm_starts_at_zero_in_the_settings_of_papers():
    assert all((weight == 1).all() for weight in norms(settings.imagenet_lt(backbone="resnet10").backbone()))
    assert sum(bool((weight == 0).all()) for weight in norms(TimmBackbone(name="resnet10"))) == 4


def test_convolutions_start_as_in_the_papers():
    """N(0, 2 / (k k channels out)), also with groups."""
    torch.manual_seed(0)
    weight = settings.imagenet_lt(backbone="resnext50_32x4d").backbone().body.layer3[1].conv2.weight
    assert weight.shape == (512, 16, 3, 3)
    assert weight.std().item() == pytest.approx((2 / (9 * 512)) ** 0.5, rel=0.02)


@pytest.mark.parametrize(
    ("asked", "keywords"),
    [
        ({}, {"name": "resnet50", "pretrained": False, "zero_init_last": False}),
        ({"backbone": "resnet10"}, {"name": "resnet10", "pretrained": False, "zero_init_last": False}),
        ({"backbone": "resnext50_32x4d"}, {"name": "resnext50_32x4d", "pretrained": False, "zero_init_last": False}),
        ({"backbone": "resnet50", "pretrained": True}, {"name": "resnet50", "pretrained": True}),
        ({"backbone": "vit_tiny_patch16_224"}, {"name": "vit_tiny_patch16_224", "pretrained": False}),
    ],
    ids=str,
)
def test_a_backbone_is_chosen_by_name(asked, keywords):
    setting, _, _ = chosen_setting(Request("imagenet_lt", **asked))
    assert setting.backbone.keywords == {**keywords, "image_size": 224}


def test_networks_with_timm_s_start_are_described_as_before():
    described = describe(settings.named_backbone("resnet50"))
    assert described == {"call": "longtail.backbones.TimmBackbone", "name": "resnet50", "pretrained": False, "image_size": None}


def test_there_are_no_weights_for_resnet10():
    with pytest.raises(UserError, match="no pretrained weights for 'resnet10'"):
        settings.named_backbone("resnet10", pretrained=True)


def test_a_stored_resnet10_is_restored():
    described = describe(settings.imagenet_lt(backbone="resnet10").backbone)
    assert restore(described, BACKBONE)().num_features == 512


def test_backbones_are_listed():
    assert "resnet10 " in command("list", "backbones").out


@pytest.mark.slow
def test_a_resnet10_is_exported_to_timm(publish, tmp_path):
    result = train(publish("imagenet_lt", paint=True), tmp_path / "runs", method="ce", epochs=1, backbone="resnet10")
    assert command("export", result.folder, "--format", "timm", "-o", tmp_path / "timm").code == 0
    exported = timm.create_model(f"local-dir:{tmp_path / 'timm'}", pretrained=True).eval()
    assert exported.pretrained_cfg["crop_pct"] == pytest.approx(8 / 9)
    predictor = longtail.load(result.folder, device="cpu")
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 3, 8, 8), dtype=np.uint8))
    mean, std = (torch.tensor(predictor.config[each])[:, None, None] for each in ("mean", "std"))
    with torch.no_grad():
        torch.testing.assert_close(exported((pixels / 255 - mean) / std), predictor.scores(pixels), atol=1e-4, rtol=1e-4)
