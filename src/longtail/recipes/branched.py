"""Methods that need more than one classifier on one network: BBN, De-confound-TDE, OLTR, Hybrid-SC and Hybrid-PSC."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Literal

from longtail import schedules
from longtail.data.transforms import random_grayscale
from longtail.heads import CausalHead, LinearHead, MetaHead
from longtail.inference import deconfounded
from longtail.losses import CentroidLoss, PrototypicalContrastiveLoss, SupervisedContrastiveLoss
from longtail.networks.classifier import Projection
from longtail.networks.wrappers import AttentiveBackbone, TwoBranchBackbone
from longtail.recipes.budget import (
    BEFORE_EPOCH,
    CIFAR,
    LARGE,
    WITH_REPLACEMENT,
    Key,
    Own,
    base,
    first_stage,
    is_cifar,
    is_large,
    own_budget,
    plain_head,
    published,
    second_stage,
    whole,
)
from longtail.spec.recipe import Recipe, Setting
from longtail.steps import bilateral, class_means, contrast, meta_embed, remember
from longtail.weighting import power, reverse

AT_60_AND_80 = partial(schedules.steps, milestones=(0.6, 0.8))
AT_60_AND_80_BY_100 = partial(schedules.steps, milestones=(0.6, 0.8), factor=0.01)
FROM_A_THIRD = partial(schedules.warmed_up, schedule=AT_60_AND_80_BY_100, start=1 / 3)

BBN: Mapping[Key, Own] = whole(
    {"batch_size": 128, "lr": 0.1, "nesterov": True, "drop_last": True, "schedule": FROM_A_THIRD}, *CIFAR
) | {
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
TDE_ALPHA: Mapping[Key, float] = {
    ("cifar10", None): 1.0,
    ("cifar100", None): 1.5,
    ("imagenet_lt", None): 3.0,
    ("places_lt", None): 3.0,
}
AT_THIRDS = partial(schedules.steps, milestones=(1 / 3, 2 / 3))
OLTR_FIRST: Own = {"epochs": 30, "batch_size": 128, "lr": 0.1, "weight_decay": 5e-4, "schedule": AT_THIRDS, "drop_last": True}
OLTR_SECOND: Mapping[Key, Own] = whole({"batch_size": 128, "weight_decay": 5e-4, "drop_last": True}, *LARGE[:2])
# learning rates of the second stage by name, relative to the first one's base, and its share of epochs
OLTR_RATES: Mapping[Key, tuple[float, Mapping[str, float], float]] = {
    ("imagenet_lt", None): (0.1, {"backbone.*": 0.1, "loss.*": 0.1, "head.*": 1.0}, 60 / 30),
    ("places_lt", None): (0.01, {"backbone.attention.*": 0.01, "loss.*": 1.0, "head.*": 1.0}, 30 / 30),
}
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
    horizon = 200 / 180 if setting.benchmark == "inaturalist2018" and setting.budget == "paper" else 1.0
    stage = first_stage(
        setting, own, step=partial(bilateral, curriculum=partial(schedules.parabolic, horizon=horizon)), companion=reverse
    )
    return Recipe(
        "bbn",
        (stage,),
        head=partial(LinearHead, kaiming=False),
        backbone_wrapper=TwoBranchBackbone,
        source="Zhou et al., CVPR 2020; Megvii-Nanjing/BBN",
        year=2020,
        departures=(
            *notes,
            "One linear layer on the features of both branches with one bias and a factor 2, as in the code; the paper has two.",
            "The network's last block is doubled, so it has more parameters than the others'.",
            *_bbn_notes(setting),
        ),
    )


def tde(setting: Setting, *, alpha: float | None = None) -> Recipe:
    """A normalised multi-head classifier, whose bias towards the training average is taken out at inference."""
    own, notes = own_budget(setting, TDE)
    chosen, alpha_notes = (alpha, ()) if alpha is not None else published(setting, TDE_ALPHA)
    stage = first_stage(setting, own)
    if is_large(setting):
        rate = stage.optimizer.keywords["lr"] if isinstance(stage.optimizer, partial) else setting.learning_rate
        stage = replace(stage, step=partial(remember, momentum=stage.schedule, base=rate))
    branched = setting.budget == "paper" and not is_large(setting)
    return Recipe(
        "tde",
        (stage,),
        head=CausalHead,
        backbone_wrapper=TwoBranchBackbone if branched else None,
        inference=partial(deconfounded, alpha=chosen),
        source="Tang et al., NeurIPS 2020; KaihuaTang/Long-Tailed-Recognition.pytorch",
        year=2020,
        departures=(*notes, *alpha_notes, *_tde_notes(setting, branched)),
    )


def oltr(setting: Setting, *, form: Literal["code", "paper"] = "code") -> Recipe:
    """A plain network, then attention on its last map and a head that remembers class centroids."""
    published_here = setting.benchmark in ("imagenet_lt", "places_lt")
    own, note = (OLTR_FIRST, "") if published_here and setting.budget == "paper" else base(setting)
    slow_trunk = (
        {"learning_rates": {"backbone.*": 0.01, "head.*": 1.0}} if published_here and "places" in setting.benchmark else {}
    )
    first = first_stage(setting, own, **(slow_trunk if setting.budget == "paper" else {}))
    (rate, rates, share), notes = published(setting, OLTR_RATES)
    reach, weight, margin = (10.0, 0.01, 10.0) if form == "code" else (1.0, 0.1, 5.0)
    second = second_stage(
        setting,
        first,
        {"lr": rate, "schedule": AT_THIRDS, **(OLTR_SECOND[(setting.benchmark, None)] if published_here else {})},
        share=share if published_here else 1.0,
        backbone_wrapper=AttentiveBackbone,
        head=partial(MetaHead, reach=reach),
        resample=power,
        step=partial(meta_embed, feature_weight=weight, form=form),
        feature_loss=partial(CentroidLoss, margin=margin, form=form),
        learning_rates=rates,
        start=class_means,
    )
    return Recipe(
        "oltr",
        (first, second),
        head=plain_head(setting),
        source="Liu et al., CVPR 2019; zhmiao/OpenLongTailRecognition-OLTR@8132217",
        year=2019,
        departures=(
            *filter(None, (note,)),
            *notes,
            *(() if published_here else ("As many epochs in the second stage as in the first (60 for 30 on ImageNet-LT).",)),
            *_oltr_notes(setting),
        ),
    )


def _bbn_notes(setting: Setting) -> tuple[str, ...]:
    if setting.budget == "common" or not is_cifar(setting):
        return ()
    return ("Learning rates as on torch 1.0.1, which the authors' code was written for (drops begin with epochs 121 and 161).",)


def _tde_notes(setting: Setting, branched: bool) -> tuple[str, ...]:
    if is_large(setting):
        return ("The setting's network; the published one is ResNeXt-50 (--backbone resnext50_32x4d).",)
    network = (
        "BBN's two-branch network, one head per branch, on the same images, as in the published CIFAR table."
        if branched
        else "The plain network; the published CIFAR table has BBN's two branches, one head per branch."
    )
    shifted = "The rate drops one epoch later than under the authors' torch, and the first one is a third of the full one."
    return (network, *((shifted,) if branched else ()))


def _oltr_notes(setting: Setting) -> tuple[str, ...]:
    return (
        "Centroid loss on the direct feature and reachability 10 / distance as in the code; the paper (form=paper) has another "
        "loss, on the meta embedding, and reachability 1 / distance.",
        "The attention's layers keep the random start that the code gives them; the paper's would start at zero.",
        "No extra fully connected layer before the head; the memory is one update behind the centroids.",
        "The setting's network; on ImageNet-LT the authors have a ResNet-10, on Places-LT Caffe's ResNet-152.",
        WITH_REPLACEMENT,
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
            *(
                ("Five epochs of warm-up, which the sources do not mention: 0.5 from the first step on can diverge.",)
                if own
                else ()
            ),
            "The class-balanced batch is as large as the other, and drawn with replacement.",
        ),
    )
