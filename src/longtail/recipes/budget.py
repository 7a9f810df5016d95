"""Budgets as they were published, by the data they were published for, and the departures that they bring."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

from longtail import schedules
from longtail.spec.recipe import Setting

Key = tuple[str, float | None]  # benchmark, and its imbalance where the value belongs to one
Value = TypeVar("Value")


@dataclass(frozen=True)
class Budget:
    """Training budget of a method for one stage. None stands for the default that `first_stage` and `second_stage` document.

    Args:
        epochs: passes over the training images.
        share: epochs of a second stage as a share of the first one's, where `epochs` is None.
        batch_size: images per step.
        lr: base learning rate of SGD with momentum 0.9, for a batch of `batch_size`.
        weight_decay: weight decay of SGD, on every trained parameter.
        nesterov: whether the momentum is Nesterov's.
        drop_last: whether a last batch that is not full is left out.
        schedule: progress -> multiplier of the learning rate.
        augment: the method's own augmentations, which follow those of the setting.
    """

    epochs: int | None = None
    share: float | None = None
    batch_size: int | None = None
    lr: float | None = None
    weight_decay: float | None = None
    nesterov: bool = False
    drop_last: bool = False
    schedule: schedules.Schedule | None = None
    augment: tuple[Callable[..., Any], ...] = ()


STEPS = partial(schedules.warmed_up, schedule=schedules.steps)
STEPS_BY_100 = partial(schedules.warmed_up, schedule=partial(schedules.steps, factor=0.01))
THIRDS = partial(schedules.warmed_up, schedule=partial(schedules.steps, milestones=(1 / 3, 2 / 3)))
BEFORE_EPOCH = partial(schedules.cosine, first=-1, last=1)

CIFAR: tuple[Key, Key] = (("cifar10", None), ("cifar100", None))
CIFAR_100_AT_100: Key = ("cifar100", 100)
LARGE: tuple[Key, ...] = (("imagenet_lt", None), ("places_lt", None), ("inaturalist2018", None))

DECOUPLING = Budget(epochs=90, batch_size=512, lr=0.2, weight_decay=5e-4, drop_last=True)
BASE: dict[Key, Budget] = {
    ("imagenet_lt", None): DECOUPLING,
    ("places_lt", None): DECOUPLING,
    ("inaturalist2018", None): replace(DECOUPLING, weight_decay=1e-4),
}

COMMON = "Common budget: batch, optimizer, schedule and augmentation of the first stage are the setting's, not the method's."
COMMON_128 = (
    "Common budget with batch 128: learning rate 0.1, optimizer, schedule and augmentation of the first stage are the setting's "
    "with that batch, not the method's."
)
FINE_TUNED = (
    "Fine-tuning: optimizer, schedule, epochs, batch, augmentation, weight average and label smoothing of the first stage are "
    "those for pretrained weights, not the method's."
)
OTHER_BUDGETS = {"common": COMMON, "common-128": COMMON_128, "fine-tuning": FINE_TUNED}
GCL_BUDGET = (
    "The budget is that of the GCL scripts' first stage on CIFAR (SGD with learning rate 0.1, batch 64, five epochs of warm-up, "
    "x0.1 at 80 % and 90 %), with which the GCL paper re-ran its baselines."
)
OTHER_DATA = (
    "The budget is that of the GCL scripts' first stage on CIFAR (SGD with learning rate 0.1, x0.1 at 80 % and 90 %), with the "
    "setting's own batch and epochs."
)
DECOUPLING_BUDGET = (
    "The budget is that of the decoupling repository (90 epochs, batch 512, learning rate 0.2 with half a cosine)."
)
PLACES_BUDGET = (
    f"{DECOUPLING_BUDGET} Its first stage for Places-LT was not released; there only the last block was trained, here the whole "
    "network is."
)
WITH_REPLACEMENT = "Class-balanced draws are with replacement; the authors cycle through each class's images."


def first_budget(setting: Setting, own: Budget | None) -> Budget:
    """The budget of a first stage: the method's own at the paper budget, else what stands in its place.

    Batch 128 at learning rate 0.1 is what most papers on CIFAR-LT train with (Cao et al., NeurIPS 2019, and its followers).
    """
    if setting.budget == "common-128":
        return Budget(batch_size=128, lr=0.1)
    return own if own is not None and setting.budget == "paper" else Budget()


def base(setting: Setting) -> tuple[Budget, str]:
    """The budget of a plain first stage on the data, and a sentence for the departures that says where it comes from."""
    if setting.budget != "paper":
        return Budget(), OTHER_BUDGETS[setting.budget]
    own = BASE.get((setting.benchmark, None))
    if own is None:
        return Budget(), GCL_BUDGET if is_cifar(setting) else OTHER_DATA
    return replace(own, schedule=BEFORE_EPOCH), PLACES_BUDGET if setting.benchmark == "places_lt" else DECOUPLING_BUDGET


def own_budget(setting: Setting, values: Mapping[Key, Budget]) -> tuple[Budget, tuple[str, ...]]:
    """The method's own budget, and sentences for the departures.

    A published number of epochs is used at another imbalance of the same data, but not on other data.
    """
    if setting.budget != "paper":
        return Budget(), (OTHER_BUDGETS[setting.budget],)
    own, notes = published(setting, values)
    if setting.benchmark in {benchmark for benchmark, _ in values}:
        return own, notes
    return replace(own, epochs=None), (*notes, "The number of epochs is the setting's.")


def published(setting: Setting, values: Mapping[Key, Value]) -> tuple[Value, tuple[str, ...]]:
    """The value that was published for the data at the nearest imbalance, else for CIFAR-100 at 100, else for ImageNet-LT.

    Returns:
        The value, and a sentence for the departures where it was published for other data or another imbalance.
    """
    key = _nearest(setting, list(values))
    if key in ((setting.benchmark, setting.imbalance), (setting.benchmark, None)):
        return values[key], ()
    origin = key[0] if key[1] is None else f"{key[0]} at imbalance {key[1]:g}"
    return values[key], (f"Not published for this setting: the values are those of {origin}.",)


def asked_or_published(setting: Setting, asked: float | None, values: Mapping[Key, float]) -> tuple[float, tuple[str, ...]]:
    """The value that was asked for, without a departure; where it is None, the published value with its departures."""
    return (asked, ()) if asked is not None else published(setting, values)


def is_cifar(setting: Setting) -> bool:
    """Whether the data are CIFAR-10 or CIFAR-100."""
    return setting.benchmark in ("cifar10", "cifar100")


def is_large(setting: Setting) -> bool:
    """Whether the data are ImageNet-LT, Places-LT or iNaturalist 2018."""
    return (setting.benchmark, None) in LARGE


def whole(value: Value, *keys: Key) -> dict[Key, Value]:
    """A table that has one value for several keys."""
    return dict.fromkeys(keys, value)


def _nearest(setting: Setting, keys: list[Key]) -> Key:
    same = [key for key in keys if key[0] == setting.benchmark]
    if same:
        return min(same, key=lambda key: abs(math.log((key[1] or setting.imbalance or 1) / (setting.imbalance or 1))))
    order = (CIFAR_100_AT_100, ("cifar100", None), ("imagenet_lt", None))
    return next(key for key in order if key in keys)
