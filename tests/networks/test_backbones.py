"""Networks: size, shortcut, features, and names that do not exist."""

import pytest
import torch

from longtail.networks.backbones import BasicBlock, CifarResNet
from longtail.networks.timm_backbone import TimmBackbone
from longtail.settings import named_backbone


def parameters(model):
    return sum(p.numel() for p in model.parameters())


def test_resnet32_has_the_published_size():
    model = CifarResNet(depth=32)
    assert model.num_features == 64
    assert parameters(model) + 64 * 10 + 10 == 464_154, "0.46 M, as printed in Table 6 of He et al. with 10 classes"
    assert sum(isinstance(m, torch.nn.Conv2d) for m in model.modules()) == 31


@pytest.mark.parametrize(("depth", "width", "side"), [(32, 16, 32), (8, 16, 8), (20, 4, 28)])
def test_features_are_pooled(depth, width, side):
    model = CifarResNet(depth=depth, width=width).eval()
    features = model(torch.randn(2, 3, side, side))
    assert features.shape == (2, 4 * width)
    assert (features >= 0).all()


def test_shortcut_is_option_a():
    block, maps = BasicBlock(16, 32, stride=2), torch.randn(2, 16, 8, 8)
    out = block.shortcut(maps)
    assert out.shape == (2, 32, 4, 4)
    assert torch.equal(out[:, 8:24], maps[:, :, ::2, ::2])
    assert not out[:, :8].any()
    assert not out[:, 24:].any()


@pytest.mark.parametrize("side", [8, 7])
def test_the_gradient_of_a_shortcut_keeps_channels_last(side):
    maps = torch.randn(2, 16, side, side, requires_grad=True).to(memory_format=torch.channels_last)
    (gradient,) = torch.autograd.grad(BasicBlock(16, 32, stride=2).shortcut(maps).pow(2).sum(), maps)
    (expected,) = torch.autograd.grad(maps[:, :, ::2, ::2].pow(2).sum(), maps)
    assert torch.equal(gradient, expected)
    assert gradient.is_contiguous(memory_format=torch.channels_last), "sums of two layouts are many times slower"


def test_shortcut_is_the_identity_inside_a_group():
    block, maps = BasicBlock(16, 16, stride=1), torch.randn(1, 16, 4, 4)
    assert block.shortcut(maps) is maps
    with torch.no_grad():
        block.norm2.weight.zero_()
    assert torch.equal(block.eval()(maps), maps.relu())


def test_convolutions_start_kaiming_normal_over_their_inputs():
    torch.manual_seed(0)
    weight = CifarResNet(depth=8, width=32).groups[2][0].conv2.weight
    assert weight.std().item() == pytest.approx((2 / (128 * 9)) ** 0.5, rel=0.02)


@pytest.mark.parametrize("depth", [2, 18, 33])
def test_other_depths_are_refused(depth):
    with pytest.raises(ValueError, match=rf"depth 6 n \+ 2 .*; got {depth}"):
        CifarResNet(depth=depth)


def test_timm_backbone_has_no_classifier():
    pytest.importorskip("timm")
    model = TimmBackbone(name="resnet18").eval()
    assert (model.timm_name, model.num_features) == ("resnet18", 512)
    with torch.no_grad():
        assert model(torch.randn(1, 3, 32, 32)).shape == (1, 512)


@pytest.mark.parametrize("name", ["resnet81", "vit_smal_patch16_224", "resnet 18"])
def test_a_misspelt_name_shows_its_neighbours(name):
    pytest.importorskip("timm")
    with pytest.raises(ValueError, match=rf"no backbone '{name}'\. Similar: "):
        TimmBackbone(name=name)


def test_a_name_like_nothing_says_where_to_look():
    pytest.importorskip("timm")
    with pytest.raises(ValueError, match="longtail list backbones"):
        TimmBackbone(name="qqqqqqqqqq")


@pytest.mark.parametrize(("name", "kind"), [("resnet32", CifarResNet), ("resnet20", CifarResNet), ("resnet50", TimmBackbone)])
def test_named_backbone_knows_the_cifar_networks(name, kind):
    assert named_backbone(name).func is kind


def test_cifar_networks_have_no_pretrained_weights():
    with pytest.raises(ValueError, match="no pretrained weights for 'resnet32'"):
        named_backbone("resnet32", pretrained=True)


def timm_network(name, **arguments):
    pytest.importorskip("timm")
    return TimmBackbone(name=name, **arguments).eval()


def test_features_are_the_mean_of_the_maps():
    images = torch.randn(2, 3, 32, 32)
    for model, channels, side in ((CifarResNet(depth=14), 64, 8), (timm_network("resnet18"), 512, 1)):
        maps = model.eval().maps(images)
        assert maps.shape == (2, channels, side, side)
        torch.testing.assert_close(maps.mean((2, 3)), model(images))


def test_names_of_the_cifar_network_stay():
    names = [name for name, _ in CifarResNet(depth=8).named_parameters()]
    block = [f"{part}.weight" for part in ("conv1", "norm1", "conv2", "norm2")]
    assert [n for n in names if not n.endswith("bias")] == [
        "conv.weight",
        "norm.weight",
        *(f"groups.{group}.0.{n}" for group in range(3) for n in block),
    ]


def test_last_group_is_the_network_s_own():
    cifar = CifarResNet(depth=14)
    assert cifar.last_group is cifar.groups[2]
    assert [type(block) for block in cifar.last_group] == [BasicBlock, BasicBlock]
    resnet = timm_network("resnet50")
    assert resnet.last_group is resnet.body.layer4
    assert len(resnet.last_group) == 3


def test_a_network_without_maps_says_which_have_them():
    said = r"'vit_tiny_patch16_224' gives an output of shape \(5, 192\) per image.*backbone=resnet50"
    with pytest.raises(ValueError, match=said):
        timm_network("vit_tiny_patch16_224", image_size=32).maps(torch.zeros(1, 3, 32, 32))
    with pytest.raises(ValueError, match=r"'vit_tiny_patch16_224' has no residual blocks, .*backbone=resnet50"):
        _ = timm_network("vit_tiny_patch16_224", image_size=32).last_group
    with pytest.raises(ValueError, match="per image, not maps"):
        timm_network("swin_tiny_patch4_window7_224", image_size=32).maps(torch.zeros(1, 3, 32, 32))


def test_a_network_that_timm_cannot_build_for_the_size_is_refused():
    with pytest.raises(
        ValueError, match=r"'nest_tiny_jx' cannot be built for images of 50 x 50 pixels \(.*; choose another size"
    ):
        TimmBackbone(name="nest_tiny_jx", image_size=50)
