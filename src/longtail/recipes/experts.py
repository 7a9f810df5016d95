"""Several experts on a shared trunk: balanced product of experts (BalPoE)."""

from __future__ import annotations

from functools import partial

from longtail.heads import ExpertsHead
from longtail.losses import ExpertsLoss
from longtail.losses.experts import consistent_exponents
from longtail.networks import CifarResNet, ExpertsBackbone
from longtail.recipes.budget import CIFAR, STEPS, Budget, own_budget, whole
from longtail.recipes.in_use import Target, for_use
from longtail.recipes.stages import first_stage
from longtail.spec.description import parameters_of
from longtail.spec.recipe import Recipe, Setting
from longtail.steps import mixup_experts

BALPOE = whole(Budget(batch_size=128, lr=0.1, weight_decay=5e-4, nesterov=True, schedule=STEPS), *CIFAR)
SCALE = 30.0
FEWER_LAYERS = (
    "The experts share all but the network's last group of residual blocks; on CIFAR's networks they share stem and first group."
)
PLAIN_AUGMENTATION = (
    "Images are mixed and have the setting's augmentation; the paper's best table adds AutoAugment, and its longest runs have "
    "400 epochs, with drops at 320 and 360."
)
CIFAR_10_CONSTANTS = "Images are normalised with CIFAR-10's constants; the authors have CIFAR-100's own."


def balpoe(
    setting: Setting,
    *,
    tau: tuple[float, ...] = (0.0, 1.0, 2.0),
    alpha: float = 0.4,
    target: Target = None,
) -> Recipe:
    """Experts on a shared trunk, each with its own exponent of the class frequencies, on mixed images; their mean predicts.

    `target` are the class frequencies in use, whose log is added to the mean.
    """
    exponents = consistent_exponents(tau)
    own, notes = own_budget(setting, BALPOE)
    stage = first_stage(
        setting,
        own,
        loss=partial(ExpertsLoss, tau=exponents, scale=SCALE),
        step=partial(mixup_experts, alpha=alpha),
        departures=(*notes, PLAIN_AUGMENTATION),
    )
    return Recipe(
        "balpoe",
        (stage,),
        head=partial(ExpertsHead, experts=len(exponents)),
        backbone_wrapper=partial(ExpertsBackbone, experts=len(exponents), start="copied" if _is_pretrained(setting) else "drawn"),
        inference=for_use(target),
        source="Aimar et al., CVPR 2023; emasa/BalPoE-CalibratedLT@ca607ae",
        year=2023,
        departures=(
            "Every expert has its own later layers, so the network has more parameters and takes more arithmetic than those of "
            "the other methods.",
            *((CIFAR_10_CONSTANTS,) if setting.benchmark == "cifar100" else ()),
            *(() if getattr(setting.backbone, "func", setting.backbone) is CifarResNet else (FEWER_LAYERS,)),
        ),
    )


def _is_pretrained(setting: Setting) -> bool:
    """Whether the backbone starts from weights that were trained before, which every expert then starts from."""
    return bool(setting.weights or parameters_of(setting.backbone).get("pretrained"))
