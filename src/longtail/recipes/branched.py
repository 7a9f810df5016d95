"""More than one classifier on one network: BBN, De-confound-TDE."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from longtail import schedules
from longtail.heads import CausalHead, LinearHead
from longtail.inference import deconfounded
from longtail.networks import TwoBranchBackbone
from longtail.recipes.budget import (
    BEFORE_EPOCH,
    CIFAR,
    Budget,
    Key,
    asked_or_published,
    is_cifar,
    is_large,
    own_budget,
    whole,
)
from longtail.recipes.stages import first_stage
from longtail.spec.recipe import Recipe, Setting
from longtail.steps import bilateral, remember
from longtail.weighting import reverse

FROM_A_THIRD = partial(schedules.warmed_up, schedule=partial(schedules.steps, milestones=(0.6, 0.8), factor=0.01), start=1 / 3)
BBN_PLAIN = Budget(batch_size=128, lr=0.1, nesterov=True, drop_last=True, schedule=FROM_A_THIRD)
BBN = whole(BBN_PLAIN, *CIFAR) | {
    ("inaturalist2018", None): replace(
        BBN_PLAIN,
        epochs=180,
        lr=0.05,
        weight_decay=1e-4,
        schedule=partial(schedules.steps, milestones=(120 / 180, 160 / 180)),
    )
}
TDE_PLAIN = Budget(lr=0.2, weight_decay=5e-4, drop_last=True)
TDE = whole(replace(TDE_PLAIN, batch_size=256, schedule=FROM_A_THIRD), *CIFAR) | whole(
    replace(TDE_PLAIN, epochs=90, batch_size=512, schedule=BEFORE_EPOCH), ("imagenet_lt", None), ("places_lt", None)
)
TDE_ALPHA: dict[Key, float] = {
    ("cifar10", None): 1.0,
    ("cifar100", None): 1.5,
    ("imagenet_lt", None): 3.0,
    ("places_lt", None): 3.0,
}


def bbn(setting: Setting) -> Recipe:
    """Two branches, one on uniform draws and one on reversed draws (rare classes most often), mixed by a curriculum."""
    own, notes = own_budget(setting, BBN)
    horizon = 200 / 180 if setting.benchmark == "inaturalist2018" and setting.budget == "paper" else 1.0
    stage = first_stage(
        setting,
        own,
        step=partial(bilateral, curriculum=partial(schedules.parabolic, horizon=horizon)),
        companion=reverse,
        departures=(*notes, *_bbn_notes(setting)),
    )
    return Recipe(
        "bbn",
        (stage,),
        head=partial(LinearHead, kaiming=False),
        backbone_wrapper=TwoBranchBackbone,
        source="Zhou et al., CVPR 2020; Megvii-Nanjing/BBN",
        year=2020,
        departures=(
            "One linear layer acts on the features of both branches, with one bias and a factor 2, as in the code; the paper has "
            "two layers.",
            "The network's last block is doubled, so it has more parameters than the networks of the other methods.",
        ),
    )


def tde(setting: Setting, *, alpha: float | None = None) -> Recipe:
    """A normalised multi-head classifier, whose bias towards the average training feature is removed at inference."""
    own, notes = own_budget(setting, TDE)
    chosen, alpha_notes = asked_or_published(setting, alpha, TDE_ALPHA)
    branched = setting.budget == "paper" and not is_large(setting)
    shifted = (
        "The learning rate drops one epoch later than under the authors' version of torch, and the first epoch has a third of "
        "the full rate."
    )
    stage = first_stage(setting, own, departures=(*notes, *((shifted,) if branched else ())))
    if is_large(setting):
        rate = stage.optimizer.keywords["lr"] if isinstance(stage.optimizer, partial) else setting.learning_rate
        stage = replace(stage, step=partial(remember, momentum=stage.schedule, base=rate))
    return Recipe(
        "tde",
        (stage,),
        head=CausalHead,
        backbone_wrapper=TwoBranchBackbone if branched else None,
        inference=partial(deconfounded, alpha=chosen),
        source="Tang et al., NeurIPS 2020; KaihuaTang/Long-Tailed-Recognition.pytorch",
        year=2020,
        departures=(*alpha_notes, _tde_network(setting, branched)),
    )


def _bbn_notes(setting: Setting) -> tuple[str, ...]:
    if setting.budget != "paper" or not is_cifar(setting):
        return ()
    return (
        "Learning rates are as on torch 1.0.1, which the authors' code was written for (drops begin with epochs 121 and 161).",
    )


def _tde_network(setting: Setting, branched: bool) -> str:
    if is_large(setting):
        return "The network is the setting's; the published one is ResNeXt-50 (`backbone=resnext50_32x4d`)."
    if branched:
        return (
            "The network is BBN's with two branches, one head per branch and both on the same images, as in the published CIFAR "
            "table."
        )
    return "The network is the plain one; in the published CIFAR table it has BBN's two branches, one head per branch."
