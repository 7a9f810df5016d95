"""The optimizer of a stage: which parameters it trains, at which rates, and how it computes."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn

from longtail.errors import UserError
from longtail.losses.contract import check_head_of
from longtail.networks.classifier import Classifier
from longtail.spec.description import parameters_of
from longtail.spec.recipe import Stage


def new_optimizer(stage: Stage, groups: list[dict[str, Any]], device: torch.device) -> torch.optim.Optimizer:
    """Builds the stage's optimizer: fused unless the recipe chose, and on CUDA capturable in a graph, where it can be."""
    known = parameters_of(stage.optimizer)
    chosen = known.get("fused") is not None or known.get("foreach") is not None
    wanted = {"fused": not chosen, "capturable": device.type == "cuda"}
    optimizer: torch.optim.Optimizer = stage.optimizer(
        groups, **{name: True for name in wanted if wanted[name] and name in known}
    )
    return optimizer


def parameter_groups(model: Classifier, loss: nn.Module, stage: Stage) -> list[dict[str, Any]]:
    """Builds one optimizer group per learning-rate factor, and freezes what no pattern names; `loss.*` are the loss's names.

    Raises:
        UserError: the loss needs another head, a pattern names no parameter, or no pattern of a parameter's is the narrowest.
    """
    check_head_of(loss, model.head)
    named = [*model.named_parameters(), *((f"loss.{name}", parameter) for name, parameter in loss.named_parameters())]
    patterns = stage.learning_rates or {"*": 1.0}
    members: dict[str, list[nn.Parameter]] = {pattern: [] for pattern in patterns}
    for name, parameter in named:
        pattern = _narrowest(name, members)
        parameter.requires_grad_(pattern is not None)
        if pattern is not None:
            members[pattern].append(parameter)
    for pattern, parameters in members.items():
        if not parameters:
            names = ", ".join(sorted({name.split(".")[0] + ".*" for name, _ in named}))
            raise UserError(f"learning_rates names '{pattern}', but no parameter has such a name; there are {names}.")
    lr = parameters_of(stage.optimizer)["lr"]
    depth = layer_factors(model.backbone, stage.layer_decay)
    return [
        {
            "params": [parameter for parameter in parameters if depth.get(parameter, 1.0) == factor],
            "lr": lr * patterns[name] * factor,
        }
        for name, parameters in members.items()
        for factor in sorted({depth.get(parameter, 1.0) for parameter in parameters}, reverse=True)
    ]


def _narrowest(name: str, patterns: Iterable[str]) -> str | None:
    """The pattern that decides about a parameter: the one that every other pattern of the parameter's contains; None for none."""
    fitting = [pattern for pattern in patterns if fnmatchcase(name, pattern)]
    if not fitting:
        return None
    for pattern in sorted(fitting, key=lambda each: each.count("*")):
        if all(pattern == other or _contains(other, pattern) for other in fitting):
            return pattern
    listed = " and ".join(f"'{pattern}'" for pattern in fitting[:2])
    raise UserError(
        f"learning_rates has {listed}, which both name '{name}', and neither contains the other; add '{name}' with a factor of "
        f"its own, or a pattern that both contain."
    )


def _contains(pattern: str, other: str) -> bool:
    """Whether a pattern names whatever another one does, as far as their texts tell."""
    begin = pattern.removesuffix("*")
    return fnmatchcase(other, pattern) or (begin != pattern and other.startswith(begin))


def layer_factors(backbone: nn.Module, decay: float) -> dict[nn.Parameter, float]:
    """Factor of the learning rate of each parameter of timm's network, which falls by `decay` from each layer to the one before.

    Source: Clark et al., ICLR 2020 (ELECTRA), as timm's optimizers have it. Empty for a decay of 1 and for other networks.
    """
    body = getattr(backbone, "body", None)
    if decay == 1 or body is None:
        return {}
    from timm.optim import param_groups_layer_decay

    groups = param_groups_layer_decay(body, layer_decay=decay)
    return {parameter: float(group["lr_scale"]) for group in groups for parameter in group["params"]}
