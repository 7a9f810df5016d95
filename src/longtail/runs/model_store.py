"""Writes a model as safetensors and config.json, in timm's layout where timm can build the same network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from longtail import heads
from longtail.inference import InferenceRule, as_trained
from longtail.inference.fitting import function_of, keywords_of
from longtail.networks.backbones import TimmBackbone
from longtail.networks.classifier import Classifier
from longtail.runs.run import Run
from longtail.spec.description import describe
from longtail.spec.experiment import Experiment


def write_model(run: Run, experiment: Experiment, model: Classifier, rule: InferenceRule) -> None:
    """Writes the folder model/: the weights and all that `load` needs.

    A network of timm with a linear head and the rule `as_trained` is written in timm's layout.
    """
    data = experiment.data
    learned = {name: value for name, value in keywords_of(rule).items() if isinstance(value, Tensor)}
    plain = {name: value for name, value in keywords_of(rule).items() if not isinstance(value, Tensor)}
    config: dict[str, Any] = {
        "classes": data.classes,
        "class_counts": data.class_counts,
        "size": data.size,
        "mean": data.mean,
        "std": data.std,
        "views": experiment.setting.views,
        "backbone": _without_download(describe(experiment.setting.backbone)),
        "wrapper": describe(experiment.recipe.backbone_wrapper),
        "head": describe(experiment.recipe.head),
        "stages": [{"head": describe(s.head), "backbone": describe(s.backbone_wrapper)} for s in experiment.recipe.stages],
        "inference": describe(partial(function_of(rule), **plain)),
    }
    tensors = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("projection.")}
    tensors |= {f"inference.{name}": value for name, value in learned.items()}
    backbone = model.backbone
    plain_head = type(model.head) is heads.LinearHead and function_of(rule) is as_trained
    shape = _timm_shape(backbone, len(data.classes)) if plain_head and isinstance(backbone, TimmBackbone) else None
    if isinstance(backbone, TimmBackbone) and shape is not None:
        config["classifier"] = backbone.body.default_cfg["classifier"]
        tensors = _to_timm(tensors, config["classifier"], shape)
        run.write_model(tensors, {**_timm_config(backbone, config), "longtail": config})
    else:
        run.write_model(tensors, {"longtail": config})


def _timm_shape(backbone: TimmBackbone, classes: int) -> tuple[int, ...] | None:
    """Shape of the classifier's weight in timm (some are 1x1 convolutions); None where its classifier is no linear head."""
    import timm

    with torch.random.fork_rng(devices=[]):
        whole = timm.create_model(backbone.timm_name, num_classes=classes).state_dict()
    classifier = backbone.body.default_cfg["classifier"]
    own = {f"{classifier}.weight", f"{classifier}.bias"}
    return tuple(whole[f"{classifier}.weight"].shape) if whole.keys() - backbone.body.state_dict().keys() == own else None


def _to_timm(tensors: Mapping[str, Tensor], classifier: str, shape: Sequence[int]) -> dict[str, Tensor]:
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


def _timm_config(backbone: TimmBackbone, config: Mapping[str, Any]) -> dict[str, Any]:
    shape = [3, config["size"], config["size"]]
    pretrained = {"input_size": shape, "mean": config["mean"], "std": config["std"], "label_names": config["classes"]}
    pretrained |= {"classifier": config["classifier"], "interpolation": "bilinear", "crop_pct": 1.0, "first_conv": None}
    return {
        "architecture": backbone.timm_name,
        "num_classes": len(config["classes"]),
        "num_features": backbone.num_features,
        "pretrained_cfg": pretrained,
        "model_args": backbone.arguments,
    }


def _without_download(description: Any) -> Any:
    return {key: value for key, value in description.items() if key != "pretrained"}
