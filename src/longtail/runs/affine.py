"""Joins a linear head and a rule that keeps its scores linear into one layer: scores = A f + c for features f."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from longtail.heads import LinearHead, ScaledHead
from longtail.heads.base import class_vectors, one_inside_the_other
from longtail.inference import (
    InferenceRule,
    Predictions,
    as_trained,
    logit_adjusted,
    retrained,
    tau_normalised,
    temperature_scaled,
)
from longtail.inference.adapted import innermost_rule
from longtail.inference.fitting import function_of

RULES = (as_trained, logit_adjusted, retrained, tau_normalised, temperature_scaled)


def affine(head: nn.Module, config: Mapping[str, Any], rule: InferenceRule) -> nn.Linear | None:
    """The layer that gives the rule's scores (B, C) for features (B, D), in float32; None where they are not linear in them.

    They are linear for a linear head, plain or with learned factors per class (LWS), and the rules `as_trained`,
    `logit_adjusted`, `retrained`, `tau_normalised` and `temperature_scaled`, `adapted` or not. c are the scores of the feature
    0, and column d of A those of the feature that is 1 at d and else 0, less c, all in float64.

    Args:
        config: the checked values of model/config.json, of which the class counts are used.
        rule: the fitted rule.
    """
    *wrappers, core = one_inside_the_other(head)
    linear = type(core) is LinearHead and all(type(each) is ScaledHead for each in wrappers)
    if not linear or function_of(innermost_rule(rule)) not in RULES:
        return None
    classes, size = class_vectors(head).shape
    with torch.no_grad():
        scores = _scores(deepcopy(head).double(), torch.cat([torch.zeros(1, size), torch.eye(size)]).double(), config, rule)
    layer = nn.Linear(size, classes)
    layer.load_state_dict({"weight": (scores[1:] - scores[0]).T.float(), "bias": scores[0].float()})
    return layer.requires_grad_(False)


def _scores(head: nn.Module, features: Tensor, config: Mapping[str, Any], rule: InferenceRule) -> Tensor:
    return rule(
        Predictions(
            features=features,
            logits=head(features),
            labels=torch.full((len(features),), -1),
            class_counts=torch.tensor(config["class_counts"], dtype=torch.float64),
            head=dict(head.state_dict()),
        )
    )
