"""Representation first, classifier afterwards: cRT, LWS, tau-normalisation, NCM."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from longtail.heads import ScaledHead
from longtail.inference import nearest_class_mean, retrained, tau_normalised
from longtail.recipes.baselines import mixed_stage, plain_stage
from longtail.recipes.budget import BEFORE_EPOCH, CIFAR, THIRDS, WITH_REPLACEMENT, Budget, Key, is_large, published, whole
from longtail.recipes.in_use import Target, in_use
from longtail.recipes.stages import plain_head, second_stage
from longtail.spec.recipe import Recipe, Setting, Stage
from longtail.weighting import Rule, power

KANG = "Kang et al., ICLR 2020; facebookresearch/classifier-balancing@f162ade"
CIFAR_RETRAINING = (
    "Not published on CIFAR: the learning rate (0.1), its milestones (x0.1 at thirds) and the number of epochs (15 % of the "
    "first stage's, 30 of 200) are those of BagofTricks-LT's re-runs; the weight decay is the setting's instead of their 5e-4."
)
MOVING_STATISTICS = "The backbone's batch norm stays in train mode in the second stage, as in the authors' code."
ON_CIFAR = whole(Budget(share=30 / 200, lr=0.1, schedule=THIRDS), *CIFAR)
ON_LARGE = Budget(batch_size=512, lr=0.2, weight_decay=5e-4, schedule=BEFORE_EPOCH)
CRT = ON_CIFAR | {
    ("imagenet_lt", None): replace(ON_LARGE, share=10 / 90),
    ("inaturalist2018", None): replace(ON_LARGE, share=30 / 90, weight_decay=1e-4),
    ("places_lt", None): replace(ON_LARGE, share=10 / 90, lr=0.1, batch_size=256),
}
LWS = ON_CIFAR | {
    ("imagenet_lt", None): replace(ON_LARGE, share=5 / 90),
    ("inaturalist2018", None): replace(ON_LARGE, share=5 / 90, weight_decay=1e-4),
    ("places_lt", None): replace(ON_LARGE, share=5 / 90, lr=0.1, batch_size=256),
}


def crt(setting: Setting, *, sampler: Rule = power) -> Recipe:
    """Cross-entropy, then a new classifier on class-balanced draws over the frozen backbone."""
    first = plain_stage(setting)
    stages = (first, _new_classifier(setting, first, sampler))
    return Recipe("crt", stages, head=plain_head(setting), source=KANG, year=2020)


def mixup_crt(setting: Setting, *, alpha: float | None = None, sampler: Rule = power) -> Recipe:
    """Cross-entropy on mixed images, then a new classifier on class-balanced draws over the frozen backbone."""
    first = mixed_stage(setting, alpha)
    stages = (first, _new_classifier(setting, first, sampler))
    source = "Zhong et al., CVPR 2021, ablation; GCL paper, Table 1"
    return Recipe("mixup_crt", stages, head=plain_head(setting), source=source, year=2021)


def lws(setting: Setting, *, sampler: Rule = power) -> Recipe:
    """Cross-entropy, then one learned scale per class on class-balanced draws, with everything else frozen."""
    first = plain_stage(setting)
    own, notes = carried_over(setting, LWS)
    second = second_stage(
        setting,
        first,
        own,
        resample=sampler,
        head=ScaledHead,
        learning_rates={"head.class_scale": 1.0},
        departures=(*notes, *_retraining_notes(setting)),
    )
    return Recipe("lws", (first, second), head=plain_head(setting), source=KANG, year=2020)


def tau_norm(setting: Setting, *, tau: float | None = None) -> Recipe:
    """Cross-entropy, then each class's classifier weights are divided by a power of their norm."""
    chosen = (
        "tau is chosen by mean recall on validation images held out of train; the CIFAR re-runs of BagofTricks-LT fix it at 1."
    )
    return Recipe(
        "tau_norm",
        (plain_stage(setting),),
        head=plain_head(setting),
        inference=partial(tau_normalised, tau=tau),
        source=KANG,
        year=2020,
        departures=(chosen,),
    )


def ncm(setting: Setting) -> Recipe:
    """Cross-entropy, then each image is given the class whose mean feature is nearest."""
    stages = (plain_stage(setting),)
    return Recipe("ncm", stages, head=plain_head(setting), inference=nearest_class_mean, source=KANG, year=2020)


def ce_retrained(setting: Setting, *, strength: float = 1.0, target: Target = None) -> Recipe:
    """Cross-entropy, then a new classifier on the stored training features, in which every class weighs the same.

    `target` are the class frequencies in use, whose log is added.
    """
    features = (
        "The classifier is fitted by regression on the features of the images as they are; the authors' is trained on augmented "
        "images, which are drawn anew."
    )
    return Recipe(
        "ce_retrained",
        (plain_stage(setting),),
        head=plain_head(setting),
        inference=partial(retrained, strength=strength, **in_use(target)),
        source=KANG,
        year=2020,
        departures=(features,),
    )


def carried_over(setting: Setting, values: Mapping[Key, Budget]) -> tuple[Budget, tuple[str, ...]]:
    """The published budget of a second stage, and sentences for the departures.

    A published batch size and weight decay are not used on other data.
    """
    own, notes = published(setting, values)
    return (replace(own, batch_size=None, weight_decay=None) if notes else own), notes


def _new_classifier(setting: Setting, first: Stage, sampler: Rule) -> Stage:
    own, notes = carried_over(setting, CRT)
    departures = (*notes, *_retraining_notes(setting))
    return second_stage(setting, first, own, resample=sampler, head="reset", departures=departures)


def _retraining_notes(setting: Setting) -> tuple[str, ...]:
    return (*(() if is_large(setting) else (CIFAR_RETRAINING,)), MOVING_STATISTICS, WITH_REPLACEMENT)
