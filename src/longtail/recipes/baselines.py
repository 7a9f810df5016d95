"""The baselines: cross-entropy, mixup, focal loss, class-balanced loss."""

from __future__ import annotations

from functools import partial

from longtail.losses import ClassBalancedLoss, FocalLoss
from longtail.losses.base import Form
from longtail.recipes.budget import CIFAR, LARGE, STEPS_BY_100, base, first_stage, own_budget, plain_head, published, whole
from longtail.spec.recipe import Recipe, Setting, Stage
from longtail.steps import mixup as mixup_step

LDAM_BUDGET = whole({"batch_size": 128, "lr": 0.1, "schedule": STEPS_BY_100}, *CIFAR)
MIXUP_ALPHA = whole(1.0, *CIFAR) | whole(0.2, *LARGE)


def ce(setting: Setting) -> Recipe:
    """Cross-entropy, every image alike."""
    own, note = base(setting)
    return Recipe(
        "ce",
        (first_stage(setting, own),),
        head=plain_head(setting),
        source="the baseline of every paper",
        departures=(note,),
    )


def mixup(setting: Setting, *, alpha: float | None = None) -> Recipe:
    """Cross-entropy on mixed images; alpha is 1 on small images and 0.2 on large ones unless given."""
    stage, notes = mixed_stage(setting, alpha)
    source = "Zhang et al., ICLR 2018; facebookresearch/mixup-cifar10"
    return Recipe("mixup", (stage,), head=plain_head(setting), source=source, year=2018, departures=notes)


def focal(setting: Setting, *, gamma: float = 1.0, form: Form = "softmax") -> Recipe:
    """Focal loss, softmax or sigmoid form."""
    own, notes = own_budget(setting, LDAM_BUDGET)
    return Recipe(
        "focal",
        (first_stage(setting, own, loss=partial(FocalLoss, gamma=gamma, form=form)),),
        source="Lin et al., ICCV 2017; kaidic/LDAM-DRW@2536330, baseline",
        year=2017,
        departures=(*notes, "The softmax form of the LDAM repository's baseline; the paper's is the sigmoid one (form=sigmoid)."),
    )


def class_balanced(setting: Setting, *, beta: float = 0.9999, gamma: float = 0.0, form: Form = "softmax") -> Recipe:
    """Cross-entropy weighted by one over the effective number of images."""
    own, notes = own_budget(setting, LDAM_BUDGET)
    loss = partial(ClassBalancedLoss, beta=beta, gamma=gamma, form=form, reduction="batch")
    return Recipe(
        "class_balanced",
        (first_stage(setting, own, loss=loss),),
        source="Cui et al., CVPR 2019",
        year=2019,
        departures=(
            *notes,
            "The softmax form; the shipped script runs the sigmoid focal form (form=sigmoid, gamma=1), whose last bias starts at "
            "-log(C - 1), here at torch's own.",
        ),
    )


def mixed_stage(setting: Setting, alpha: float | None) -> tuple[Stage, tuple[str, ...]]:
    """A plain first stage on mixed images, and what is to be said of it."""
    own, note = base(setting)
    chosen, notes = mixup_alpha(setting, alpha)
    return first_stage(setting, own, step=partial(mixup_step, alpha=chosen)), (note, *notes)


def mixup_alpha(setting: Setting, asked: float | None) -> tuple[float, tuple[str, ...]]:
    """What was asked for, else what was published."""
    return (asked, ()) if asked is not None else published(setting, MIXUP_ALPHA)
