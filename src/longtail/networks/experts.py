"""A backbone in which several experts share the first layers and have later layers of their own."""

from __future__ import annotations

import copy
from typing import Any, Literal, get_args

import torch
from torch import nn

from longtail.errors import UserError
from longtail.networks.backbones import Features, Images, Maps, pooled
from longtail.networks.wrappers import reinitialised, with_active_norms

Start = Literal["drawn", "copied"]


class ExpertsBackbone(nn.Module):
    """A shared trunk and E copies of the network's later groups, side by side; the features of all are concatenated.

    On `CifarResNet` the stem and the first group are shared, the second and the third group are each expert's own; on timm's
    residual networks only the last group (`layer4`) is. The first expert has the groups of the given network itself.

    Source: Aimar et al., CVPR 2023 (BalPoE); facts from emasa/BalPoE-CalibratedLT@ca607ae, on CIFAR.

    Args:
        backbone: a residual network; it becomes the trunk, and its later groups are taken out of it.
        image_size: not used; it is accepted so that all wrappers are called alike.
        experts: number E of experts.
        start: "drawn" for newly drawn weights of every expert but the first (convolutions Kaiming-normal), "copied" for the
            weights of the given network in every expert, as where these were pretrained.

    Raises:
        UserError: the network has no groups of residual blocks, or an argument is not allowed.

    >>> from longtail.networks.backbones import CifarResNet
    >>> backbone, images = ExpertsBackbone(CifarResNet(depth=8)), torch.zeros(2, 3, 8, 8)
    >>> backbone(images).shape, backbone.maps(images).shape
    (torch.Size([2, 192]), torch.Size([2, 192, 2, 2]))
    """

    timm_name: str | None = None

    def __init__(self, backbone: Any, *, image_size: int | None = None, experts: int = 3, start: Start = "drawn") -> None:
        super().__init__()
        _check(backbone, experts, start)
        self.num_features = experts * backbone.num_features
        own = backbone.take_later_groups()
        self.trunk = backbone
        if start == "drawn":
            copies = [reinitialised(with_active_norms(own)) for _ in range(experts - 1)]
        else:
            copies = [copy.deepcopy(own) for _ in range(experts - 1)]
        self.experts = nn.ModuleList([own, *copies])

    def forward(self, images: Images) -> Features:
        return pooled(self.maps(images))

    def maps(self, images: Images) -> Maps:
        """The feature maps before the pooling, those of all experts concatenated, from one pass through the trunk."""
        shared = self.trunk.maps(images)
        return torch.cat([expert(shared) for expert in self.experts], dim=1)


def _check(backbone: Any, experts: int, start: str) -> None:
    if not hasattr(backbone, "take_later_groups"):
        raise UserError(
            f"{type(backbone).__name__} has no groups of residual blocks, which each expert would have of its own; this method "
            f"needs a residual network such as resnet32 or resnet50."
        )
    if isinstance(experts, bool) or not isinstance(experts, int) or experts < 1:
        raise UserError(f"ExpertsBackbone needs `experts`, a whole number of at least 1; got {experts!r}.")
    if start not in get_args(Start):
        raise UserError(f"There is no start {start!r}; there are 'drawn' and 'copied'.")
