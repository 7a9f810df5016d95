"""Writes a model as safetensors and config.json, in timm's layout where timm can build the same network."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor

from longtail import heads
from longtail.inference import InferenceRule, as_trained
from longtail.inference.fitting import function_of, keywords_of
from longtail.networks.classifier import Classifier
from longtail.networks.timm_backbone import TimmBackbone
from longtail.runs.run import Run
from longtail.runs.timm_layout import timm_config, timm_shape, to_timm
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
        "interpolation": data.interpolation,
        "fit": data.fit,
        "resize": data.resize,
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
    shape = timm_shape(backbone, len(data.classes)) if plain_head and isinstance(backbone, TimmBackbone) else None
    if isinstance(backbone, TimmBackbone) and shape is not None:
        config["classifier"] = backbone.body.default_cfg["classifier"]
        tensors = to_timm(tensors, config["classifier"], shape)
        run.write_model(tensors, {**timm_config(backbone, config), "longtail": config})
    else:
        run.write_model(tensors, {"longtail": config})


def _without_download(description: Any) -> Any:
    return {key: value for key, value in description.items() if key != "pretrained"}
