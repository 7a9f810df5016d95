"""Networks of timm, and those that timm builds from other numbers of blocks, as backbones."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

from torch import Tensor, nn

from longtail.errors import NoConnectionError, UserError, reason
from longtail.networks.backbones import Features, Images, Maps
from longtail.networks.hub import asked_only_if_reachable
from longtail.text import alike

OTHERS: Mapping[str, tuple[str, Mapping[str, Any]]] = {"resnet10": ("resnet18", {"layers": (1, 1, 1, 1)})}
"""Networks without a name in timm: the model that they are made of, and what is changed. ResNet-10 is that of OLTR and the
decoupling paper, one basic block per group behind the usual stem; timm's resnet10t has another stem and other shortcuts."""


class TimmBackbone(nn.Module):
    """Any model of timm by name, without its classifier.

    Args:
        name: name of a model in `timm.list_models()`, or "resnet10".
        pretrained: whether to start from timm's weights, which timm downloads.
        image_size: side of the images in pixels, for the models that are built for one size (vision transformers).
        zero_init_last: whether the last batch norm of each residual block starts with the scale 0, as in timm; False, for
            residual networks alone, for 1, as in the papers on long tails (facebookresearch/classifier-balancing@22370c6,
            models/ResNetFeature.py).

    Raises:
        UserError: timm has no model of that name, of which similar ones are listed, or cannot build it for this size.
        NoConnectionError: the weights cannot be fetched.
    """

    def __init__(
        self, *, name: str, pretrained: bool = False, image_size: int | None = None, zero_init_last: bool = True
    ) -> None:
        super().__init__()
        import timm

        check_timm_name(name)
        known, how = OTHERS.get(name, (name, {}))
        fixed = timm.get_pretrained_cfg_value(known, "fixed_input_size")
        self.arguments = {**how, **({"img_size": image_size} if fixed and image_size is not None else {})}
        start = {} if zero_init_last else {"zero_init_last": False}
        try:
            with asked_only_if_reachable() if pretrained else nullcontext():
                self.body = timm.create_model(known, pretrained=pretrained, num_classes=0, **self.arguments, **start)
        except Exception as error:
            if not pretrained and "img_size" in self.arguments:
                size = f"{image_size} x {image_size} pixels"
                raise UserError(
                    f"'{name}' cannot be built for images of {size} ({reason(error)}); choose another size."
                ) from error
            if not pretrained:
                raise
            raise NoConnectionError(
                f"The pretrained weights of '{name}' could not be fetched ({type(error).__name__}). Without a connection, get "
                f"its safetensors file elsewhere and pass it as `weights=FILE` instead of `pretrained`."
            ) from error
        self.timm_name: str | None = known
        self.num_features = int(getattr(self.body, "head_hidden_size", None) or self.body.num_features)

    def forward(self, images: Images) -> Features:
        features: Features = self.body(images)
        return features

    def maps(self, images: Images) -> Maps:
        """The feature maps before the pooling.

        Raises:
            UserError: the network has no feature maps, such as a vision transformer.
        """
        maps: Tensor = self.body.forward_features(images)
        if maps.ndim != 4 or maps.shape[1] != self.body.num_features:
            raise UserError(
                f"'{self.timm_name}' gives an output of shape {tuple(maps.shape[1:])} per image, not maps (channels, rows, "
                f"columns), which this method needs; choose a residual network (`backbone=resnet50`), or another method."
            )
        return maps

    @property
    def last_group(self) -> nn.Sequential:
        """The last group of residual blocks: modules of the network itself, not copies.

        Raises:
            UserError: the network has no residual blocks.
        """
        group = getattr(self.body, "layer4", None)
        if not isinstance(group, nn.Sequential):
            raise UserError(
                f"'{self.timm_name}' has no residual blocks, which this method takes apart; choose a residual network "
                f"(`backbone=resnet50`, with weights of it where it starts from any), or another method."
            )
        return group

    def take_later_groups(self) -> nn.Sequential:
        """Takes the last group out of the network and returns it; its `maps` are then those of the group before.

        Raises:
            UserError: the network has no residual blocks.
        """
        group, self.body.layer4 = self.last_group, nn.Identity()
        self.body.num_features = next(each["num_chs"] for each in self.body.feature_info if each["module"] == "layer3")
        return group


def check_timm_name(name: str) -> None:
    """Refuses a name that timm does not have.

    Raises:
        UserError: timm has no model of that name; similar names are listed.
    """
    if not is_timm_name(name):
        raise UserError(f"There is no backbone '{name}'. {_similar(name)}")


def is_timm_name(name: str) -> bool:
    """Whether `TimmBackbone` can build a network of that name."""
    import timm

    return name in OTHERS or bool(timm.is_model(name))


def _similar(name: str) -> str:
    import timm

    close = alike(name, ["resnet32", *OTHERS, *timm.list_models()], most=4)
    return f"Similar: {', '.join(close)}." if close else "`longtail list backbones` prints all names."
