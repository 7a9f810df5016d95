"""Backbones, networks from images to pooled features. Each has `num_features` and `timm_name` (None if timm lacks it).

Residual networks also have `maps` (the feature maps before the pooling), `last_group` (their last group of residual blocks) and
`take_later_groups` (which cuts the network in two), which `longtail.networks.wrappers` and `experts` build on.
"""

from __future__ import annotations

from typing import cast

import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float
from torch import Tensor, nn

from longtail.errors import UserError

Images = Float[Tensor, "batch 3 height width"]
Features = Float[Tensor, "batch features"]
Maps = Float[Tensor, "batch channels rows columns"]


class CifarResNet(nn.Module):
    """The residual network of the CIFAR experiments: a 3x3 stem, three groups of basic blocks, global average pooling.

    Shortcuts have no parameters (option A: every second pixel, zero channels on both sides). Convolutions are Kaiming-normal.
    He et al., CVPR 2016, Sec. 4.2; depth 32 has 0.46 M parameters and 64 features.

    Args:
        depth: 6 n + 2 with n blocks per group.
        width: channels of the first group; doubled in the second and the third.
    """

    timm_name: str | None = None

    def __init__(self, *, depth: int = 32, width: int = 16) -> None:
        super().__init__()
        if depth < 8 or (depth - 2) % 6:
            raise UserError(f"CifarResNet has depth 6 n + 2 (8, 14, 20, 32, 44, 56, 110); got {depth}.")
        self.num_features = 4 * width
        self.conv = conv3x3(3, width)
        self.norm = nn.BatchNorm2d(width)
        channels = [width, width, 2 * width, 4 * width]
        self.groups = nn.Sequential(
            *(_group(channels[g], channels[g + 1], (depth - 2) // 6, stride=1 if g == 0 else 2) for g in range(3))
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, images: Images) -> Features:
        return pooled(self.maps(images))

    def maps(self, images: Images) -> Maps:
        """The feature maps before the pooling."""
        maps: Maps = self.groups(F.relu(self.norm(self.conv(images)), inplace=True))
        return maps

    @property
    def last_group(self) -> nn.Sequential:
        """The last group of residual blocks: modules of the network itself, not copies."""
        return cast(nn.Sequential, self.groups[-1])

    def take_later_groups(self) -> nn.Sequential:
        """Takes the second and the third group out of the network and returns them; its `maps` are then those of the first."""
        later, self.groups = self.groups[1:], self.groups[:1]
        return later


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut without parameters."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = conv3x3(in_channels, channels, stride), nn.BatchNorm2d(channels)
        self.conv2, self.norm2 = conv3x3(channels, channels), nn.BatchNorm2d(channels)
        self.stride, self.extra_channels = stride, channels - in_channels

    def forward(self, maps: Tensor) -> Tensor:
        residual = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(maps)), inplace=True)))
        residual += self.shortcut(maps)
        return F.relu(residual, inplace=True)

    def shortcut(self, maps: Tensor) -> Tensor:
        if self.stride == 1 and self.extra_channels == 0:
            return maps
        half = self.extra_channels // 2
        every_second = F.avg_pool2d(maps, 1, self.stride)  # maps[:, :, ::stride, ::stride], but its gradient keeps channels_last
        return F.pad(every_second, (0, 0, 0, 0, half, self.extra_channels - half))


def pooled(maps: Maps) -> Features:
    """Global average pooling: the mean over all positions."""
    return F.avg_pool2d(maps, maps.shape[-2:]).flatten(1)


def conv3x3(in_channels: int, channels: int, stride: int = 1) -> nn.Conv2d:
    """A 3x3 convolution without bias that keeps the height and width (divided by `stride`)."""
    return nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1, bias=False)


def _group(in_channels: int, channels: int, blocks: int, stride: int) -> nn.Sequential:
    first = BasicBlock(in_channels, channels, stride)
    return nn.Sequential(first, *(BasicBlock(channels, channels, 1) for _ in range(blocks - 1)))
