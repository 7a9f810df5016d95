"""A classifier is a backbone and a head."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

Images = Float[Tensor, "batch 3 height width"]


class Classifier(nn.Module):
    """Images (B, 3, H, W) -> logits (B, C) by way of features (B, D)."""

    def __init__(self, backbone: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head

    def forward(self, images: Images) -> Float[Tensor, "batch classes"]:
        logits: Tensor = self.head(self.backbone(images))
        return logits
