"""Contrastive learning that gives way to classification on class-balanced draws: Hybrid-SC, Hybrid-PSC."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from longtail import schedules
from longtail.data.transforms import random_grayscale
from longtail.losses import PrototypicalContrastiveLoss, SupervisedContrastiveLoss
from longtail.networks import Projection
from longtail.recipes.budget import CIFAR, Budget, Key, asked_or_published, own_budget, whole
from longtail.recipes.stages import first_stage
from longtail.spec.recipe import Recipe, Setting, Stage
from longtail.steps import contrast
from longtail.weighting import power

HYBRID = whole(
    Budget(
        batch_size=512,
        lr=0.5,
        weight_decay=1e-4,
        augment=(random_grayscale,),
        schedule=partial(schedules.warmed_up, schedule=partial(schedules.steps, milestones=(0.6, 0.8))),
    ),
    *CIFAR,
)
PSC_TEMPERATURE: dict[Key, float] = {("cifar10", None): 1.0, ("cifar100", None): 0.1}
SOURCE = "Wang et al., CVPR 2021 (arXiv 2103.14267); no code was released"
NO_CODE = (
    "There is no official code: the hyper-parameters are as quoted by a reproduction, the sizes of the hidden layer and of the "
    "projection are our choice."
)


def hybrid_sc(setting: Setting, *, temperature: float = 0.1) -> Recipe:
    """Supervised contrastive learning on two views, which gives way to a classifier on class-balanced draws."""
    stage = _contrasted(setting, partial(SupervisedContrastiveLoss, temperature=temperature), views=2)
    notes = (NO_CODE, "The contrastive loss is the mean over anchors; the paper takes the sum.")
    return Recipe("hybrid_sc", (stage,), projection=Projection, source=SOURCE, year=2021, departures=notes)


def hybrid_psc(setting: Setting, *, temperature: float | None = None) -> Recipe:
    """Contrastive learning with one learned prototype per class, which gives way to a classifier on class-balanced draws."""
    chosen, notes = asked_or_published(setting, temperature, PSC_TEMPERATURE)
    stage = _contrasted(setting, partial(PrototypicalContrastiveLoss, temperature=chosen), views=1)
    learned = "Prototypes are learned by SGD with the network; the sources do not say how they are updated."
    departures = (NO_CODE, *notes, learned)
    return Recipe("hybrid_psc", (stage,), projection=Projection, source=SOURCE, year=2021, departures=departures)


def _contrasted(setting: Setting, feature_loss: Callable[..., Any], *, views: int) -> Stage:
    own, notes = own_budget(setting, HYBRID)
    warmed = (
        "There are five epochs of warm-up, which the sources do not mention: a learning rate of 0.5 from the first step on can "
        "diverge."
    )
    companion = "The class-balanced batch is as large as the other batch, and drawn with replacement."
    return first_stage(
        setting,
        own,
        step=contrast,
        companion=power,
        views=views,
        feature_loss=feature_loss,
        departures=(*notes, *((warmed,) if setting.budget == "paper" else ()), companion),
    )
