"""Writes the network of a finished run as a folder that timm loads, with the inference rule folded into the classifier."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from longtail.errors import UserError
from longtail.heads import LinearHead
from longtail.inference.fitting import function_of
from longtail.networks.timm_backbone import TimmBackbone
from longtail.runs.affine import affine
from longtail.runs.serving import Predictor
from longtail.runs.timm_layout import timm_config, timm_shape, to_timm

INSTEAD = "Use `longtail export RUN --format onnx`."


def timm_parts(predictor: Predictor) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the config.json of a folder for `timm.create_model("local-dir:FOLDER", pretrained=True)`.

    The network's logits are the rule's scores; its input are images that are normalised by the mean and std of the config.

    Raises:
        UserError: timm has no such network, or no such classifier.
    """
    backbone, head, rule = predictor.model.backbone, predictor.model.head, predictor.rule
    if type(backbone) is not TimmBackbone:
        raise UserError(f"timm has no network such as {type(backbone).__name__}, which this run uses. {INSTEAD}")
    layer = affine(head, predictor.config, rule)
    if layer is None:
        made_of = f"the head {type(head).__name__} with the rule {function_of(rule).__name__}"
        raise UserError(f"timm has linear classifiers only, and {made_of} is none. {INSTEAD}")
    shape = timm_shape(backbone, len(predictor.classes))
    if shape is None:
        raise UserError(f"timm's '{backbone.timm_name}' has a classifier of more than one layer, unlike this run's. {INSTEAD}")
    config = {**predictor.config, "classifier": backbone.body.default_cfg["classifier"]}
    return _tensors(predictor, layer.state_dict(), config, shape), timm_config(backbone, config)


def _tensors(
    predictor: Predictor, layer: Mapping[str, Tensor], config: Mapping[str, Any], shape: tuple[int, ...]
) -> dict[str, Tensor]:
    model, head = predictor.model, LinearHead(*reversed(layer["weight"].shape))
    body = {f"backbone.{name}": tensor for name, tensor in model.backbone.state_dict().items()}
    folded = {"head.weight": layer["weight"], "head.bias": layer["bias"], "head.scale": head.scale}
    return to_timm({**body, **folded}, config["classifier"], shape)
