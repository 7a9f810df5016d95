"""Experts on a shared trunk: what is shared, what each expert has of its own, how it starts, and what it costs."""

import pytest
import torch
from torch import nn

from longtail.errors import UserError
from longtail.networks import CifarResNet, ExpertsBackbone, TimmBackbone, TwoBranchBackbone
from longtail.networks.pretrained import load_backbone


def cifar():
    return CifarResNet(depth=8)


def resnet18():
    pytest.importorskip("timm")
    return TimmBackbone(name="resnet18")


every_network = pytest.mark.parametrize(("network", "features", "side"), [(cifar, 64, 16), (resnet18, 512, 64)])


def images(side, count=4, seed=0):
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


def size(module):
    return sum(parameter.numel() for parameter in module.parameters())


def with_moved_statistics(backbone, side):
    """The network with statistics that are not the initial ones, and no scale of a batch norm at 0."""
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.constant_(module.weight, 0.7)
    backbone.train()(images(side, seed=9))
    return backbone.eval()


@every_network
def test_the_first_expert_is_the_network_that_was_there(network, features, side):
    backbone = with_moved_statistics(network(), side)
    before = backbone(images(side))
    model = ExpertsBackbone(backbone).eval()
    assert (model.num_features, model.timm_name) == (3 * features, None)
    after = model(images(side))
    torch.testing.assert_close(after[:, :features], before)
    torch.testing.assert_close(after, model.maps(images(side)).mean((2, 3)))
    assert not torch.allclose(after[:, features : 2 * features], before, atol=1e-3)


@every_network
def test_copied_experts_start_as_the_network_and_share_no_parameter(network, features, side):
    backbone = with_moved_statistics(network(), side)
    before = backbone(images(side))
    model = ExpertsBackbone(backbone, experts=2, start="copied").eval()
    torch.testing.assert_close(model(images(side)), torch.cat([before, before], dim=1))
    first, second = model.experts
    with torch.no_grad():
        next(second.parameters()).zero_()
    assert not torch.allclose(*model(images(side)).split(features, dim=1))
    assert not {id(p) for p in first.parameters()} & {id(p) for p in second.parameters()}


@every_network
def test_drawn_experts_have_kaiming_weights_and_new_statistics(network, features, side):
    model = ExpertsBackbone(with_moved_statistics(network(), side))
    for expert in model.experts[1:]:
        for module in expert.modules():
            if isinstance(module, nn.BatchNorm2d):
                assert not module.running_mean.any()
                assert (module.weight == 1).all()
            if isinstance(module, nn.Conv2d):
                assert module.weight.std().item() == pytest.approx((2 / module.weight[0].numel()) ** 0.5, rel=0.05)
    drawn = [next(expert.parameters()) for expert in model.experts]
    assert not torch.equal(drawn[1], drawn[2])


def test_an_expert_of_timm_s_is_not_silent_at_first():
    model = ExpertsBackbone(resnet18())
    assert all((module.weight == 1).all() for expert in model.experts for module in expert.modules() if _is_norm(module))


def _is_norm(module):
    return isinstance(module, nn.BatchNorm2d)


def test_which_groups_are_shared_on_cifar():
    plain = CifarResNet(depth=32)
    total, later = size(plain), size(plain.groups[1]) + size(plain.groups[2])
    model = ExpertsBackbone(plain)
    assert (total, later) == (463_504, 439_680)
    assert size(model) == total + 2 * later == 1_342_864
    assert [len(expert) for expert in model.experts] == [2, 2, 2]
    assert model.trunk.maps(images(32)).shape == (4, 16, 32, 32)


def test_which_group_is_each_expert_s_own_on_timm():
    plain = resnet18()
    total, last = size(plain), size(plain.body.layer4)
    model = ExpertsBackbone(plain, image_size=64)
    assert size(model) == total + 2 * last
    assert model.trunk.maps(images(64)).shape == (4, 256, 4, 4)
    assert model.maps(images(64)).shape == (4, 3 * 512, 2, 2)


@pytest.mark.parametrize("network", [cifar, resnet18])
def test_the_trunk_learns_from_every_expert_and_an_expert_from_itself(network):
    model = ExpertsBackbone(network()).train()
    width = model.num_features // 3
    for own in range(3):
        model.zero_grad()
        model(images(32))[:, own * width : (own + 1) * width].square().sum().backward()
        assert all(parameter.grad.isfinite().all() for parameter in model.trunk.parameters())
        moved = [any(p.grad is not None and p.grad.any() for p in expert.parameters()) for expert in model.experts]
        assert moved == [expert == own for expert in range(3)]


def test_experts_are_restored_from_their_state():
    first, second = (ExpertsBackbone(cifar()).eval() for _ in range(2))
    second.load_state_dict(first.state_dict())
    assert torch.equal(first(images(16)), second(images(16)))


def test_experts_do_not_start_from_the_weights_of_another_kind_of_network(tmp_path):
    torch.save(ExpertsBackbone(cifar()).state_dict(), tmp_path / "experts.pt")
    with pytest.raises(UserError, match="holds a network of several experts, with which no single network can start"):
        load_backbone(cifar(), tmp_path / "experts.pt")


@pytest.mark.parametrize(
    ("network", "values", "said"),
    [
        (cifar, {"experts": 0}, "`experts`, a whole number of at least 1; got 0"),
        (cifar, {"experts": 1.5}, "`experts`, a whole number of at least 1; got 1.5"),
        (cifar, {"start": "copid"}, "There is no start 'copid'; there are 'drawn' and 'copied'"),
        (lambda: nn.Linear(3, 3), {}, "Linear has no groups of residual blocks, .* such as resnet32 or resnet50"),
        (lambda: TwoBranchBackbone(cifar()), {}, "TwoBranchBackbone has no groups of residual blocks"),
    ],
)
def test_other_networks_and_values_are_refused(network, values, said):
    with pytest.raises(UserError, match=said):
        ExpertsBackbone(network(), **values)


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "convnext_atto", "mobilenetv3_small_050"])
def test_timm_s_networks_without_residual_groups_are_refused(name):
    pytest.importorskip("timm")
    with pytest.raises(UserError, match=f"'{name}' has no residual blocks, which this method takes apart; .*backbone=resnet50"):
        ExpertsBackbone(TimmBackbone(name=name, image_size=32))
