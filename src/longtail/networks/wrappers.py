"""Backbones that methods build on residual networks: modulated attention (OLTR) and two branches (BBN).

Each wrapper takes the network that it changes and the side of the images, and is itself a backbone with `num_features`,
`timm_name` and `maps`.
"""

from __future__ import annotations

import copy
from typing import Any, Literal

import torch
from torch import Tensor, nn

from longtail.errors import UserError
from longtail.networks.backbones import Features, Images, Maps, pooled

Branch = Literal["conventional", "rebalancing"]


class ModulatedAttention(nn.Module):
    """Adds self-attention over the positions of the maps, weighted by the importance of each position in the image.

    A   = softmax_rows(theta(x)^T phi(x)),  M = mask(g(x) A^T)
    out = x + softmax(W flatten(x) + b) * M        one weight per position, the same for all channels

    Source: Liu et al., CVPR 2019 (OLTR); code followed: zhmiao/OpenLongTailRecognition-OLTR@42dcb35,
    ModulatedAttLayer.py. The code intends `mask` to start at zero, but its ResNet then draws every convolution from
    N(0, 2 / channels out), so the layer is not the identity at first; the published table was made that way, and so it is here.

    Args:
        channels: number of channels of the maps; g, theta and phi have half as many.
        positions: number of positions of the maps, rows times columns. `spatial` has positions^2 * channels weights.

    >>> ModulatedAttention(8, 16)(torch.zeros(2, 8, 4, 4)).shape
    torch.Size([2, 8, 4, 4])
    """

    def __init__(self, channels: int, positions: int) -> None:
        super().__init__()
        self.positions = positions
        self.g, self.theta, self.phi = (nn.Conv2d(channels, channels // 2, 1) for _ in range(3))
        self.mask = nn.Conv2d(channels // 2, channels, 1, bias=False)
        self.spatial = nn.Linear(channels * positions, positions)
        for layer in (self.g, self.theta, self.phi, self.mask):
            nn.init.normal_(layer.weight, std=(2 / layer.out_channels) ** 0.5)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

    def forward(self, maps: Maps) -> Maps:
        size = maps.shape[2:]
        if size.numel() != self.positions:
            raise UserError(f"ModulatedAttention was built for {self.positions} positions; got maps of {size[0]} x {size[1]}.")
        g, theta, phi = (layer(maps).flatten(2) for layer in (self.g, self.theta, self.phi))
        attention = (theta.mT @ phi).softmax(2)
        position_weights: Tensor = self.spatial(maps.flatten(1)).softmax(1)
        modulated: Tensor = self.mask((g @ attention.mT).reshape(*g.shape[:2], *size))
        return maps + position_weights.view(-1, 1, *size) * modulated


class AttentiveBackbone(nn.Module):
    """A backbone with modulated attention on its feature maps, before global average pooling.

    Args:
        backbone: a network with `maps`; it is used itself, not copied.
        image_size: side of the images in pixels, for which the attention is built.

    Raises:
        UserError: the network has no feature maps.

    >>> from longtail.networks.backbones import CifarResNet
    >>> AttentiveBackbone(CifarResNet(depth=8), image_size=8)(torch.zeros(2, 3, 8, 8)).shape
    torch.Size([2, 64])
    """

    timm_name: str | None = None

    def __init__(self, backbone: Any, *, image_size: int) -> None:
        super().__init__()
        self.inner = backbone
        channels, rows, columns = map_shape(backbone, image_size)
        self.num_features = channels
        self.attention = ModulatedAttention(channels, rows * columns).to(next(backbone.parameters()))

    def forward(self, images: Images) -> Features:
        return pooled(self.maps(images))

    def maps(self, images: Images) -> Maps:
        """The feature maps before the pooling."""
        maps: Maps = self.attention(self.inner.maps(images))
        return maps


class TwoBranchBackbone(nn.Module):
    """A backbone with two last residual blocks, side by side on the same trunk; the features of both are concatenated.

    `conventional` is the last block of the given network; `rebalancing` has its shape and newly drawn weights (convolutions
    Kaiming-normal). In training each branch is given its own images (`branch`), so its batch norm sees only these; the trunk is
    given the images of both.

    Source: Zhou et al., CVPR 2020 (BBN); as in the authors' code, one linear layer is applied to the concatenated features.

    Args:
        backbone: a residual network; it becomes the trunk, and its last block is taken out of it.
        image_size: not used; it is accepted so that all wrappers are called alike.

    Raises:
        UserError: the network has no residual blocks.

    >>> from longtail.networks.backbones import CifarResNet
    >>> backbone, images = TwoBranchBackbone(CifarResNet(depth=8)), torch.zeros(2, 3, 8, 8)
    >>> backbone.branch(images, "rebalancing").shape, backbone(images).shape
    (torch.Size([2, 64]), torch.Size([2, 128]))
    """

    timm_name: str | None = None

    def __init__(self, backbone: Any, *, image_size: int | None = None) -> None:
        super().__init__()
        self.trunk = backbone
        self.num_features = 2 * backbone.num_features
        group = backbone.last_group
        self.conventional, group[-1] = with_active_norms(group[-1]), nn.Identity()
        self.rebalancing = reinitialised(self.conventional)

    def forward(self, images: Images) -> Features:
        return pooled(self.maps(images))

    def branch(self, images: Images, which: Branch) -> Features:
        """Features (B, D) of one branch alone; the other is not run."""
        if which not in ("conventional", "rebalancing"):
            raise UserError(f"There is no branch {which!r}; there are 'conventional' and 'rebalancing'.")
        return pooled(self.get_submodule(which)(self.trunk.maps(images)))

    def maps(self, images: Images) -> Maps:
        """The feature maps before the pooling, those of both branches concatenated, from one pass through the trunk."""
        shared = self.trunk.maps(images)
        return torch.cat([self.conventional(shared), self.rebalancing(shared)], dim=1)


def map_shape(backbone: Any, image_size: int) -> torch.Size:
    """Channels, rows and columns of the maps, found with one blank image; the state of the network does not change."""
    modes = {module: module.training for module in backbone.modules()}
    backbone.eval()
    with torch.no_grad():
        shape: torch.Size = backbone.maps(next(backbone.parameters()).new_zeros(1, 3, image_size, image_size)).shape[1:]
    for module, training in modes.items():
        module.training = training
    return shape


def with_active_norms(block: nn.Module) -> nn.Module:
    """Sets batch norms whose scale is 0, as initially in timm's ResNets, to scale 1, so that both branches start alike."""
    for module in block.modules():
        if isinstance(module, nn.BatchNorm2d) and not bool(module.weight.any()):
            nn.init.ones_(module.weight)
    return block


def reinitialised(block: nn.Module) -> nn.Module:
    """A copy of the block with convolutions drawn Kaiming-normal and batch norms reset."""
    fresh = copy.deepcopy(block)
    for module in fresh.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
    return fresh
