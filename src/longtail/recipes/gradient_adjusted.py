"""Logits adjusted by the gradients that each class has accumulated: GALA, with and without re-balanced predictions."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Literal

from longtail import schedules
from longtail.data.autoaugment import auto_augment
from longtail.data.transforms import cutout
from longtail.heads import LinearHead
from longtail.inference import rebalanced
from longtail.losses import GALALoss
from longtail.recipes.budget import (
    BEFORE_EPOCH,
    CIFAR,
    WITH_REPLACEMENT,
    Budget,
    Key,
    asked_or_published,
    is_large,
    own_budget,
    whole,
)
from longtail.recipes.calibration import mislas_first
from longtail.recipes.in_use import Target, for_use
from longtail.recipes.stages import first_stage, second_stage
from longtail.recipes.trunk import trunk_of
from longtail.spec.recipe import Recipe, Setting, Stage
from longtail.weighting import power

ONE_STAGE = whole(
    Budget(
        weight_decay=5e-4,
        drop_last=True,
        augment=(auto_augment, cutout),
        schedule=partial(
            schedules.warmed_up, schedule=partial(schedules.cosine, first=1, last=1), share=1 / 200, fewest=1, start=0.5
        ),
    ),
    *CIFAR,
)
RETRAINING = Budget(batch_size=512, lr=0.12, weight_decay=5e-4, schedule=BEFORE_EPOCH)
AFTER_MISLAS: dict[Key, Budget] = {
    ("imagenet_lt", None): replace(RETRAINING, share=10 / 180),
    ("places_lt", None): replace(RETRAINING, share=10 / 90),
    ("inaturalist2018", None): replace(RETRAINING, share=30 / 200, lr=0.2, weight_decay=1e-4),
}
TAU: dict[Key, float] = {
    ("cifar100", None): 1.0,
    ("imagenet_lt", None): 1.7,
    ("inaturalist2018", None): 1.5,
    ("places_lt", None): 1.4,
}


def gala(
    setting: Setting,
    *,
    lambda_1: float = 1.0,
    lambda_2: float = 1.0,
    form: Literal["code", "paper"] = "code",
    target: Target = None,
) -> Recipe:
    """Adjusts the logits by the gradients that each class has accumulated so far.

    `target` are the class frequencies in use, whose log is added after the training.
    """
    loss = partial(GALALoss, lambda_1=lambda_1, lambda_2=lambda_2, form=form)
    return Recipe(
        "gala",
        _after_mislas(setting, loss) if is_large(setting) else (_one_stage(setting, loss),),
        head=partial(LinearHead, kaiming=False),
        backbone_wrapper=trunk_of(setting),
        inference=for_use(target),
        source="Zhang et al., ICASSP 2024 (arXiv 2403.09036); lt-project-repository/lt-project",
        year=2024,
        departures=(
            "The loss has the form of the code, in which lambda_2 has no effect; form=paper applies it (the code's gala_pn run "
            "has lambda_1 1.2 and lambda_2 0.9).",
            "The long-tailed subset is drawn with a fixed seed; the authors draw another one in each run.",
        ),
    )


def gala_rebalanced(
    setting: Setting,
    *,
    lambda_1: float | None = None,
    lambda_2: float | None = None,
    form: Literal["code", "paper"] = "code",
    tau: float | None = None,
    source: Literal["test", "val"] = "test",
) -> Recipe:
    """GALA, then each class's probabilities are divided by their sum over the evaluated images (transductive).

    lambda_1 and lambda_2 are 1.2 and 0.9 where GALA has one stage, as in the run that was published with re-balancing (gala_pn).
    """
    usual = (1.0, 1.0) if is_large(setting) else (1.2, 0.9)
    first, second = (usual[i] if asked is None else asked for i, asked in enumerate((lambda_1, lambda_2)))
    recipe = gala(setting, lambda_1=first, lambda_2=second, form=form)
    chosen, notes = asked_or_published(setting, tau, TAU)
    transductive = "Transductive: the sums are over all test images, as published; source=val sums over validation images."
    return replace(
        recipe,
        name="gala_rebalanced",
        inference=partial(rebalanced, tau=chosen, source=source),
        departures=(*recipe.departures, *notes, transductive),
    )


def _one_stage(setting: Setting, loss: partial[GALALoss]) -> Stage:
    own, notes = own_budget(setting, ONE_STAGE)
    augmented = (
        "AutoAugment and Cutout, with which GALA was published, are those of the setting."
        if auto_augment in setting.augment
        else "GALA was published with AutoAugment and Cutout, which the methods that it is compared with did not have."
        if setting.budget == "paper"
        else "The AutoAugment and Cutout that GALA was published with are left out."
    )
    return first_stage(setting, own, loss=loss, departures=(*notes, augmented))


def _after_mislas(setting: Setting, loss: partial[GALALoss]) -> tuple[Stage, Stage]:
    """The stages on large data, where the authors re-train the classifier of a downloaded MiSLAS network."""
    first = mislas_first(setting)
    downloaded = (
        "The first stage is MiSLAS's, whose published network the authors start from; their code for Places-LT was not released."
    )
    augmentation = (
        "The augmentation is the setting's; the authors' adds RandAugment, and colour jitter on iNaturalist 2018 as well."
    )
    second = second_stage(
        setting,
        first,
        AFTER_MISLAS[(setting.benchmark, None)],
        loss=loss,
        resample=power,
        head="reset",
        departures=(augmentation, WITH_REPLACEMENT),
    )
    return replace(first, departures=(*first.departures, downloaded)), second
