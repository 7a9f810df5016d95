"""The baselines: cross-entropy, mixup, focal loss, class-balanced loss."""

from __future__ import annotations

from functools import partial

from longtail.losses import ClassBalancedLoss, FocalLoss
from longtail.losses.base import Form
from longtail.recipes.budget import CIFAR, LARGE, STEPS_BY_100, Budget, asked_or_published, base, own_budget, whole
from longtail.recipes.stages import first_stage, plain_head
from longtail.spec.recipe import Recipe, Setting, Stage
from longtail.steps import mixup as mixup_step

LDAM_BUDGET = whole(Budget(batch_size=128, lr=0.1, schedule=STEPS_BY_100), *CIFAR)
MIXUP_ALPHA = whole(1.0, *CIFAR) | whole(0.2, *LARGE)


def ce(setting: Setting) -> Recipe:
    """Cross-entropy in which every image weighs the same."""
    return Recipe("ce", (plain_stage(setting),), head=plain_head(setting), source="the baseline of every paper")


def mixup(setting: Setting, *, alpha: float | None = None) -> Recipe:
    """Cross-entropy on mixed images; alpha is 1 on small images and 0.2 on large ones unless given."""
    source = "Zhang et al., ICLR 2018; facebookresearch/mixup-cifar10"
    return Recipe("mixup", (mixed_stage(setting, alpha),), head=plain_head(setting), source=source, year=2018)


def focal(setting: Setting, *, gamma: float = 1.0, form: Form = "softmax") -> Recipe:
    """Focal loss, in its softmax or its sigmoid form."""
    own, notes = own_budget(setting, LDAM_BUDGET)
    of_form = (
        "The loss has the softmax form of the LDAM repository's baseline; the paper's form is the sigmoid one (form=sigmoid)."
    )
    stage = first_stage(setting, own, loss=partial(FocalLoss, gamma=gamma, form=form), departures=(*notes, of_form))
    source = "Lin et al., ICCV 2017; kaidic/LDAM-DRW@2536330, baseline"
    return Recipe("focal", (stage,), source=source, year=2017)


def class_balanced(setting: Setting, *, beta: float = 0.9999, gamma: float = 0.0, form: Form = "softmax") -> Recipe:
    """Cross-entropy weighted by one over the effective number of images."""
    own, notes = own_budget(setting, LDAM_BUDGET)
    of_form = (
        "The loss has the softmax form; the released script runs the sigmoid focal form (form=sigmoid, gamma=1), where the last "
        "bias starts at -log(C - 1), here at torch's default."
    )
    loss = partial(ClassBalancedLoss, beta=beta, gamma=gamma, form=form, reduction="batch")
    stage = first_stage(setting, own, loss=loss, departures=(*notes, of_form))
    return Recipe("class_balanced", (stage,), source="Cui et al., CVPR 2019", year=2019)


def plain_stage(setting: Setting) -> Stage:
    """The first stage of cross-entropy; several methods start from it, so that it is trained once for all of them."""
    own, note = base(setting)
    return first_stage(setting, own, departures=(note,))


def mixed_stage(setting: Setting, alpha: float | None) -> Stage:
    """The first stage of cross-entropy, on images mixed by mixup."""
    own, note = base(setting)
    chosen, notes = asked_or_published(setting, alpha, MIXUP_ALPHA)
    return first_stage(setting, own, step=partial(mixup_step, alpha=chosen), departures=(note, *notes))
