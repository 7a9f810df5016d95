"""Representation first, classifier afterwards: cRT, LWS, tau-normalisation, NCM, MiSLAS, DisAlign."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Literal

from longtail import schedules
from longtail.heads import AlignedHead, ScaledHead
from longtail.inference import nearest_class_mean, tau_normalised
from longtail.losses import LabelAwareSmoothingLoss
from longtail.recipes.baselines import mixed_stage, mixup_alpha
from longtail.recipes.budget import (
    BEFORE_EPOCH,
    CIFAR,
    FROZEN_TRUNK,
    THIRDS,
    WITH_REPLACEMENT,
    Key,
    Own,
    base,
    first_stage,
    is_large,
    own_budget,
    plain_head,
    published,
    second_stage,
    whole,
)
from longtail.spec.recipe import Recipe, Setting, Stage
from longtail.steps import mixup as mixup_step
from longtail.weighting import Rule, power

KANG = "Kang et al., ICLR 2020; facebookresearch/classifier-balancing@f162ade"
CIFAR_RETRAINING = (
    "Not published on CIFAR: learning rate, milestones (0.1, x0.1 at thirds) and 15 % of the first stage's epochs (30 of 200) "
    "are those of BagofTricks-LT's re-runs, weight decay is the setting's instead of their 5e-4."
)
MOVING_STATISTICS = "The backbone's batch norm stays in train mode in the second stage, as in the authors' code."
RETRAINED: Mapping[Key, Own] = whole({"share": 30 / 200, "lr": 0.1, "schedule": THIRDS}, *CIFAR) | {
    ("imagenet_lt", None): {"share": 10 / 90, "lr": 0.2, "schedule": BEFORE_EPOCH, "batch_size": 512, "weight_decay": 5e-4},
    ("inaturalist2018", None): {"share": 30 / 90, "lr": 0.2, "schedule": BEFORE_EPOCH, "batch_size": 512, "weight_decay": 1e-4},
    ("places_lt", None): {"share": 10 / 90, "lr": 0.1, "schedule": BEFORE_EPOCH, "batch_size": 256, "weight_decay": 5e-4},
}
SCALED: Mapping[Key, Own] = whole({"share": 30 / 200, "lr": 0.1, "schedule": THIRDS}, *CIFAR) | {
    ("imagenet_lt", None): {"share": 5 / 90, "lr": 0.2, "schedule": BEFORE_EPOCH, "batch_size": 512, "weight_decay": 5e-4},
    ("inaturalist2018", None): {"share": 5 / 90, "lr": 0.2, "schedule": BEFORE_EPOCH, "batch_size": 512, "weight_decay": 1e-4},
    ("places_lt", None): {"share": 5 / 90, "lr": 0.1, "schedule": BEFORE_EPOCH, "batch_size": 256, "weight_decay": 5e-4},
}

MISLAS_FIRST: Mapping[Key, Own] = whole({"batch_size": 128, "lr": 0.1}, *CIFAR) | {
    ("imagenet_lt", None): {"epochs": 180, "batch_size": 256, "lr": 0.1, "weight_decay": 5e-4, "schedule": schedules.cosine},
    ("inaturalist2018", None): {"epochs": 200, "batch_size": 256, "lr": 0.1, "weight_decay": 1e-4, "schedule": schedules.cosine},
    ("places_lt", None): {"epochs": 90, "batch_size": 256, "lr": 0.1, "weight_decay": 5e-4, "schedule": schedules.cosine},
}
# epochs' share of the second stage, smoothing of the largest and of the rarest class, batch norm, factor of the classifier
MISLAS_SECOND: Mapping[Key, tuple[float, float, float, Literal["train", "eval"], float]] = {
    ("cifar10", 100): (10 / 200, 0.3, 0.0, "eval", 0.5),
    ("cifar10", 50): (10 / 200, 0.2, 0.0, "eval", 0.2),
    ("cifar10", 10): (10 / 200, 0.1, 0.0, "eval", 0.2),
    ("cifar100", 100): (10 / 200, 0.4, 0.1, "train", 0.2),
    ("cifar100", 50): (10 / 200, 0.3, 0.0, "train", 0.1),
    ("cifar100", 10): (10 / 200, 0.2, 0.0, "train", 0.1),
    ("imagenet_lt", None): (10 / 180, 0.3, 0.0, "train", 0.05),
    ("inaturalist2018", None): (10 / 200, 0.3, 0.0, "train", 0.05),
    ("places_lt", None): (10 / 90, 0.4, 0.1, "train", 0.05),
}


DISALIGN_FIRST: Own = {"epochs": 90, "batch_size": 256, "lr": 0.1, "weight_decay": 5e-4, "schedule": schedules.cosine}
DISALIGN_SECOND: Mapping[Key, Own] = {
    ("imagenet_lt", None): {
        "share": 10 / 90,
        "lr": 0.1,
        "schedule": schedules.cosine,
        "batch_size": 256,
        "weight_decay": 5e-4,
    },
}


def crt(setting: Setting, *, sampler: Rule = power) -> Recipe:
    """Cross-entropy, then a new classifier on class-balanced draws over the frozen backbone."""
    own, note = base(setting)
    return _retrained("crt", setting, first_stage(setting, own), (note,), sampler)


def mixup_crt(setting: Setting, *, alpha: float | None = None, sampler: Rule = power) -> Recipe:
    """Cross-entropy on mixed images, then a new classifier on class-balanced draws over the frozen backbone."""
    recipe = _retrained("mixup_crt", setting, *mixed_stage(setting, alpha), sampler)
    return replace(recipe, source="Zhong et al., CVPR 2021, ablation; GCL paper, Table 1", year=2021)


def lws(setting: Setting, *, sampler: Rule = power) -> Recipe:
    """Cross-entropy, then one learned scale per class on class-balanced draws, all else frozen."""
    own, note = base(setting)
    first = first_stage(setting, own)
    (share, second), notes = _second(setting, SCALED)
    stage = second_stage(
        setting,
        first,
        second,
        share=share,
        resample=sampler,
        head=ScaledHead,
        learning_rates={"head.class_scale": 1.0},
    )
    departures = (note, *notes, *_cifar_notes(setting), MOVING_STATISTICS, WITH_REPLACEMENT)
    return Recipe("lws", (first, stage), head=plain_head(setting), source=KANG, year=2020, departures=departures)


def tau_norm(setting: Setting, *, tau: float | None = None) -> Recipe:
    """Cross-entropy, then classifier rows divided by a power of their norm."""
    own, note = base(setting)
    chosen = "tau is chosen by mean recall on validation images held out of train; the CIFAR re-runs of BagofTricks-LT fix 1."
    rule = partial(tau_normalised, tau=tau)
    return Recipe(
        "tau_norm",
        (first_stage(setting, own),),
        head=plain_head(setting),
        inference=rule,
        source=KANG,
        year=2020,
        departures=(note, chosen),
    )


def ncm(setting: Setting) -> Recipe:
    """Cross-entropy, then the nearest class mean in feature space."""
    own, note = base(setting)
    return Recipe(
        "ncm",
        (first_stage(setting, own),),
        head=plain_head(setting),
        inference=nearest_class_mean,
        source=KANG,
        year=2020,
        departures=(note,),
    )


def mislas(
    setting: Setting, *, form: Literal["code", "paper"] = "code", alpha: float | None = None, sampler: Rule = power
) -> Recipe:
    """Mixup, then label-aware smoothing with scaled classifiers and shifted batch norm on class-balanced draws."""
    own, notes = own_budget(setting, MISLAS_FIRST)
    chosen, _ = mixup_alpha(setting, alpha)
    first = first_stage(setting, own, step=partial(mixup_step, alpha=chosen))
    (share, head, tail, batch_norm, factor), second_notes = published(setting, MISLAS_SECOND)
    second = second_stage(
        setting,
        first,
        {"lr": 0.1, "schedule": schedules.cosine, **_batch(setting, MISLAS_FIRST)},
        share=share,
        loss=partial(LabelAwareSmoothingLoss, head=head, tail=tail, form=form),
        resample=sampler,
        head=ScaledHead,
        learning_rates={"head.inner.*": factor, "head.class_scale": 1.0},
        batch_norm=batch_norm,
    )
    return Recipe(
        "mislas",
        (first, second),
        head=plain_head(setting),
        source="Zhong et al., CVPR 2021; Jia-Research-Lab/MiSLAS, train_stage2.py",
        year=2021,
        departures=(
            *notes,
            *second_notes,
            "Label-aware smoothing as in the code, which spreads eps over all K classes; the paper spreads it over the K - 1 "
            "wrong ones (form=paper).",
            "The second stage continues from the last epoch of the first; the authors' from the best on the test set.",
            *((FROZEN_TRUNK,) if setting.benchmark == "places_lt" else ()),
            WITH_REPLACEMENT,
        ),
    )


def disalign(
    setting: Setting,
    *,
    start: Literal["released", "paper"] = "released",
    rho: float = 1.2,
    confidence: Literal["constant", "input"] = "constant",
) -> Recipe:
    """Cross-entropy, then a calibration of the frozen classifier's logits under a loss weighted by n^-rho."""
    own, note = base(setting)
    if setting.benchmark == "imagenet_lt" and setting.budget == "paper":
        own, note = DISALIGN_FIRST, "Colour jitter without hue, as in the other ImageNet-LT recipes."
    first = first_stage(setting, own)
    (share, second), notes = _second(setting, DISALIGN_SECOND)
    stage = second_stage(
        setting,
        first,
        second,
        share=share,
        reweight=partial(power, exponent=-rho),
        head=partial(AlignedHead, start=start),
        learning_rates={"head.class_*": 1.0} | ({"head.confidence.*": 1.0} if confidence == "input" else {}),
    )
    return Recipe(
        "disalign",
        (first, stage),
        head=plain_head(setting),
        source="Zhang et al., CVPR 2021; Megvii-BaseDetection/DisAlign, layers/wrappers.py",
        year=2021,
        departures=(
            note,
            *notes,
            "Starts as the released head, which multiplies logits by 1 + confidence; the paper's is the identity (start=paper).",
            "The confidence stays as it starts, as in effect in the released ImageNet-LT network, whose 2048 features saturate "
            "it at 1. confidence=input trains it; on 64 features it then closes within some steps.",
            MOVING_STATISTICS,
        ),
    )


def _retrained(name: str, setting: Setting, first: Stage, notes: tuple[str, ...], sampler: Rule) -> Recipe:
    (share, own), second_notes = _second(setting, RETRAINED)
    second = second_stage(setting, first, own, share=share, resample=sampler, head="reset")
    departures = (*notes, *second_notes, *_cifar_notes(setting), MOVING_STATISTICS, WITH_REPLACEMENT)
    return Recipe(name, (first, second), head=plain_head(setting), source=KANG, year=2020, departures=departures)


def _cifar_notes(setting: Setting) -> tuple[str, ...]:
    return () if is_large(setting) else (CIFAR_RETRAINING,)


def _second(setting: Setting, values: Mapping[Key, Own]) -> tuple[tuple[float, dict[str, Any]], tuple[str, ...]]:
    """Share of the first stage's epochs and the rest of a second stage's budget; batch and decay stay with their data."""
    own, notes = published(setting, values)
    left_out = ("share", "batch_size", "weight_decay") if notes else ("share",)
    return (own["share"], {name: value for name, value in own.items() if name not in left_out}), notes


def _batch(setting: Setting, values: Mapping[Key, Own]) -> Own:
    """Batch and weight decay that the second stage has in common with the method's own first stage."""
    own, _ = published(setting, values)
    return {name: own[name] for name in ("batch_size", "weight_decay") if name in own}
