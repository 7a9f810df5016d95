"""Logits adjusted by class frequency, margins or gradients: LDAM-DRW, logit adjustment, balanced softmax, GALA."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Literal

from longtail import schedules
from longtail.data.autoaugment import auto_augment
from longtail.data.transforms import cutout
from longtail.heads import CosineHead, LinearHead
from longtail.inference import logit_adjusted as logit_adjusted_rule
from longtail.inference import rebalanced
from longtail.losses import BalancedSoftmaxLoss, GALALoss, LDAMLoss, LogitAdjustedLoss
from longtail.recipes.baselines import LDAM_BUDGET
from longtail.recipes.budget import (
    BASE,
    BEFORE_EPOCH,
    COMMON,
    DECOUPLING_BUDGET,
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
from longtail.recipes.decoupled import mislas
from longtail.spec.recipe import Recipe, Setting
from longtail.weighting import deferred, effective_number, power

MENON_STEPS = partial(schedules.steps, milestones=(604 / 1241, 926 / 1241, 1128 / 1241))
MENON: Own = {"batch_size": 128, "lr": 0.1, "nesterov": True, "drop_last": True}
LOGIT_ADJUSTED: Mapping[Key, Own] = {
    ("cifar10", 100): {
        **MENON,
        "epochs": 1241,
        "schedule": partial(schedules.warmed_up, schedule=MENON_STEPS, share=20 / 1241),
    },
    ("cifar100", 100): {
        **MENON,
        "epochs": 1419,
        "schedule": partial(schedules.warmed_up, schedule=MENON_STEPS, share=22 / 1419),
    },
}
REN: Own = {
    "batch_size": 512,
    "lr": 0.1,
    "weight_decay": 5e-4,
    "augment": (auto_augment, cutout),
    "schedule": partial(
        schedules.warmed_up, schedule=partial(schedules.cosine, begin=800 / 13_000), share=800 / 13_000, start=0.5
    ),
}
BALANCED: Mapping[Key, Own] = {
    ("cifar10", 200): {"epochs": 591, **REN},
    ("cifar10", 100): {"epochs": 520, **REN},
    ("cifar100", 200): {"epochs": 685, **REN},
    ("cifar100", 100): {"epochs": 591, **REN},
}
LDAM_MARGIN: Mapping[Key, float] = whole(0.5, ("cifar10", None), ("cifar100", None), *LARGE) | {("inaturalist2018", None): 0.3}
LDAM: Mapping[Key, Own] = {**LDAM_BUDGET, **BASE}
GALA_ONE_STAGE: Own = {
    "weight_decay": 5e-4,
    "drop_last": True,
    "augment": (auto_augment, cutout),
    "schedule": partial(
        schedules.warmed_up, schedule=partial(schedules.cosine, first=1, last=1), share=1 / 200, fewest=1, start=0.5
    ),
}
GALA: Mapping[Key, Own] = whole(GALA_ONE_STAGE, ("cifar10", None), ("cifar100", None))
GALA_RETRAINING: Mapping[Key, Own] = {
    ("imagenet_lt", None): {"share": 10 / 180, "lr": 0.12, "batch_size": 512, "weight_decay": 5e-4},
    ("places_lt", None): {"share": 10 / 90, "lr": 0.12, "batch_size": 512, "weight_decay": 5e-4},
    ("inaturalist2018", None): {"share": 30 / 200, "lr": 0.2, "batch_size": 512, "weight_decay": 1e-4},
}
REBALANCING_TAU: Mapping[Key, float] = {
    ("cifar100", None): 1.0,
    ("imagenet_lt", None): 1.7,
    ("inaturalist2018", None): 1.5,
    ("places_lt", None): 1.4,
}


def ldam_drw(setting: Setting, *, max_margin: float | None = None, scale: float = 30.0) -> Recipe:
    """Cosine margins that are wider for rarer classes, re-weighted in the last fifth of the epochs."""
    own, notes = own_budget(setting, LDAM)
    margin = published(setting, LDAM_MARGIN)[0] if max_margin is None else max_margin
    stage = first_stage(
        setting,
        own,
        loss=partial(LDAMLoss, max_margin=margin, scale=scale),
        reweight=partial(deferred, rule=partial(effective_number, beta=0.9999), start=0.8),
    )
    return Recipe(
        "ldam_drw",
        (stage,),
        head=CosineHead,
        source="Cao et al., NeurIPS 2019; kaidic/LDAM-DRW@2536330",
        year=2019,
        departures=(
            *notes,
            "Deferred weights by the effective number (beta 0.9999) as in the code; the paper says 1 / n.",
            *((f"No script was published for these data: {DECOUPLING_BUDGET}",) if is_large(setting) else ()),
        ),
    )


def logit_adjusted(setting: Setting, *, tau: float = 1.0) -> Recipe:
    """The log of the class frequency added to the logits in training, so that it need not be learned."""
    own, notes = own_budget(setting, LOGIT_ADJUSTED)
    return Recipe(
        "logit_adjusted",
        (first_stage(setting, own, loss=partial(LogitAdjustedLoss, tau=tau)),),
        source="Menon et al., ICLR 2021, Eq. 10; google-research/logit_adjustment",
        year=2021,
        departures=(*notes, *_menon_notes(setting)),
    )


def logit_adjusted_post_hoc(setting: Setting, *, tau: float | None = 1.0) -> Recipe:
    """Cross-entropy, then the log of the training frequency taken from the logits."""
    own, note = base(setting)
    return Recipe(
        "logit_adjusted_post_hoc",
        (first_stage(setting, own),),
        head=plain_head(setting),
        inference=partial(logit_adjusted_rule, tau=tau),
        source="Menon et al., ICLR 2021, Eq. 9",
        year=2021,
        departures=(
            note,
            "The first stage is that of ce, so that it is trained once; the authors' has the budget of logit_adjusted.",
        ),
    )


def _menon_notes(setting: Setting) -> tuple[str, ...]:
    if not is_cifar(setting):
        return ()
    network = "ResNet-32 with option-A shortcuts; the authors' network has bottleneck blocks and 36x36 maps."
    if setting.budget == "common":
        return (network,)
    rest = "Warm-up per epoch, pixels divided by their deviation, crop with 4 pixels; theirs per step, undivided, with 2."
    return (network, rest, "Weight decay on batch norm too; the authors have none there.")


def balanced_softmax(setting: Setting) -> Recipe:
    """Logit adjustment with tau 1, derived as the softmax under a shift from the training to a uniform prior."""
    own, notes = own_budget(setting, BALANCED)
    return Recipe(
        "balanced_softmax",
        (first_stage(setting, own, loss=BalancedSoftmaxLoss),),
        source="Ren et al., NeurIPS 2020; jiawei-ren/BalancedMetaSoftmax",
        year=2020,
        departures=(*notes, "Balanced softmax alone, without the meta sampler.", *_ren_notes(setting)),
    )


def _ren_notes(setting: Setting) -> tuple[str, ...]:
    exact = setting.budget == "paper" and is_cifar(setting)
    return ("The 13,000 steps of 512 images are whole epochs here.",) if exact else ()


def gala(setting: Setting, *, lambda_1: float = 1.0, lambda_2: float = 1.0, form: Literal["code", "paper"] = "code") -> Recipe:
    """Logits adjusted by the gradients that each class has gathered so far."""
    loss = partial(GALALoss, lambda_1=lambda_1, lambda_2=lambda_2, form=form)
    recipe = _retrained(setting, loss) if is_large(setting) else _one_stage(setting, loss)
    common_notes = (
        "The form of the code, in which lambda_2 has no effect; form=paper applies it (the code's gala_pn run has 1.2 and 0.9).",
        "The subset is drawn from a fixed seed; the authors draw another one in each run.",
    )
    return replace(recipe, departures=(*recipe.departures, *common_notes))


def gala_rebalanced(
    setting: Setting,
    *,
    lambda_1: float | None = None,
    lambda_2: float | None = None,
    form: Literal["code", "paper"] = "code",
    tau: float | None = None,
    source: Literal["test", "val"] = "test",
) -> Recipe:
    """GALA, then each class's probabilities divided by their sum over the images that are judged (transductive).

    lambda_1 and lambda_2 are 1.2 and 0.9 where GALA has one stage, as in the run that was published with re-balancing (gala_pn).
    """
    usual = (1.0, 1.0) if is_large(setting) else (1.2, 0.9)
    first, second = (usual[i] if asked is None else asked for i, asked in enumerate((lambda_1, lambda_2)))
    recipe = gala(setting, lambda_1=first, lambda_2=second, form=form)
    chosen, notes = (tau, ()) if tau is not None else published(setting, REBALANCING_TAU)
    transductive = "Transductive: the sums are taken over all test images, as published; source=val takes validation images."
    return replace(
        recipe,
        name="gala_rebalanced",
        inference=partial(rebalanced, tau=chosen, source=source),
        departures=(*recipe.departures, *notes, transductive),
    )


GALA_SOURCE = "Zhang et al., ICASSP 2024 (arXiv 2403.09036); lt-project-repository/lt-project"


def _one_stage(setting: Setting, loss: partial[GALALoss]) -> Recipe:
    own, notes = own_budget(setting, GALA)
    return Recipe(
        "gala",
        (first_stage(setting, own, loss=loss),),
        head=partial(LinearHead, kaiming=False),
        source=GALA_SOURCE,
        year=2024,
        departures=(*notes, "Published with AutoAugment and Cutout, which the methods that it is compared with did not have.")
        if setting.budget == "paper"
        else (*notes, "Without the AutoAugment and Cutout that it was published with."),
    )


def _retrained(setting: Setting, loss: partial[GALALoss]) -> Recipe:
    """On large data the authors re-train the classifier of a downloaded MiSLAS network."""
    first = mislas(setting).stages[0]
    own = dict(GALA_RETRAINING[(setting.benchmark, None)])
    share = own.pop("share")
    second = second_stage(setting, first, {**own, "schedule": BEFORE_EPOCH}, share=share, loss=loss, resample=power, head="reset")
    return Recipe(
        "gala",
        (first, second),
        head=partial(LinearHead, kaiming=False),
        source=GALA_SOURCE,
        year=2024,
        departures=(
            *((COMMON,) if setting.budget == "common" else ()),
            "The first stage is MiSLAS's, whose published network the authors start from; Places-LT was not released.",
            "The setting's augmentation; theirs adds RandAugment, and colour jitter on iNaturalist 2018 as well.",
            WITH_REPLACEMENT,
        ),
    )
