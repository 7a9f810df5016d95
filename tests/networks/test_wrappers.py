"""Attention and branches on residual networks: the vectors, the formula in loops, and which parts are shared."""

import numpy as np
import pytest
import torch
from torch import nn

from longtail.heads import LinearHead
from longtail.networks.backbones import CifarResNet
from longtail.networks.timm_backbone import TimmBackbone
from longtail.networks.wrappers import AttentiveBackbone, ModulatedAttention, TwoBranchBackbone
from reference import formulas_heads
from reference.formulas import agrees


def cifar():
    return CifarResNet(depth=8)


def resnet18():
    pytest.importorskip("timm")
    return TimmBackbone(name="resnet18")


every_network = pytest.mark.parametrize(
    ("network", "features", "side"), [(cifar, 64, 8), (cifar, 64, 32), (resnet18, 512, 32), (resnet18, 512, 64)]
)


def images(side, count=4, seed=0):
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


def state(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def same(module, before):
    return all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


def statistics(module):
    return {name: buffer.clone() for name, buffer in module.named_buffers()}


# --- Attention -------------------------------------------------------------------------------------------------------------


def attention(g, theta, phi, mask, spatial):
    """A layer from lists: g, theta, phi and spatial are pairs of rows and biases."""
    layer = ModulatedAttention(len(mask), len(spatial[0])).double()
    values = {"mask.weight": mask, "spatial.weight": spatial[0], "spatial.bias": spatial[1]}
    for name, (rows, biases) in {"g": g, "theta": theta, "phi": phi}.items():
        values |= {f"{name}.weight": rows, f"{name}.bias": biases}
    tensors = {name: torch.as_tensor(value, dtype=torch.float64) for name, value in values.items()}
    layer.load_state_dict({n: t[..., None, None] if n in CONVOLUTIONS else t for n, t in tensors.items()})
    return layer


CONVOLUTIONS = ("g.weight", "theta.weight", "phi.weight", "mask.weight")


def test_attention():
    spatial = ([[0.1, 0.2, 0.3, 0.4], [0, 0, 0, 0]], [0, 0.5])
    layer = attention(([[1, -1]], [0]), ([[1, 0]], [0]), ([[0, 1]], [0]), [[2], [-1]], spatial)
    maps = torch.tensor([[[[1], [2]], [[0], [-1]]]], dtype=torch.float64)
    assert agrees(layer.spatial(maps.flatten(1)).softmax(1).detach(), "0.401312339887548 0.598687660112452")
    expected = "2.234342724185799 3.482836594080858 -0.6171713620928995 -1.741418297040429"
    assert agrees(layer(maps).detach(), expected)


@pytest.mark.parametrize("seed", range(3))
def test_attention_against_loops(seed):
    draw = np.random.default_rng(seed)
    x, mask = draw.normal(size=(6, 4)), draw.normal(size=(6, 3))
    g, theta, phi = ((draw.normal(size=(3, 6)), draw.normal(size=3)) for _ in range(3))
    spatial = (draw.normal(size=(4, 24)), draw.normal(size=4))
    layer = attention(g, theta, phi, mask, spatial)
    expected = formulas_heads.attention(x, g, theta, phi, mask, spatial)
    found = layer(torch.from_numpy(x).view(1, 6, 2, 2)).detach().view(6, 4)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    channels_last = torch.from_numpy(x).view(1, 6, 2, 2).to(memory_format=torch.channels_last)
    np.testing.assert_allclose(layer(channels_last).detach().view(6, 4), expected, atol=1e-12)


def test_attention_starts_as_in_the_code():
    torch.manual_seed(0)
    layer = ModulatedAttention(512, 4)
    for convolution in (layer.g, layer.theta, layer.phi):
        assert convolution.weight.std().item() == pytest.approx(0.0884, rel=0.01)
        assert not convolution.bias.any()
    assert layer.mask.weight.std().item() == pytest.approx(0.0625, rel=0.01)
    assert layer.mask.bias is None
    assert layer.spatial.weight.abs().max().item() == pytest.approx((512 * 4) ** -0.5, rel=0.01)


def test_attention_gradient():
    layer, maps = ModulatedAttention(4, 6).double(), torch.randn(2, 4, 2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, maps)


def test_attention_refuses_maps_of_another_size():
    with pytest.raises(ValueError, match="built for 4 positions; got maps of 3 x 3"):
        ModulatedAttention(4, 4)(torch.zeros(1, 4, 3, 3))


@every_network
def test_attentive_backbone(network, features, side):
    backbone = network()
    before, modes = state(backbone), [module.training for module in backbone.modules()]
    model = AttentiveBackbone(backbone, image_size=side)
    assert same(backbone, before), "no statistics were touched"
    assert [module.training for module in backbone.modules()] == modes
    assert (model.num_features, model.timm_name) == (features, None)
    model.eval()
    maps, pooled = model.maps(images(side)), model(images(side))
    assert pooled.shape == (4, features)
    torch.testing.assert_close(maps, model.attention(backbone.maps(images(side))))
    torch.testing.assert_close(pooled, maps.mean((2, 3)))


def test_attentive_backbone_keeps_each_part_s_mode():
    backbone = cifar()
    backbone.groups[1].eval()
    AttentiveBackbone(backbone, image_size=8)
    assert not backbone.groups[1][0].norm1.training
    assert backbone.groups[2][0].norm1.training


def test_attentive_backbone_learns_everywhere():
    model = AttentiveBackbone(cifar(), image_size=16)
    model(images(16)).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in model.parameters())


def test_attentive_backbone_needs_maps():
    pytest.importorskip("timm")
    with pytest.raises(ValueError, match="backbone=resnet50"):
        AttentiveBackbone(TimmBackbone(name="vit_tiny_patch16_224", image_size=32), image_size=32)


# --- Branches --------------------------------------------------------------------------------------------------------------


def counted(module):
    """A list that grows by one element each time the module is run."""
    calls = []
    module.register_forward_hook(lambda *_: calls.append(1))
    return calls


@every_network
def test_two_branches_share_one_trunk(network, features, side):
    model = TwoBranchBackbone(network(), image_size=side).eval()
    runs = counted(model.trunk.last_group)
    assert (model.num_features, model.timm_name) == (2 * features, None)
    whole = model(images(side))
    assert whole.shape == (4, 2 * features)
    assert len(runs) == 1
    conventional, rebalancing = (model.branch(images(side), which) for which in ("conventional", "rebalancing"))
    torch.testing.assert_close(whole, torch.cat([conventional, rebalancing], dim=1))
    torch.testing.assert_close(model.maps(images(side)).mean((2, 3)), whole)
    assert not torch.allclose(conventional, rebalancing)


@every_network
def test_the_conventional_branch_is_the_network_that_was_there(network, features, side):
    backbone = network().eval()
    last = backbone.last_group[-1]
    for norm in (module for module in last.modules() if isinstance(module, nn.BatchNorm2d)):
        nn.init.ones_(norm.weight)  # timm starts the last scale at 0, where both branches would be equal
    before = backbone(images(side))
    model = TwoBranchBackbone(backbone).eval()
    assert model.conventional is last
    torch.testing.assert_close(model.branch(images(side), "conventional"), before)


@pytest.mark.parametrize("network", [cifar, resnet18])
def test_the_rebalancing_branch_starts_anew(network):
    backbone = network()
    last = backbone.last_group[-1]
    for buffer in last.buffers():
        buffer.fill_(3)
    model = TwoBranchBackbone(backbone)
    own, other = dict(model.conventional.named_parameters()), dict(model.rebalancing.named_parameters())
    assert own.keys() == other.keys()
    assert not {id(p) for p in own.values()} & {id(p) for p in other.values()}
    assert all(b == 3 for b in model.conventional.state_dict()["norm1.running_mean" if network is cifar else "bn1.running_mean"])
    for module in model.rebalancing.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert not module.running_mean.any()
            assert (module.running_var == 1).all()
            assert (module.weight == 1).all()
            assert module.num_batches_tracked == 0
        if isinstance(module, nn.Conv2d):
            fan_in = module.weight[0].numel()
            assert module.weight.std().item() == pytest.approx((2 / fan_in) ** 0.5, rel=0.05)
    assert not torch.equal(*(dict(b.named_parameters())["conv2.weight"] for b in (model.conventional, model.rebalancing)))


@pytest.mark.parametrize("network", [cifar, resnet18])
def test_a_branch_leaves_the_other_alone(network):
    model = TwoBranchBackbone(network()).train()
    for which, other in (("conventional", "rebalancing"), ("rebalancing", "conventional")):
        before, own, trunk = (statistics(part) for part in (getattr(model, other), getattr(model, which), model.trunk))
        model.zero_grad()
        model.branch(images(32), which).square().sum().backward()
        assert all(torch.equal(buffer, before[name]) for name, buffer in getattr(model, other).named_buffers())
        assert not all(torch.equal(buffer, own[name]) for name, buffer in getattr(model, which).named_buffers())
        assert not all(torch.equal(buffer, trunk[name]) for name, buffer in model.trunk.named_buffers())
        assert all(parameter.grad is None for parameter in getattr(model, other).parameters())
        assert all(parameter.grad is not None for parameter in getattr(model, which).parameters())


def test_two_branches_are_restored_from_their_state():
    first, second = (TwoBranchBackbone(cifar()).eval() for _ in range(2))
    second.load_state_dict(first.state_dict())
    assert torch.equal(first(images(16)), second(images(16)))


def test_two_branches_double_the_last_block_only():
    def size(module):
        return sum(parameter.numel() for parameter in module.parameters())

    plain = CifarResNet(depth=32)
    total, last = size(plain), size(plain.last_group[-1])
    assert size(TwoBranchBackbone(plain)) == total + last


def test_both_features_go_through_one_linear_layer():
    head = LinearHead(4, 3).double()
    weight = [[1, 0, 0.5, 0], [0, 1, 0, 0.5], [-1, 0.5, 1, 1]]
    values = {"weight": weight, "bias": [0.1, 0, -0.1], "scale": 1.0}
    head.load_state_dict({name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()})
    assert agrees(head(torch.tensor([[1, 2, 3, -1]], dtype=torch.float64)).detach(), "2.6 1.5 1.9")


def test_other_branches_and_other_networks_are_refused():
    with pytest.raises(ValueError, match="no branch 'both'; there are 'conventional' and 'rebalancing'"):
        TwoBranchBackbone(cifar()).branch(images(8), "both")
    pytest.importorskip("timm")
    with pytest.raises(ValueError, match="backbone=resnet50"):
        TwoBranchBackbone(TimmBackbone(name="vit_tiny_patch16_224", image_size=32))
