"""The layout in which timm stores a network with a linear classifier, and tensors renamed to it and from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from longtail.networks.timm_backbone import TimmBackbone


def timm_shape(backbone: TimmBackbone, classes: int) -> tuple[int, ...] | None:
    """Shape of the classifier's weight in timm (some are 1x1 convolutions); None where its classifier is no linear head."""
    import timm

    with torch.random.fork_rng(devices=[]):
        whole = timm.create_model(backbone.timm_name, num_classes=classes, **backbone.arguments).state_dict()
    classifier = backbone.body.default_cfg["classifier"]
    own = {f"{classifier}.weight", f"{classifier}.bias"}
    return tuple(whole[f"{classifier}.weight"].shape) if whole.keys() - backbone.body.state_dict().keys() == own else None


def to_timm(tensors: Mapping[str, Tensor], classifier: str, shape: Sequence[int]) -> dict[str, Tensor]:
    """Renames tensors to timm's names, and multiplies the head's scale into its weight and bias, since timm has no scale."""
    scale = tensors["head.scale"]
    body = {n.removeprefix("backbone.body."): t for n, t in tensors.items() if not n.startswith("head.")}
    weight, bias = tensors["head.weight"] * scale, tensors["head.bias"] * scale
    return {**body, f"{classifier}.weight": weight.reshape(*shape), f"{classifier}.bias": bias}


def from_timm(tensors: Mapping[str, Tensor], classifier: str) -> dict[str, Tensor]:
    """Renames tensors from timm's names; `classifier` is timm's name of its classifier."""
    weight, bias = tensors[f"{classifier}.weight"], tensors[f"{classifier}.bias"]
    body = {f"backbone.body.{n}": t for n, t in tensors.items() if n not in (f"{classifier}.weight", f"{classifier}.bias")}
    return {**body, "head.weight": weight.flatten(1), "head.bias": bias, "head.scale": torch.ones(())}


def timm_config(backbone: TimmBackbone, config: Mapping[str, Any]) -> dict[str, Any]:
    """What timm's config.json says of a network with its classifier, whose name `config` holds as `classifier`."""
    shape = [3, config["size"], config["size"]]
    pretrained = {"input_size": shape, "mean": config["mean"], "std": config["std"], "label_names": config["classes"]}
    pretrained |= {
        "classifier": config["classifier"],
        "interpolation": config["interpolation"],
        "crop_pct": 1.0 if config["resize"] is None else config["size"] / config["resize"],
        "first_conv": None,
    }
    return {
        "architecture": backbone.timm_name,
        "num_classes": len(config["classes"]),
        "num_features": backbone.num_features,
        "pretrained_cfg": pretrained,
        "model_args": backbone.arguments,
    }
