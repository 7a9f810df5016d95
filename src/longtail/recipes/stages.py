"""The two kinds of stages that recipes are made of: the whole network, and the classifier alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from torch.optim import SGD

from longtail.data.augmentation import without
from longtail.heads import LinearHead
from longtail.losses import CrossEntropyLoss
from longtail.recipes.budget import STEPS, THIRDS, Budget, first_budget, is_large
from longtail.spec.description import parameters_of
from longtail.spec.recipe import FineTuning, Setting, Stage
from longtail.steps import head_at_class_means

SECOND_SHARE = 30 / 200
CLASSIFIER = {"head.*": 1.0}


def first_stage(setting: Setting, own: Budget | None = None, **fields: Any) -> Stage:
    """A stage that trains the whole network: with cross-entropy at the setting's budget, unless `own` or `fields` say otherwise.

    Args:
        own: the method's budget, not used at the common budget; where it has None, the setting's value is used, and GCL's steps
            as the schedule.
        fields: fields of the stage, such as `loss`, `step`, `reweight` or `departures`.

    Augmentations that the setting has are left out of the stage's own, as under a strong augmentation: none is applied twice.
    """
    stage = _stage(setting, first_budget(setting, own), fields)
    return _fine_tuned(stage, setting.fine_tuning or FineTuning()) if setting.budget == "fine-tuning" else stage


def second_stage(
    setting: Setting, first: Stage, own: Budget | None = None, *, learning_rates: Mapping[str, float] | None = None, **fields: Any
) -> Stage:
    """A stage that trains the classifier alone, at the method's own budget even where the common budget is asked for.

    Args:
        own: the method's budget; where it has None: 15 % of the first stage's epochs (at least one), the first stage's batch,
            drops of the learning rate at thirds, and the setting's learning rate and weight decay.
        learning_rates: pattern of parameter names -> factor of the learning rate; None: the head alone, with factor 1.
        fields: fields of the stage, such as `resample`, `head` or `departures`.
    """
    own = own or Budget()
    share = SECOND_SHARE if own.share is None else own.share
    budget = replace(
        own,
        epochs=max(round(first.epochs * share), 1) if own.epochs is None else own.epochs,
        batch_size=own.batch_size or first.batch_size,
        schedule=own.schedule or THIRDS,
    )
    return _stage(setting, budget, {"learning_rates": learning_rates or CLASSIFIER, **fields})


def plain_head(setting: Setting) -> Callable[..., LinearHead]:
    """A linear head with the initialisation of the scripts: torch's default on large data, else Kaiming-normal as on CIFAR."""
    return partial(LinearHead, kaiming=False) if is_large(setting) else LinearHead


def _stage(setting: Setting, budget: Budget, fields: Mapping[str, Any]) -> Stage:
    """A stage at the budget; where its batch exceeds the setting's limit, batch and learning rate are reduced in proportion."""
    wanted = budget.batch_size or setting.batch_size
    batch_size = min(wanted, setting.largest_batch or wanted)
    rate = setting.learning_rate if budget.lr is None else budget.lr
    decay = setting.weight_decay if budget.weight_decay is None else budget.weight_decay
    plain = Stage(
        loss=CrossEntropyLoss,
        epochs=budget.epochs or setting.epochs,
        batch_size=batch_size,
        optimizer=_sgd(rate * batch_size / wanted, decay, nesterov=budget.nesterov),
        schedule=budget.schedule or STEPS,
        drop_last=budget.drop_last,
        augment=budget.augment,
    )
    stage = replace(plain, **fields)
    return replace(stage, augment=without(stage.augment, setting.augment))


def _fine_tuned(stage: Stage, tuning: FineTuning) -> Stage:
    """The stage with the optimizer, the rates, the weight average and the label smoothing for pretrained weights."""
    smoothed = {"smoothing": tuning.smoothing} if "smoothing" in parameters_of(stage.loss) else {}
    start = partial(head_at_class_means, wanted=tuning.class_means) if stage.start is None else stage.start
    return replace(
        stage,
        loss=partial(stage.loss, **smoothed) if smoothed else stage.loss,
        optimizer=tuning.optimizer,
        schedule=tuning.schedule,
        learning_rates=stage.learning_rates or {"backbone.*": tuning.backbone_rate, "*": 1.0},
        layer_decay=tuning.layer_decay,
        average=tuning.average,
        start=start,
    )


def _sgd(lr: float, weight_decay: float, *, nesterov: bool) -> partial[SGD]:
    plain = partial(SGD, lr=lr, momentum=0.9, weight_decay=weight_decay)
    return partial(plain, nesterov=True) if nesterov else plain
