"""Where a method trains the last block of a pretrained network alone: on Places-LT, at the method's own budget."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from longtail.networks import FrozenTrunk
from longtail.networks.timm_backbone import OTHERS
from longtail.spec.description import parameters_of
from longtail.spec.recipe import Setting

BLOCK: Mapping[str, float] = {"backbone.block.*": 1.0, "head.*": 1.0}
WHOLE_NETWORK = (
    "The whole network is trained; the authors train its last block and the classifier alone, and hold the rest in eval mode."
)


def has_frozen_trunk(setting: Setting) -> bool:
    """Whether GCL and MiSLAS freeze the setting's network up to its last block: a pretrained ResNet on Places-LT."""
    backbone = parameters_of(setting.backbone)
    name = str(backbone.get("name"))
    pretrained = bool(setting.weights or backbone.get("pretrained"))
    residual = name.startswith(("resnet", "resnext")) and name not in OTHERS  # ResNet-10 has one block in its last group
    return setting.benchmark == "places_lt" and setting.budget == "paper" and pretrained and residual


def trunk_of(setting: Setting) -> Callable[..., Any] | None:
    """The wrapper of the backbone that freezes the trunk; None where the whole network is trained."""
    return FrozenTrunk if has_frozen_trunk(setting) else None


def trunk_fields(setting: Setting) -> dict[str, Any]:
    """Fields of a first stage that trains the last block alone; none where the whole network is trained."""
    return {"learning_rates": BLOCK} if has_frozen_trunk(setting) else {}


def trunk_notes(setting: Setting) -> tuple[str, ...]:
    """The departure of a first stage on Places-LT that trains the whole network."""
    return (WHOLE_NETWORK,) if setting.benchmark == "places_lt" and not has_frozen_trunk(setting) else ()
