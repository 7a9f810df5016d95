"""Features combined with a memory of class centroids: OLTR."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from longtail import schedules
from longtail.errors import UserError
from longtail.heads import MetaHead
from longtail.losses import CentroidLoss
from longtail.networks import AttentiveBackbone
from longtail.recipes.baselines import plain_stage
from longtail.recipes.budget import WITH_REPLACEMENT, Budget, Key, published
from longtail.recipes.stages import first_stage, plain_head, second_stage
from longtail.spec.recipe import Recipe, Setting, Stage
from longtail.steps import class_means, meta_embed
from longtail.text import unknown
from longtail.weighting import power


@dataclass(frozen=True)
class SecondStage:
    """Values that OLTR's second stage was published with for one data set.

    Args:
        budget: budget of the stage, with its learning rate.
        learning_rates: pattern of parameter names -> factor of the budget's learning rate.
    """

    budget: Budget
    learning_rates: Mapping[str, float]


@dataclass(frozen=True)
class CentroidConstants:
    """Constants in which OLTR's code and paper differ.

    Args:
        reach: reachability of a feature, times its distance to the nearest centroid.
        feature_weight: weight of the centroid loss.
        margin: margin of the centroid loss, between the own class's centroid and the others'.
    """

    reach: float
    feature_weight: float
    margin: float


AT_THIRDS = partial(schedules.steps, milestones=(1 / 3, 2 / 3))
PLAIN = Budget(batch_size=128, weight_decay=5e-4, drop_last=True, schedule=AT_THIRDS)
FIRST = replace(PLAIN, epochs=30, lr=0.1)
SECOND: dict[Key, SecondStage] = {
    ("imagenet_lt", None): SecondStage(replace(PLAIN, share=60 / 30, lr=0.1), {"backbone.*": 0.1, "loss.*": 0.1, "head.*": 1.0}),
    ("places_lt", None): SecondStage(
        replace(PLAIN, share=30 / 30, lr=0.01), {"backbone.attention.*": 0.01, "loss.*": 1.0, "head.*": 1.0}
    ),
}
FORMS = {
    "code": CentroidConstants(reach=10.0, feature_weight=0.01, margin=10.0),
    "paper": CentroidConstants(reach=1.0, feature_weight=0.1, margin=5.0),
}


def oltr(setting: Setting, *, form: Literal["code", "paper"] = "code") -> Recipe:
    """A plain network, then attention on its last feature map and a head that remembers class centroids."""
    first = _first(setting)
    return Recipe(
        "oltr",
        (first, _second(setting, first, form)),
        head=plain_head(setting),
        source="Liu et al., CVPR 2019; zhmiao/OpenLongTailRecognition-OLTR@8132217",
        year=2019,
        departures=(
            "The network is the setting's; the authors have a ResNet-10 on ImageNet-LT, Caffe's ResNet-152 on Places-LT.",
        ),
    )


def _first(setting: Setting) -> Stage:
    if (setting.benchmark, None) not in SECOND or setting.budget != "paper":
        return plain_stage(setting)
    slow_trunk = {"backbone.*": 0.01, "head.*": 1.0} if setting.benchmark == "places_lt" else None
    return first_stage(setting, FIRST, learning_rates=slow_trunk)


def _second(setting: Setting, first: Stage, form: Literal["code", "paper"]) -> Stage:
    own, notes = published(setting, SECOND)
    if form not in FORMS:
        raise UserError(unknown("form", form, list(FORMS)))
    constants = FORMS[form]
    budget = Budget(share=1.0, lr=own.budget.lr, schedule=own.budget.schedule) if notes else own.budget
    as_long = "The second stage has as many epochs as the first; the authors have 60 after 30 on ImageNet-LT."
    return second_stage(
        setting,
        first,
        budget,
        backbone_wrapper=AttentiveBackbone,
        head=partial(MetaHead, reach=constants.reach),
        resample=power,
        step=partial(meta_embed, feature_weight=constants.feature_weight, form=form),
        feature_loss=partial(CentroidLoss, margin=constants.margin, form=form),
        learning_rates=own.learning_rates,
        start=class_means,
        departures=(
            *notes,
            *((as_long,) if notes else ()),
            "The centroid loss is on the direct feature and reachability is 10 / distance, as in the code; the paper "
            "(form=paper) has another loss, on the meta embedding, and reachability 1 / distance.",
            "The attention's layers keep the random initial weights that the code gives them; the paper's would start at zero.",
            "There is no extra fully connected layer before the head; the memory is one update behind the centroids.",
            WITH_REPLACEMENT,
        ),
    )
