"""Gaussian clouded logit adjustment, its angular form, and the ablations of its paper."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Literal

from longtail import schedules
from longtail.errors import UserError
from longtail.heads import CosineHead, ScaledHead
from longtail.inference import tau_normalised
from longtail.losses import GCLAngularLoss, GCLLoss, clouds
from longtail.recipes.baselines import mixup_alpha
from longtail.recipes.budget import (
    BASE,
    CIFAR,
    FROZEN_TRUNK,
    LARGE,
    Key,
    Own,
    first_stage,
    is_large,
    own_budget,
    published,
    second_stage,
    whole,
)
from longtail.spec.description import unknown
from longtail.spec.recipe import Recipe, Setting
from longtail.steps import mixup as mixup_step
from longtail.weighting import Rule, class_based_effective_number, power

Cloud = Callable[..., Any]
Retraining = Literal["crt", "lws", "tau_norm", "none"]
RETRAININGS = ("crt", "lws", "tau_norm", "none")

FIRST: Mapping[Key, Own] = whole({}, *CIFAR) | {
    ("imagenet_lt", None): {**BASE[("imagenet_lt", None)], "epochs": 200, "schedule": schedules.cosine},
    ("inaturalist2018", None): {**BASE[("inaturalist2018", None)], "epochs": 200, "schedule": schedules.cosine},
    ("places_lt", None): {
        "epochs": 90,
        "batch_size": 512,
        "lr": 0.2,
        "weight_decay": 5e-4,
        "schedule": partial(schedules.warmed_up, schedule=partial(schedules.steps, milestones=(60 / 90, 80 / 90))),
    },
}
# constants of the two losses, alpha of the second stage's mixup (None: as in the first), and its share of epochs
CONSTANTS: Mapping[Key, tuple[Own, Own, float | None, float]] = whole(
    ({"scale": 30.0, "noise_mul": 0.5}, {"scale": 20.0, "margin": 0.1, "gamma": 1.0, "noise_mul": 0.5}, None, 30 / 200),
    *CIFAR,
) | {
    ("places_lt", None): (
        {"scale": 30.0, "noise_mul": 1.0},
        {"scale": 15.0, "margin": 0.1, "gamma": 1.0, "noise_mul": 1.0},
        1.0,
        30 / 90,
    )
}
SECOND: Mapping[Key, Own] = whole({}, *CIFAR) | {
    key: {name: FIRST[key][name] for name in ("batch_size", "weight_decay")} for key in LARGE
}
SECOND_STAGE = (
    "Second-stage learning rate 0.002 with half a cosine, the effective rate of the code at c2a6233 (nominal 0.1; its first "
    "release had 0.008).",
    "The second stage continues from the LAST epoch of the first; the code hands over the best epoch on the test set.",
)
SCRIPTS = "Keke921/GCLLoss@c2a6233"


def gcl(
    setting: Setting,
    *,
    cloud: Cloud = clouds.log,
    sampler: Rule = class_based_effective_number,
    retraining: Retraining = "crt",
    alpha: float | None = None,
) -> Recipe:
    """Gaussian clouded logits on mixed images, then the classifier alone on re-balanced draws.

    The paper's ablations are its keywords: `cloud` (Table 3), `sampler` (Table 4), `retraining` (Table 5).
    """
    first_values, second_values, *_ = published(setting, CONSTANTS)[0]
    losses = (partial(GCLLoss, cloud=cloud, **first_values), partial(GCLLoss, cloud=cloud, **second_values))
    recipe = _clouded(setting, *losses, sampler=sampler, alpha=alpha)
    departures = (
        *recipe.departures,
        "Second-stage sampler: the paper's CBEN (a=0.999, b=0.0009); the code's default is class-balanced "
        "(sampler=power), its CBEN has a=0.9999, b=1e-5; which of them made the published table is not known.",
        "Noise as in the code: one sample per logit, clamped to [-1, 1], times noise_mul, drawn anew for each mixup label; "
        "the paper has one per image and no factor.",
        "Margin 0.1 and detached focal weight (gamma 1) in the second stage as in the code; absent from the paper.",
        "Scale 30, then 20 (Places-LT 15) as in the code; the paper has one scale.",
        "The second stage's weights multiply the focal loss; the code puts them inside the probability.",
    )
    recipe = replace(recipe, name="gcl", source=f"Li, Cheung, Lu, CVPR 2022; {SCRIPTS}", year=2022, departures=departures)
    return _with_retraining(recipe, retraining)


def gcl_angular(setting: Setting, *, cloud: Cloud = clouds.log, sampler: Rule = power, alpha: float | None = None) -> Recipe:
    """GCL on the angle instead of the cosine."""
    first, second = partial(GCLAngularLoss, cloud=cloud), partial(GCLAngularLoss, gamma=1.0, cloud=cloud)
    recipe = _clouded(setting, first, second, sampler=sampler, alpha=alpha)
    note = "Loss constants of the Places-LT scripts (nothing was published elsewhere), budget of GCL, class-balanced re-training."
    source = f"Li et al., IEEE TAI 2024; {SCRIPTS}, NoiAngLoss"
    return replace(recipe, name="gcl_angular", source=source, year=2024, departures=(*recipe.departures, note))


def _clouded(
    setting: Setting,
    first_loss: Callable[..., Any],
    second_loss: Callable[..., Any],
    *,
    sampler: Rule,
    alpha: float | None,
) -> Recipe:
    own, notes = own_budget(setting, FIRST)
    *_, second_alpha, share = published(setting, CONSTANTS)[0]
    chosen, _ = mixup_alpha(setting, alpha)
    again = chosen if alpha is not None or second_alpha is None else second_alpha
    first = first_stage(setting, own, loss=first_loss, step=partial(mixup_step, alpha=chosen))
    second = second_stage(
        setting,
        first,
        {"lr": 0.002, "schedule": schedules.cosine, **published(setting, SECOND)[0]},
        share=share,
        loss=second_loss,
        resample=sampler,
        step=partial(mixup_step, alpha=again),
        batch_norm="eval",
    )
    return Recipe("", (first, second), head=CosineHead, departures=(*notes, *_large_notes(setting), *SECOND_STAGE))


def _large_notes(setting: Setting) -> tuple[str, ...]:
    if setting.benchmark == "places_lt":
        unmixed = "The second stage mixes images and labels; the code mixes the labels and feeds the images unmixed (a bug)."
        return (unmixed, FROZEN_TRUNK)
    if is_large(setting):
        return (
            "No script was published for these data: 200 epochs are the author's word, loss constants and second stage CIFAR's, "
            "batch and learning rate the decoupling repository's.",
        )
    return ()


def _with_retraining(recipe: Recipe, retraining: Retraining) -> Recipe:
    """The second stage of Table 5: the classifier, one scale per class, tau-normalisation without training, or nothing."""
    first, second = recipe.stages
    if retraining == "crt":
        return recipe
    if retraining == "lws":
        note = "LWS trains the scale alone, on the cosine head of the first stage, at the second stage's learning rate."
        scaled = replace(second, head=ScaledHead, learning_rates={"head.class_scale": 1.0})
        return replace(recipe, stages=(first, scaled), departures=(*recipe.departures, note))
    if retraining == "tau_norm":
        note = (
            "Tau-normalisation acts on the raw features and weights behind the cosine head; tau is chosen on validation images."
        )
        return replace(recipe, stages=(first,), inference=tau_normalised, departures=(*_of_first_stage(recipe), note))
    if retraining == "none":
        return replace(recipe, stages=(first,), departures=_of_first_stage(recipe))
    raise UserError(unknown("retraining", retraining, list(RETRAININGS)))


def _of_first_stage(recipe: Recipe) -> tuple[str, ...]:
    return tuple(note for note in recipe.departures if "econd" not in note)
