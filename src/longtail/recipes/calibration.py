"""A trained classifier calibrated in a second stage: MiSLAS, DisAlign."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from longtail import schedules
from longtail.heads import AlignedHead, ScaledHead
from longtail.losses import LabelAwareSmoothingLoss
from longtail.recipes.baselines import MIXUP_ALPHA, plain_stage
from longtail.recipes.budget import (
    CIFAR,
    WITH_REPLACEMENT,
    Budget,
    Key,
    asked_or_published,
    own_budget,
    published,
    whole,
)
from longtail.recipes.decoupled import MOVING_STATISTICS, carried_over
from longtail.recipes.stages import first_stage, plain_head, second_stage
from longtail.recipes.trunk import trunk_fields, trunk_notes, trunk_of
from longtail.spec.recipe import Recipe, Setting, Stage
from longtail.steps import mixup as mixup_step
from longtail.weighting import Rule, power


@dataclass(frozen=True)
class Smoothing:
    """Constants that MiSLAS's second stage was published with for one data set.

    Args:
        share: epochs of the second stage as a share of the first one's.
        head: label smoothing of the largest class.
        tail: label smoothing of the rarest class.
        batch_norm: "train", or "eval" to hold the statistics of the backbone's batch norm.
        classifier: factor of the learning rate for the classifier; its scales have factor 1.
    """

    share: float
    head: float
    tail: float
    batch_norm: Literal["train", "eval"]
    classifier: float


MISLAS_LARGE = Budget(epochs=200, batch_size=256, lr=0.1, weight_decay=5e-4, schedule=schedules.cosine)
MISLAS_FIRST = whole(Budget(batch_size=128, lr=0.1), *CIFAR) | {
    ("imagenet_lt", None): replace(MISLAS_LARGE, epochs=180),
    ("inaturalist2018", None): replace(MISLAS_LARGE, weight_decay=1e-4),
    ("places_lt", None): replace(MISLAS_LARGE, epochs=90),
}
MISLAS_SECOND: dict[Key, Smoothing] = {
    ("cifar10", 100): Smoothing(share=10 / 200, head=0.3, tail=0.0, batch_norm="eval", classifier=0.5),
    ("cifar10", 50): Smoothing(share=10 / 200, head=0.2, tail=0.0, batch_norm="eval", classifier=0.2),
    ("cifar10", 10): Smoothing(share=10 / 200, head=0.1, tail=0.0, batch_norm="eval", classifier=0.2),
    ("cifar100", 100): Smoothing(share=10 / 200, head=0.4, tail=0.1, batch_norm="train", classifier=0.2),
    ("cifar100", 50): Smoothing(share=10 / 200, head=0.3, tail=0.0, batch_norm="train", classifier=0.1),
    ("cifar100", 10): Smoothing(share=10 / 200, head=0.2, tail=0.0, batch_norm="train", classifier=0.1),
    ("imagenet_lt", None): Smoothing(share=10 / 180, head=0.3, tail=0.0, batch_norm="train", classifier=0.05),
    ("inaturalist2018", None): Smoothing(share=10 / 200, head=0.3, tail=0.0, batch_norm="train", classifier=0.05),
    ("places_lt", None): Smoothing(share=10 / 90, head=0.4, tail=0.1, batch_norm="train", classifier=0.05),
}
DISALIGN_FIRST = Budget(epochs=90, batch_size=256, lr=0.1, weight_decay=5e-4, schedule=schedules.cosine)
DISALIGN_SECOND: dict[Key, Budget] = {
    ("imagenet_lt", None): Budget(share=10 / 90, batch_size=256, lr=0.1, weight_decay=5e-4, schedule=schedules.cosine),
}


def mislas(
    setting: Setting, *, form: Literal["code", "paper"] = "code", alpha: float | None = None, sampler: Rule = power
) -> Recipe:
    """Mixup, then label-aware smoothing with scaled classifiers and shifted batch norm on class-balanced draws."""
    first = mislas_first(setting, alpha)
    return Recipe(
        "mislas",
        (first, _smoothed(setting, first, form, sampler)),
        head=plain_head(setting),
        backbone_wrapper=trunk_of(setting),
        source="Zhong et al., CVPR 2021; Jia-Research-Lab/MiSLAS, train_stage2.py",
        year=2021,
    )


def mislas_first(setting: Setting, alpha: float | None = None) -> Stage:
    """The first stage of MiSLAS, on mixed images; GALA starts from it on large data."""
    own, notes = own_budget(setting, MISLAS_FIRST)
    chosen, _ = asked_or_published(setting, alpha, MIXUP_ALPHA)
    fields = {"step": partial(mixup_step, alpha=chosen), **trunk_fields(setting)}
    return first_stage(setting, own, departures=(*notes, *trunk_notes(setting)), **fields)


def disalign(
    setting: Setting,
    *,
    start: Literal["released", "paper"] = "released",
    rho: float = 1.2,
    confidence: Literal["constant", "input"] = "constant",
) -> Recipe:
    """Cross-entropy, then a calibration of the frozen classifier's logits under a loss weighted by n^-rho."""
    first = _disalign_first(setting)
    own, notes = carried_over(setting, DISALIGN_SECOND)
    second = second_stage(
        setting,
        first,
        own,
        reweight=partial(power, exponent=-rho),
        head=partial(AlignedHead, start=start),
        learning_rates={"head.class_*": 1.0} | ({"head.confidence.*": 1.0} if confidence == "input" else {}),
        departures=(
            *notes,
            "The head starts as the released one, which multiplies logits by 1 + confidence; the paper's starts as the identity "
            "(start=paper).",
            "The confidence keeps its initial value, as it does in effect in the released ImageNet-LT network, whose 2048 "
            "features saturate it at 1. confidence=input trains it; on 64 features this gate then closes within some steps.",
            MOVING_STATISTICS,
        ),
    )
    source = "Zhang et al., CVPR 2021; Megvii-BaseDetection/DisAlign, layers/wrappers.py"
    return Recipe("disalign", (first, second), head=plain_head(setting), source=source, year=2021)


def _smoothed(setting: Setting, first: Stage, form: Literal["code", "paper"], sampler: Rule) -> Stage:
    smoothing, notes = published(setting, MISLAS_SECOND)
    budget, _ = published(setting, MISLAS_FIRST)
    return second_stage(
        setting,
        first,
        Budget(
            share=smoothing.share,
            batch_size=budget.batch_size,
            lr=0.1,
            weight_decay=budget.weight_decay,
            schedule=schedules.cosine,
        ),
        loss=partial(LabelAwareSmoothingLoss, head=smoothing.head, tail=smoothing.tail, form=form),
        resample=sampler,
        head=ScaledHead,
        learning_rates={"head.inner.*": smoothing.classifier, "head.class_scale": 1.0},
        batch_norm=smoothing.batch_norm,
        departures=(
            *notes,
            "Label-aware smoothing is as in the code, which spreads eps over all K classes; the paper spreads it over the K - 1 "
            "wrong ones (form=paper).",
            "The second stage continues from the last epoch of the first; the authors' continues from the best epoch on the test "
            "set.",
            WITH_REPLACEMENT,
        ),
    )


def _disalign_first(setting: Setting) -> Stage:
    if setting.benchmark != "imagenet_lt" or setting.budget != "paper":
        return plain_stage(setting)
    return first_stage(
        setting, DISALIGN_FIRST, departures=("Colour jitter leaves out hue, as in the other ImageNet-LT recipes.",)
    )
