"""Logits adjusted by class frequency or margins: LDAM-DRW, logit adjustment, balanced softmax."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from longtail import schedules
from longtail.data.autoaugment import auto_augment
from longtail.data.transforms import cutout
from longtail.heads import CosineHead
from longtail.inference import logit_adjusted as logit_adjusted_rule
from longtail.losses import BalancedSoftmaxLoss, LDAMLoss, LogitAdjustedLoss
from longtail.recipes.baselines import LDAM_BUDGET, plain_stage
from longtail.recipes.budget import (
    BASE,
    DECOUPLING_BUDGET,
    LARGE,
    Budget,
    Key,
    asked_or_published,
    is_cifar,
    is_large,
    own_budget,
    whole,
)
from longtail.recipes.in_use import Target, for_use, in_use
from longtail.recipes.stages import first_stage, plain_head
from longtail.spec.recipe import Recipe, Setting
from longtail.weighting import deferred, effective_number

MENON_STEPS = partial(schedules.steps, milestones=(604 / 1241, 926 / 1241, 1128 / 1241))
MENON = Budget(batch_size=128, lr=0.1, nesterov=True, drop_last=True)
LOGIT_ADJUSTED: dict[Key, Budget] = {
    ("cifar10", 100): replace(MENON, epochs=1241, schedule=partial(schedules.warmed_up, schedule=MENON_STEPS, share=20 / 1241)),
    ("cifar100", 100): replace(MENON, epochs=1419, schedule=partial(schedules.warmed_up, schedule=MENON_STEPS, share=22 / 1419)),
}
REN = Budget(
    batch_size=512,
    lr=0.1,
    weight_decay=5e-4,
    augment=(auto_augment, cutout),
    schedule=partial(schedules.warmed_up, schedule=partial(schedules.cosine, begin=800 / 13_000), share=800 / 13_000, start=0.5),
)
BALANCED: dict[Key, Budget] = {
    ("cifar10", 200): replace(REN, epochs=591),
    ("cifar10", 100): replace(REN, epochs=520),
    ("cifar100", 200): replace(REN, epochs=685),
    ("cifar100", 100): replace(REN, epochs=591),
}
LDAM = LDAM_BUDGET | BASE
LDAM_MARGIN = whole(0.5, ("cifar10", None), ("cifar100", None), *LARGE) | {("inaturalist2018", None): 0.3}


def ldam_drw(setting: Setting, *, max_margin: float | None = None, scale: float = 30.0) -> Recipe:
    """Cosine margins that are wider for rarer classes, with a loss that is re-weighted in the last fifth of the epochs."""
    own, notes = own_budget(setting, LDAM)
    margin, _ = asked_or_published(setting, max_margin, LDAM_MARGIN)
    stage = first_stage(
        setting,
        own,
        loss=partial(LDAMLoss, max_margin=margin, scale=scale),
        reweight=partial(deferred, rule=partial(effective_number, beta=0.9999), start=0.8),
        departures=(
            *notes,
            "The deferred weights follow the effective number (beta 0.9999) as in the code; the paper says 1 / n.",
            *((f"No script was published for these data. {DECOUPLING_BUDGET}",) if is_large(setting) else ()),
        ),
    )
    source = "Cao et al., NeurIPS 2019; kaidic/LDAM-DRW@2536330"
    return Recipe("ldam_drw", (stage,), head=CosineHead, source=source, year=2019)


def logit_adjusted(setting: Setting, *, tau: float = 1.0, residual: float = 0.0, target: Target = None) -> Recipe:
    """Adds the log of the class frequency to the logits in training, so that the network need not learn it.

    `residual` is the tau of a further adjustment after the training, `target` the class frequencies in use.
    """
    own, notes = own_budget(setting, LOGIT_ADJUSTED)
    loss = partial(LogitAdjustedLoss, tau=tau)
    network = "The network is ResNet-32 with option-A shortcuts; the authors' network has bottleneck blocks and 36x36 maps."
    return Recipe(
        "logit_adjusted",
        (first_stage(setting, own, loss=loss, departures=(*notes, *_menon_notes(setting))),),
        source="Menon et al., ICLR 2021, Eq. 10; google-research/logit_adjustment",
        year=2021,
        inference=for_use(target, tau=residual),
        departures=(network,) if is_cifar(setting) else (),
    )


def logit_adjusted_post_hoc(setting: Setting, *, tau: float | None = 1.0, target: Target = None) -> Recipe:
    """Cross-entropy, then the log of the class frequency in training is subtracted from the logits.

    `target` are the class frequencies in use, whose log is added.
    """
    return Recipe(
        "logit_adjusted_post_hoc",
        (plain_stage(setting),),
        head=plain_head(setting),
        inference=partial(logit_adjusted_rule, tau=tau, **in_use(target)),
        source="Menon et al., ICLR 2021, Eq. 9",
        year=2021,
        departures=(
            "The first stage is that of ce, so that it is trained once for both; the authors' first stage has the budget of "
            "logit_adjusted.",
        ),
    )


def balanced_softmax(setting: Setting, *, target: Target = None) -> Recipe:
    """Logit adjustment with tau 1, derived as the softmax under a shift from the training to a uniform prior.

    `target` are the class frequencies in use, whose log is added after the training.
    """
    own, notes = own_budget(setting, BALANCED)
    return Recipe(
        "balanced_softmax",
        (first_stage(setting, own, loss=BalancedSoftmaxLoss, departures=(*notes, *_ren_notes(setting))),),
        inference=for_use(target),
        source="Ren et al., NeurIPS 2020; jiawei-ren/BalancedMetaSoftmax",
        year=2020,
        departures=("This is balanced softmax alone, without the meta sampler.",),
    )


def _menon_notes(setting: Setting) -> tuple[str, ...]:
    if not is_cifar(setting) or setting.budget != "paper":
        return ()
    return (
        "Warm-up rises per epoch, pixels are divided by their standard deviation, and crops are padded by 4 pixels; the authors' "
        "warm-up rises per step, their pixels are not divided, and their crops are padded by 2.",
        "Weight decay applies to batch norm too; the authors have none there.",
    )


def _ren_notes(setting: Setting) -> tuple[str, ...]:
    exact = setting.budget == "paper" and is_cifar(setting)
    return ("The authors' 13,000 steps of 512 images are rounded to whole epochs.",) if exact else ()
