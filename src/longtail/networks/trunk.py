"""A pretrained network of which the last residual block alone is trained, as GCL and MiSLAS do on Places-LT."""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import nn

from longtail.networks.backbones import Features, Images, Maps, pooled


class FrozenTrunk(nn.Module):
    """A residual network whose last block is drawn anew; all before it, the trunk, stays as it is.

    The trunk computes in evaluation mode and without gradients, in training as well, so its batch norms keep the statistics of
    the pretraining. The block has torch's usual initial weights, and its batch norms those of a new layer.

    Source: Zhong et al., CVPR 2021 (MiSLAS) and Li et al., CVPR 2022 (GCL) on Places-LT, as in Keke921/GCLLoss@c2a6233: of
    torchvision's ResNet-152 the third bottleneck of the last group is replaced.

    Args:
        backbone: a residual network; it becomes the trunk, and its last block is taken out of it.
        image_size: not used; it is accepted so that all wrappers are called alike.

    Raises:
        UserError: the network has no residual blocks.

    >>> from longtail.networks.backbones import CifarResNet
    >>> FrozenTrunk(CifarResNet(depth=14))(torch.zeros(2, 3, 8, 8)).shape
    torch.Size([2, 64])
    """

    timm_name: str | None = None

    def __init__(self, backbone: Any, *, image_size: int | None = None) -> None:
        super().__init__()
        self.num_features = backbone.num_features
        group = backbone.last_group
        self.block, group[-1] = group[-1], nn.Identity()
        self.trunk = backbone
        for module in self.block.modules():
            if isinstance(module, (nn.Conv2d, nn.BatchNorm2d)):
                module.reset_parameters()
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Sets the mode of the block; the trunk stays in evaluation mode."""
        super().train(mode)
        self.trunk.eval()
        return self

    def forward(self, images: Images) -> Features:
        return pooled(self.maps(images))

    def maps(self, images: Images) -> Maps:
        """The feature maps before the pooling."""
        with torch.no_grad():
            maps = self.trunk.maps(images)
        last: Maps = self.block(maps)
        return last
