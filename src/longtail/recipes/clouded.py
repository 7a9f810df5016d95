"""Gaussian clouded logit adjustment, its angular form, and the ablations of its paper."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

from longtail import schedules
from longtail.errors import UserError
from longtail.heads import CosineHead, ScaledHead
from longtail.inference import tau_normalised
from longtail.losses import GCLAngularLoss, GCLLoss, clouds
from longtail.recipes.baselines import MIXUP_ALPHA
from longtail.recipes.budget import (
    BASE,
    CIFAR,
    LARGE,
    Budget,
    Key,
    asked_or_published,
    is_large,
    own_budget,
    published,
    whole,
)
from longtail.recipes.in_use import Target, for_use
from longtail.recipes.stages import first_stage, second_stage
from longtail.recipes.trunk import trunk_fields, trunk_notes, trunk_of
from longtail.spec.recipe import Recipe, Setting, Stage
from longtail.steps import mixup as mixup_step
from longtail.text import unknown
from longtail.weighting import Rule, class_based_effective_number, power

Cloud = Callable[..., Any]
Loss = Callable[..., Any]
Retraining = Literal["crt", "lws", "tau_norm", "none"]
RETRAININGS = ("crt", "lws", "tau_norm", "none")


@dataclass(frozen=True)
class CloudConstants:
    """Constants of the scripts for one data set; the second stage's margin is 0.1 and its gamma 1 in all of them.

    Args:
        scales: scale of the cosines in the first stage, and in the second.
        noise_mul: factor of the noise, in both stages.
        second_alpha: alpha of the second stage's mixup; None: as in the first stage.
        second_share: epochs of the second stage as a share of the first one's.
    """

    scales: tuple[float, float]
    noise_mul: float
    second_alpha: float | None
    second_share: float


FIRST: dict[Key, Budget] = whole(Budget(), *CIFAR) | {
    ("imagenet_lt", None): replace(BASE[("imagenet_lt", None)], epochs=200, schedule=schedules.cosine),
    ("inaturalist2018", None): replace(BASE[("inaturalist2018", None)], epochs=200, schedule=schedules.cosine),
    ("places_lt", None): Budget(
        epochs=90,
        batch_size=512,
        lr=0.2,
        weight_decay=5e-4,
        schedule=partial(schedules.warmed_up, schedule=partial(schedules.steps, milestones=(60 / 90, 80 / 90))),
    ),
}
SECOND_PLAIN = Budget(lr=0.002, schedule=schedules.cosine)
SECOND: dict[Key, Budget] = whole(SECOND_PLAIN, *CIFAR) | {
    key: replace(SECOND_PLAIN, batch_size=FIRST[key].batch_size, weight_decay=FIRST[key].weight_decay) for key in LARGE
}
CONSTANTS: dict[Key, CloudConstants] = whole(
    CloudConstants(scales=(30.0, 20.0), noise_mul=0.5, second_alpha=None, second_share=30 / 200), *CIFAR
) | {("places_lt", None): CloudConstants(scales=(30.0, 15.0), noise_mul=1.0, second_alpha=1.0, second_share=30 / 90)}
OF_SECOND_STAGE = (
    "The second stage's learning rate is 0.002 with half a cosine, the effective rate of the code at c2a6233 (nominally 0.1; the "
    "code's first release had 0.008).",
    "The second stage continues from the LAST epoch of the first; the code hands over the best epoch on the test set.",
)
OF_GCL_S_SECOND_STAGE = (
    "Second-stage sampler: it is the paper's CBEN (a=0.999, b=0.0009); the code's default is class-balanced "
    "(sampler=power), its CBEN has a=0.9999, b=1e-5; which of them made the published table is not known.",
    "The second stage has a margin of 0.1 and a detached focal weight (gamma 1) as in the code; the paper has neither.",
    "The second stage's weights multiply the focal loss; the code puts them inside the probability.",
)
SCRIPTS = "Keke921/GCLLoss@c2a6233"


def gcl(
    setting: Setting,
    *,
    cloud: Cloud = clouds.log,
    sampler: Rule = class_based_effective_number,
    retraining: Retraining = "crt",
    alpha: float | None = None,
    target: Target = None,
) -> Recipe:
    """Gaussian clouded logits on mixed images, then the classifier alone on re-balanced draws.

    The keywords are the paper's ablations: `cloud` (Table 3), `sampler` (Table 4), `retraining` (Table 5). `target` are the
    class frequencies in use, whose log is added after the training.
    """
    if target is not None and retraining == "tau_norm":
        raise UserError("gcl with `retraining=tau_norm` takes no class frequencies in use: its scores are no log-probabilities.")
    first_loss, second_loss = _losses(setting, cloud)
    first = _first(setting, first_loss, alpha)
    second = _second(setting, first, second_loss, alpha, sampler)
    recipe = Recipe(
        "gcl",
        (first, replace(second, departures=(*second.departures, *OF_GCL_S_SECOND_STAGE))),
        head=CosineHead,
        backbone_wrapper=trunk_of(setting),
        inference=for_use(target),
        source=f"Li, Cheung, Lu, CVPR 2022; {SCRIPTS}",
        year=2022,
        departures=(
            "The noise is as in the code: one sample per logit, clamped to [-1, 1], times noise_mul, drawn anew for each mixup "
            "label; the paper has one sample per image and no factor.",
            "The scale is 30, then 20 (15 on Places-LT) as in the code; the paper has one scale.",
        ),
    )
    return _with_retraining(recipe, retraining)


def gcl_angular(setting: Setting, *, cloud: Cloud = clouds.log, sampler: Rule = power, alpha: float | None = None) -> Recipe:
    """GCL with its noise on the angle instead of the cosine."""
    first = _first(setting, partial(GCLAngularLoss, cloud=cloud), alpha)
    second = _second(setting, first, partial(GCLAngularLoss, gamma=1.0, cloud=cloud), alpha, sampler)
    note = (
        "The loss has the constants of the Places-LT scripts (nothing was published for other data), the budget is GCL's, and "
        "re-training is class-balanced."
    )
    source = f"Li et al., IEEE TAI 2024; {SCRIPTS}, NoiAngLoss"
    how: dict[str, Any] = {"head": CosineHead, "backbone_wrapper": trunk_of(setting)}
    return Recipe("gcl_angular", (first, second), **how, source=source, year=2024, departures=(note,))


def _losses(setting: Setting, cloud: Cloud) -> tuple[Loss, Loss]:
    constants, _ = published(setting, CONSTANTS)
    (first, second), noise_mul = constants.scales, constants.noise_mul
    return (
        partial(GCLLoss, cloud=cloud, scale=first, noise_mul=noise_mul),
        partial(GCLLoss, cloud=cloud, scale=second, margin=0.1, gamma=1.0, noise_mul=noise_mul),
    )


def _first(setting: Setting, loss: Loss, alpha: float | None) -> Stage:
    own, notes = own_budget(setting, FIRST)
    chosen, _ = asked_or_published(setting, alpha, MIXUP_ALPHA)
    unpublished = (
        "No script was published for these data: the 200 epochs are what the author stated, the loss constants are CIFAR's, "
        "batch and learning rate are the decoupling repository's."
    )
    of_large = (unpublished,) if is_large(setting) and setting.benchmark != "places_lt" else trunk_notes(setting)
    fields = {"loss": loss, "step": partial(mixup_step, alpha=chosen), **trunk_fields(setting)}
    return first_stage(setting, own, departures=(*notes, *of_large), **fields)


def _second(setting: Setting, first: Stage, loss: Loss, alpha: float | None, sampler: Rule) -> Stage:
    constants, _ = published(setting, CONSTANTS)
    own, _ = published(setting, SECOND)
    chosen, _ = asked_or_published(setting, constants.second_alpha if alpha is None else alpha, MIXUP_ALPHA)
    mixed = "The second stage mixes images and labels; the code mixes the labels and feeds the images unmixed (a bug)."
    unpublished = "No script was published for these data: the second stage is CIFAR's."
    of_large = (mixed if setting.benchmark == "places_lt" else unpublished,) if is_large(setting) else ()
    return second_stage(
        setting,
        first,
        replace(own, share=constants.second_share),
        loss=loss,
        resample=sampler,
        step=partial(mixup_step, alpha=chosen),
        batch_norm="eval",
        departures=(*of_large, *OF_SECOND_STAGE),
    )


def _with_retraining(recipe: Recipe, retraining: Retraining) -> Recipe:
    """The recipe with a second stage of Table 5: the classifier, one scale per class, tau-normalisation (untrained), or none."""
    first, second = recipe.stages
    if retraining == "crt":
        return recipe
    if retraining == "lws":
        note = "LWS trains the scale alone, on the cosine head of the first stage, at the second stage's learning rate."
        rates = {"head.class_scale": 1.0}
        scaled = replace(second, head=ScaledHead, learning_rates=rates, departures=(*second.departures, note))
        return replace(recipe, stages=(first, scaled))
    if retraining == "tau_norm":
        note = (
            "Tau-normalisation acts on the raw features and weights behind the cosine head; tau is chosen on validation images."
        )
        return replace(recipe, stages=(first,), inference=tau_normalised, departures=(*recipe.departures, note))
    if retraining == "none":
        return replace(recipe, stages=(first,))
    raise UserError(unknown("retraining", retraining, list(RETRAININGS)))
