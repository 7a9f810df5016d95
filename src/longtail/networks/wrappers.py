"""Backbones that methods build on residual networks: modulated attention (OLTR) and two branches (BBN).

Each takes the network it changes and the side of the images, and is itself a backbone: `num_features`, `timm_name`, `maps`.
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
    """Adds to each position what the others say about it, as far as the place in the picture matters.

    A   = softmax_rows(theta(x)^T phi(x)),  M = mask(g(x) A^T)
    out = x + softmax(W flatten(x) + b) * M        one weight per position, the same for all channels

    Source: Liu et al., CVPR 2019 (OLTR); code followed: zhmiao/OpenLongTailRecognition-OLTR@42dcb35,
    ModulatedAttLayer.py. The code means `mask` to start at zero, but its ResNet then draws every convolution from
    N(0, 2 / channels out), so the layer is not the identity at first; the published table was made that way, and so it is here.

    Args:
        channels: of the maps; g, theta and phi have half as many.
        positions: rows times columns of the maps. `spatial` has positions^2 * channels weights.

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
    """The mean over all positions of the maps, after modulated attention.

    Args:
        backbone: a network with maps; used, not copied.
        image_size: side of the images, which the attention is built for.

    Raises:
        UserError: the network has no maps.

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
        """What the features are the mean of."""
        maps: Maps = self.attention(self.inner.maps(images))
        return maps


class TwoBranchBackbone(nn.Module):
    """The last residual block twice, side by side on the same trunk; the features are those of both, one after the other.

    `conventional` is the block that was there; `rebalancing` has its shape and starts anew (convolutions Kaiming-normal).
    In training each sees images of its own (`branch`), so that its batch norm does, too; the trunk sees both.

    Source: Zhou et al., CVPR 2020 (BBN); as in the authors' code, one linear layer follows on both features together.

    Args:
        backbone: a residual network; it becomes the trunk, and its last block is taken out of it.
        image_size: not needed; here so that all such backbones are built alike.

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
        self.conventional, group[-1] = awake(group[-1]), nn.Identity()
        self.rebalancing = started_anew(self.conventional)

    def forward(self, images: Images) -> Features:
        return pooled(self.maps(images))

    def branch(self, images: Images, which: Branch) -> Features:
        """Features (B, D) of one branch alone; the other is not run."""
        if which not in ("conventional", "rebalancing"):
            raise UserError(f"There is no branch {which!r}; there are 'conventional' and 'rebalancing'.")
        return pooled(self.get_submodule(which)(self.trunk.maps(images)))

    def maps(self, images: Images) -> Maps:
        """What the features are the mean of: the maps of both branches on one pass through the trunk."""
        shared = self.trunk.maps(images)
        return torch.cat([self.conventional(shared), self.rebalancing(shared)], dim=1)


def map_shape(backbone: Any, image_size: int) -> torch.Size:
    """Channels, rows and columns of the maps, found with one blank image that leaves no trace in the network."""
    modes = {module: module.training for module in backbone.modules()}
    backbone.eval()
    with torch.no_grad():
        shape: torch.Size = backbone.maps(next(backbone.parameters()).new_zeros(1, 3, image_size, image_size)).shape[1:]
    for module, training in modes.items():
        module.training = training
    return shape


def awake(block: nn.Module) -> nn.Module:
    """The block, its batch norms at scale 1 where they start at 0, as in timm's ResNets: both branches are to start alike."""
    for module in block.modules():
        if isinstance(module, nn.BatchNorm2d) and not bool(module.weight.any()):
            nn.init.ones_(module.weight)
    return block


def started_anew(block: nn.Module) -> nn.Module:
    """A copy with convolutions drawn Kaiming-normal and batch norms reset."""
    fresh = copy.deepcopy(block)
    for module in fresh.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
    return fresh
