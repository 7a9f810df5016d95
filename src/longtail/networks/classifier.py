"""A classifier is a backbone and a head; recipes wrap either, and some add a projection for losses on features."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float
from torch import Tensor, nn

from longtail.errors import UserError
from longtail.heads.base import Head, at_least_float32, check_head, class_vectors

Images = Float[Tensor, "batch 3 height width"]
Features = Float[Tensor, "batch features"]


class Classifier(nn.Module):
    """Computes logits (B, C) from images (B, 3, H, W) by way of features (B, D).

    Training steps that need more than logits call `backbone`, `head` and `projection` themselves.
    """

    def __init__(self, backbone: nn.Module, head: nn.Module, projection: Projection | None = None) -> None:
        super().__init__()
        self.backbone, self.head, self.projection = backbone, head, projection

    def forward(self, images: Images) -> Float[Tensor, "batch classes"]:
        return self.features_and_logits(images)[1]

    def features_and_logits(self, images: Images) -> tuple[Features, Float[Tensor, "batch classes"]]:
        """The features (B, D) that the head is given, and its logits (B, C)."""
        features: Tensor = self.backbone(images)
        return features, at_least_float32(self.head(features))

    @property
    def representation_size(self) -> int:
        """Length of the vectors that a loss on features gets: projections if there are any, else features."""
        size: Any = self.backbone.num_features if self.projection is None else self.projection.size
        return int(size)


class Projection(nn.Module):
    """Projects features (B, D) to unit vectors (B, S) for contrastive losses, by one hidden layer of width D, in float32.

    Source: Wang et al., CVPR 2021; the sources at hand do not give the sizes; 128 is customary.

    Args:
        in_features: length D of a feature vector.
        size: length S of a unit vector.
    """

    def __init__(self, in_features: int, *, size: int = 128) -> None:
        super().__init__()
        self.size = size
        self.layers = nn.Sequential(nn.Linear(in_features, in_features), nn.ReLU(), nn.Linear(in_features, size))

    def forward(self, features: Features) -> Float[Tensor, "batch size"]:
        with torch.autocast(features.device.type, enabled=False):
            return F.normalize(self.layers(at_least_float32(features)), dim=1)


def assemble(
    backbone: Any,
    *,
    classes: int,
    image_size: int,
    head: Callable[..., nn.Module],
    backbone_wrapper: Callable[..., nn.Module] | None = None,
    projection: Callable[..., Projection] | None = None,
) -> Classifier:
    """Builds the classifier that a recipe's first stage begins with.

    Raises:
        UserError: `head` builds something that is not a `longtail.heads.Head`, or that gives another number of logits.
    """
    if backbone_wrapper is not None:
        backbone = backbone_wrapper(backbone, image_size=image_size)
    features = backbone.num_features
    built = check_head(head(features, classes))
    _check_logits(built, features, classes)
    return Classifier(backbone, built, projection and projection(features))


def prepare_for_stage(
    model: Classifier,
    *,
    head: str | Callable[..., nn.Module],
    backbone_wrapper: str | Callable[..., nn.Module],
    fresh_head: Callable[..., nn.Module],
    image_size: int,
) -> None:
    """Gives the model the head and the backbone that a stage trains, and sets the scale of every head to 1.

    Args:
        head: "keep", "reset" for the weights of a new `fresh_head`, or a function that wraps the head: `wrapper(head)`.
        backbone_wrapper: "keep", or a function that wraps the backbone: `wrapper(backbone, image_size=...)`.
        fresh_head: class or function that builds the recipe's head, `fresh_head(num_features, num_classes)`.
        image_size: side of the images in pixels.

    Raises:
        UserError: the head is not a `longtail.heads.Head`, or cannot be reset or wrapped.
    """
    device = next(model.parameters()).device
    if head == "reset":
        _reset(model.head, fresh_head)
    elif callable(head):
        model.head = check_head(head(model.head)).to(device)
    if callable(backbone_wrapper):
        model.backbone = backbone_wrapper(model.backbone, image_size=image_size).to(device)
    for part in model.head.modules():
        if isinstance(part, Head):
            part.scale.fill_(1.0)


def _check_logits(head: nn.Module, features: int, classes: int) -> None:
    """Refuses, before training, a head whose logits are not one per class, or do not follow its scale."""
    training = head.training
    with torch.no_grad():
        logits = head.eval()(torch.ones(2, features))
        head.get_buffer("scale").mul_(2)
        doubled = head(torch.ones(2, features))
        head.get_buffer("scale").div_(2)
    head.train(training)
    if not isinstance(logits, Tensor) or logits.shape != (2, classes):
        shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise UserError(
            f"The head {type(head).__name__} must give logits (B, {classes}) for features (B, {features}); got {shape}."
        )
    if not torch.allclose(doubled, 2 * logits):
        raise UserError(f"The head {type(head).__name__} must multiply its logits by `self.scale`, which keeps the loss's scale.")


def _reset(head: nn.Module, fresh_head: Callable[..., nn.Module]) -> None:
    """Replaces the weights of the head by those of a newly built head of the recipe."""
    classes, features = class_vectors(head).shape
    fresh = fresh_head(features, classes).state_dict()
    if fresh.keys() != head.state_dict().keys():
        raise UserError(
            f"A stage with `head=reset` needs the recipe's own head, but here it is {type(head).__name__}; reset the head in a "
            f"stage before it is wrapped."
        )
    head.load_state_dict(fresh)
