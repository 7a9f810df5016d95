"""Every method as a function Setting -> Recipe, with its source and its departures. Plain data; nothing runs here."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch.optim import SGD

from longtail import schedules
from longtail.heads import CosineHead
from longtail.inference import logit_adjusted, nearest_class_mean, tau_normalised
from longtail.losses import ClassBalancedLoss, CrossEntropyLoss, FocalLoss, GCLAngularLoss, GCLLoss, clouds
from longtail.recipe import Recipe, Setting, Stage
from longtail.steps import mixup as mixup_step
from longtail.weighting import Rule, class_based_effective_number, power

Cloud = Callable[..., Any]

BUDGET = (
    "Budget of the GCL scripts' first stage (SGD 0.1, batch 64, five epochs of warm-up, x0.1 at 80 % and 90 %), "
    "so that methods are compared at the same one."
)
DECOUPLED = "The classifier's stage has 15 % of the first stage's epochs (30 of 200), as in GCL."


def ce(setting: Setting) -> Recipe:
    """Cross-entropy, every image alike."""
    return Recipe("ce", (first_stage(setting),), source="the baseline of every paper", departures=(BUDGET,))


def mixup(setting: Setting, *, alpha: float = 1.0) -> Recipe:
    """Cross-entropy on mixed images."""
    stage = first_stage(setting, step=partial(mixup_step, alpha=alpha))
    return Recipe("mixup", (stage,), source="Zhang et al., ICLR 2018", departures=(BUDGET,))


def focal(setting: Setting, *, gamma: float = 1.0) -> Recipe:
    """Focal loss, softmax form."""
    stage = first_stage(setting, loss=partial(FocalLoss, gamma=gamma))
    return Recipe("focal", (stage,), source="Lin et al., ICCV 2017; LDAM repository's baseline", departures=(BUDGET,))


def class_balanced(setting: Setting, *, beta: float = 0.9999, gamma: float = 0.0) -> Recipe:
    """Cross-entropy weighted by one over the effective number of images."""
    loss = partial(ClassBalancedLoss, beta=beta, gamma=gamma, reduction="batch")
    return Recipe(
        "class_balanced",
        (first_stage(setting, loss=loss),),
        source="Cui et al., CVPR 2019",
        departures=(BUDGET, "The softmax form; the shipped script runs the sigmoid focal form."),
    )


def crt(setting: Setting, *, sampler: Rule = power) -> Recipe:
    """Cross-entropy, then a new classifier on class-balanced draws over the frozen backbone."""
    return _retrained("crt", setting, first_stage(setting), sampler)


def mixup_crt(setting: Setting, *, alpha: float = 1.0, sampler: Rule = power) -> Recipe:
    """Cross-entropy on mixed images, then a new classifier on class-balanced draws over the frozen backbone."""
    return _retrained("mixup_crt", setting, first_stage(setting, step=partial(mixup_step, alpha=alpha)), sampler)


def lws(setting: Setting, *, sampler: Rule = power) -> Recipe:
    """Cross-entropy, then one learned scale per class on class-balanced draws, all else frozen."""
    second = second_stage(
        setting,
        resample=sampler,
        head="wrap",
        learning_rates={"head.class_scale": 1.0},
        optimizer=sgd(setting, lr=0.2),
        schedule=schedules.cosine,
        batch_norm="train",
    )
    return Recipe("lws", (first_stage(setting), second), source="Kang et al., ICLR 2020", departures=(BUDGET, DECOUPLED))


def tau_norm(setting: Setting, *, tau: float | None = None) -> Recipe:
    """Cross-entropy, then classifier rows divided by a power of their norm."""
    note = "tau is chosen by mean recall on validation images held out of train; the paper's CIFAR re-runs fix 1."
    return Recipe(
        "tau_norm",
        (first_stage(setting),),
        inference=partial(tau_normalised, tau=tau),
        source="Kang et al., ICLR 2020",
        departures=(BUDGET, note),
    )


def ncm(setting: Setting) -> Recipe:
    """Cross-entropy, then the nearest class mean in feature space."""
    return Recipe(
        "ncm",
        (first_stage(setting),),
        inference=nearest_class_mean,
        source="Kang et al., ICLR 2020",
        departures=(BUDGET,),
    )


def logit_adjusted_post_hoc(setting: Setting, *, tau: float | None = 1.0) -> Recipe:
    """Cross-entropy, then the log of the training frequency taken from the logits."""
    return Recipe(
        "logit_adjusted_post_hoc",
        (first_stage(setting),),
        inference=partial(logit_adjusted, tau=tau),
        source="Menon et al., ICLR 2021, Eq. 9",
        departures=(BUDGET, "ResNet-32 with option-A shortcuts; the authors' network has projection shortcuts."),
    )


def gcl(
    setting: Setting, *, cloud: Cloud = clouds.log, sampler: Rule = class_based_effective_number, alpha: float = 1.0
) -> Recipe:
    """Gaussian clouded logits on mixed images, then the classifier alone on re-balanced draws."""
    first = first_stage(setting, loss=partial(GCLLoss, cloud=cloud), step=partial(mixup_step, alpha=alpha))
    second = _gcl_second_stage(
        setting, partial(GCLLoss, scale=20.0, margin=0.1, gamma=1.0, cloud=cloud), sampler, step=partial(mixup_step, alpha=alpha)
    )
    return Recipe(
        "gcl",
        (first, second),
        head=CosineHead,
        source="Li, Cheung, Lu, CVPR 2022; Keke921/GCLLoss@c2a6233",
        departures=(
            "Second-stage sampler: the paper's CBEN (a=0.999, b=0.0009); the code's default is class-balanced "
            "(sampler=power), its CBEN has a=0.9999, b=1e-5.",
            "Noise as in the code: one sample per logit, clamped to [-1, 1], times 0.5, drawn anew for each mixup label; "
            "the paper has one per image and no factor.",
            "Margin 0.1 and detached focal weight (gamma 1) in the second stage as in the code; absent from the paper.",
            "Scale 30, then 20 as in the code; the paper has one scale.",
            "Second-stage learning rate 0.002 with half a cosine, the effective rate of the code at c2a6233 (nominal 0.1; "
            "its first release had 0.008).",
            "The second stage continues from the LAST epoch of the first; the code hands over the best epoch on the test set.",
            "The second stage's weights multiply the focal loss; the code puts them inside the probability.",
        ),
    )


def gcl_angular(
    setting: Setting, *, cloud: Cloud = clouds.log, sampler: Rule = class_based_effective_number, alpha: float = 1.0
) -> Recipe:
    """GCL on the angle instead of the cosine."""
    first = first_stage(setting, loss=partial(GCLAngularLoss, cloud=cloud), step=partial(mixup_step, alpha=alpha))
    second = _gcl_second_stage(
        setting, partial(GCLAngularLoss, gamma=1.0, cloud=cloud), sampler, step=partial(mixup_step, alpha=alpha)
    )
    return Recipe(
        "gcl_angular",
        (first, second),
        head=CosineHead,
        source="Li et al., IEEE TAI 2024; Keke921/GCLLoss@c2a6233, NoiAngLoss",
        departures=("Not published for this setting: loss constants of the Places-LT scripts, budget of GCL's CIFAR scripts.",),
    )


ALL: tuple[Callable[..., Recipe], ...] = (
    ce,
    mixup,
    focal,
    class_balanced,
    crt,
    mixup_crt,
    lws,
    tau_norm,
    ncm,
    logit_adjusted_post_hoc,
    gcl,
    gcl_angular,
)


def first_stage(setting: Setting, **fields: Any) -> Stage:
    """The whole network at the setting's budget: cross-entropy unless `fields` say otherwise."""
    defaults: dict[str, Any] = {
        "loss": CrossEntropyLoss,
        "epochs": setting.epochs,
        "batch_size": setting.batch_size,
        "optimizer": sgd(setting, lr=setting.learning_rate),
        "schedule": partial(schedules.warmed_up, schedule=schedules.steps),
    }
    return Stage(**(defaults | fields))


def second_stage(setting: Setting, **fields: Any) -> Stage:
    """The classifier alone, 30 epochs for every 200 of the first stage: cross-entropy unless `fields` say otherwise."""
    defaults: dict[str, Any] = {
        "epochs": max(round(setting.epochs * 30 / 200), 1),
        "learning_rates": {"head.*": 1.0},
        "schedule": partial(schedules.warmed_up, schedule=partial(schedules.steps, milestones=(1 / 3, 2 / 3))),
    }
    return first_stage(setting, **(defaults | fields))


def sgd(setting: Setting, *, lr: float) -> partial[SGD]:
    """SGD with momentum 0.9 and the setting's weight decay on every trained parameter."""
    return partial(SGD, lr=lr, momentum=0.9, weight_decay=setting.weight_decay)


def _retrained(name: str, setting: Setting, first: Stage, sampler: Rule) -> Recipe:
    second = second_stage(setting, resample=sampler, head="reset", batch_norm="train")
    return Recipe(
        name,
        (first, second),
        source="Kang et al., ICLR 2020",
        departures=(
            BUDGET,
            DECOUPLED,
            "Learning rate 0.1, x0.1 at thirds, as in BagofTricks-LT's CIFAR re-runs; the backbone's batch norm stays in train "
            "mode, as in the authors' code.",
            "Class-balanced draws with replacement; the authors cycle through each class's images.",
        ),
    )


def _gcl_second_stage(setting: Setting, loss: Callable[..., Any], sampler: Rule, step: Callable[..., Any]) -> Stage:
    return second_stage(
        setting,
        loss=loss,
        resample=sampler,
        step=step,
        batch_norm="eval",
        optimizer=sgd(setting, lr=0.02 * setting.learning_rate),
        schedule=schedules.cosine,
    )
