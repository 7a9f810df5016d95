"""Methods that need more than one classifier on one network: BBN, De-confound-TDE, OLTR, Hybrid-SC and Hybrid-PSC."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from longtail import schedules
from longtail.branches import AttentiveBackbone, TwoBranchBackbone
from longtail.data.transforms import random_grayscale
from longtail.heads import CausalHead, LinearHead, MetaHead
from longtail.inference import deconfounded
from longtail.losses import CentroidLoss, PrototypicalContrastiveLoss, SupervisedContrastiveLoss
from longtail.models import Projection
from longtail.recipe import Recipe, Setting
from longtail.recipes.budget import (
    BEFORE_EPOCH,
    CIFAR,
    LARGE,
    WITH_REPLACEMENT,
    Key,
    Own,
    base,
    first_stage,
    own_budget,
    published,
    second_stage,
    whole,
)
from longtail.starts import class_means
from longtail.steps import bilateral, classify, contrast, meta_embed, remember
from longtail.weighting import power, reverse

AT_60_AND_80 = partial(schedules.steps, milestones=(0.6, 0.8))
AT_60_AND_80_BY_100 = partial(schedules.steps, milestones=(0.6, 0.8), factor=0.01)
FROM_A_THIRD = partial(schedules.warmed_up, schedule=AT_60_AND_80_BY_100, start=1 / 3)

BBN: Mapping[Key, Own] = whole({"batch_size": 128, "nesterov": True, "drop_last": True, "schedule": FROM_A_THIRD}, *CIFAR) | {
    ("inaturalist2018", None): {
        "epochs": 180,
        "batch_size": 128,
        "lr": 0.05,
        "weight_decay": 1e-4,
        "nesterov": True,
        "drop_last": True,
        "schedule": partial(schedules.steps, milestones=(120 / 180, 160 / 180)),
    }
}
TDE: Mapping[Key, Own] = whole(
    {"batch_size": 256, "lr": 0.2, "weight_decay": 5e-4, "drop_last": True, "schedule": FROM_A_THIRD}, *CIFAR
) | whole(
    {"epochs": 90, "batch_size": 512, "lr": 0.2, "weight_decay": 5e-4, "drop_last": True, "schedule": BEFORE_EPOCH},
    ("imagenet_lt", None),
    ("places_lt", None),
)
TDE_ALPHA: Mapping[Key, float] = {("cifar10", None): 1.0, ("cifar100", None): 1.5} | whole(3.0, *LARGE)
OLTR_SECOND: Mapping[Key, Own] = {
    ("imagenet_lt", None): {"share": 60 / 30, "batch_size": 128, "weight_decay": 5e-4, "body": 0.1},
    ("places_lt", None): {"share": 30 / 30, "batch_size": 128, "weight_decay": 5e-4, "body": 0.01},
    ("cifar100", None): {"share": 1.0, "body": 0.1},
}
OLTR_FIRST: Mapping[Key, Own] = whole(
    {"epochs": 30, "batch_size": 128, "weight_decay": 5e-4, "schedule": partial(schedules.steps, milestones=(1 / 3, 2 / 3))},
    ("imagenet_lt", None),
    ("places_lt", None),
)
HYBRID: Mapping[Key, Own] = whole(
    {
        "batch_size": 512,
        "lr": 0.5,
        "weight_decay": 1e-4,
        "augment": (random_grayscale,),
        "schedule": partial(schedules.warmed_up, schedule=AT_60_AND_80),
    },
    *CIFAR,
)
PSC_TEMPERATURE: Mapping[Key, float] = {("cifar10", None): 1.0, ("cifar100", None): 0.1}


def bbn(setting: Setting) -> Recipe:
    """Two branches with draws of their own, as the images come and reversed, mixed by a curriculum."""
    own, notes = own_budget(setting, BBN)
    horizon = {90: 100, 180: 200}.get(own.get("epochs", 0))
    curriculum = partial(schedules.parabolic, horizon=horizon) if horizon else schedules.parabolic
    stage = first_stage(setting, own, step=partial(bilateral, curriculum=curriculum), companion=reverse)
    return Recipe(
        "bbn",
        (stage,),
        head=partial(LinearHead, kaiming=False),
        backbone=TwoBranchBackbone,
        source="Zhou et al., CVPR 2020; Megvii-Nanjing/BBN",
        year=2020,
        departures=(
            *notes,
            "One linear layer on the features of both branches with one bias and a factor 2, as in the code; the paper has two.",
            "The network's last block is doubled, so it has more parameters than the others' (stated at the common budget too).",
            "Learning rates as on torch 1.0.1, which the authors' code was written for (drops begin with epochs 121 and 161).",
        ),
    )


def tde(setting: Setting, *, alpha: float | None = None) -> Recipe:
    """A normalised multi-head classifier, whose bias towards the training average is taken out at inference."""
    own, notes = own_budget(setting, TDE)
    chosen, alpha_notes = (alpha, ()) if alpha is not None else published(setting, TDE_ALPHA)
    large = (setting.benchmark, None) in LARGE
    step = partial(remember, momentum=BEFORE_EPOCH, base=0.2) if large else classify
    branches = "" if own and not large else "Plain network instead of BBN's two branches. "
    return Recipe(
        "tde",
        (first_stage(setting, own, step=step),),
        head=CausalHead,
        backbone=TwoBranchBackbone if own and not large else None,
        inference=partial(deconfounded, alpha=chosen),
        source="Tang et al., NeurIPS 2020; KaihuaTang/Long-Tailed-Recognition.pytorch",
        year=2020,
        departures=(
            *notes,
            *alpha_notes,
            f"{branches}The published CIFAR table has BBN's two-branch network, one head per branch, on the same images.",
            "The rate drops one epoch later than under the authors' torch, and the first one is a third of the full one.",
        ),
    )


def oltr(setting: Setting) -> Recipe:
    """A plain network, then attention on its last map and a head that remembers class centroids."""
    own, note = (OLTR_FIRST[(setting.benchmark, None)], "") if (setting.benchmark, None) in OLTR_FIRST else base(setting)
    first = first_stage(setting, own)
    values, notes = published(setting, OLTR_SECOND)
    body = values["body"]
    second = second_stage(
        setting,
        first,
        {name: value for name, value in values.items() if name not in ("share", "body")},
        share=values["share"],
        schedule=partial(schedules.steps, milestones=(1 / 3, 2 / 3)),
        backbone=AttentiveBackbone,
        head=MetaHead,
        resample=power,
        step=meta_embed,
        feature_loss=CentroidLoss,
        learning_rates={"backbone.*": body, "loss.*": 0.1, "head.*": 1.0},
        start=class_means,
    )
    return Recipe(
        "oltr",
        (first, second),
        source="Liu et al., CVPR 2019; zhmiao/OpenLongTailRecognition-OLTR",
        year=2019,
        departures=(
            *filter(None, (note,)),
            *notes,
            "Not published on CIFAR: loss and head of ImageNet-LT, as many epochs in the second stage as in the first.",
            "Centroid loss on the direct feature and reachability 10 / distance as in the code; the paper's loss is on the "
            "meta-embedding, its reachability 1 / distance.",
            "The attention's layers keep the random start that the code gives them; the paper's would start at zero.",
            "No extra fully connected layer before the head; the memory is one update behind the centroids.",
            WITH_REPLACEMENT,
        ),
    )


def hybrid_sc(setting: Setting, *, temperature: float = 0.1) -> Recipe:
    """Supervised contrast of two views, giving way to a classifier on class-balanced draws."""
    recipe = _hybrid(setting, partial(SupervisedContrastiveLoss, temperature=temperature), views=2)
    note = "The contrastive loss is the mean over anchors; the paper sums."
    return replace(recipe, name="hybrid_sc", departures=(*recipe.departures, note))


def hybrid_psc(setting: Setting, *, temperature: float | None = None) -> Recipe:
    """Contrast with one learned prototype per class, giving way to a classifier on class-balanced draws."""
    chosen, notes = (temperature, ()) if temperature is not None else published(setting, PSC_TEMPERATURE)
    recipe = _hybrid(setting, partial(PrototypicalContrastiveLoss, temperature=chosen), views=1)
    note = "Prototypes are learned by SGD with the network; the sources do not say how they are updated."
    return replace(recipe, name="hybrid_psc", departures=(*recipe.departures, *notes, note))


def _hybrid(setting: Setting, feature_loss: Callable[..., Any], *, views: int) -> Recipe:
    own, notes = own_budget(setting, HYBRID)
    stage = first_stage(setting, own, step=contrast, companion=power, views=views, feature_loss=feature_loss)
    return Recipe(
        "",
        (stage,),
        projection=Projection,
        source="Wang et al., CVPR 2021 (arXiv 2103.14267); no code was released",
        year=2021,
        departures=(
            *notes,
            "No official code: hyper-parameters as quoted by a reproduction, hidden layer and projection sizes are ours.",
            "Five epochs of warm-up, which the sources do not mention: 0.5 from the first step on can diverge.",
            "The class-balanced batch is as large as the other, and drawn with replacement.",
        ),
    )
