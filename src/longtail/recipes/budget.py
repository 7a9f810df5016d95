"""What recipes share: stages at a budget, and hyper-parameters by the data they were published for."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

from torch.optim import SGD

from longtail import schedules
from longtail.heads import LinearHead
from longtail.losses import CrossEntropyLoss
from longtail.spec.recipe import Setting, Stage

Key = tuple[str, float | None]
Own = Mapping[str, Any]
Value = TypeVar("Value")

STEPS = partial(schedules.warmed_up, schedule=schedules.steps)
STEPS_BY_100 = partial(schedules.warmed_up, schedule=partial(schedules.steps, factor=0.01))
THIRDS = partial(schedules.warmed_up, schedule=partial(schedules.steps, milestones=(1 / 3, 2 / 3)))
CIFAR: tuple[Key, Key] = (("cifar10", None), ("cifar100", None))
CIFAR_100_AT_100: Key = ("cifar100", 100)
LARGE: tuple[Key, ...] = (("imagenet_lt", None), ("places_lt", None), ("inaturalist2018", None))

BASE: Mapping[Key, Own] = {
    ("imagenet_lt", None): {"epochs": 90, "batch_size": 512, "lr": 0.2, "weight_decay": 5e-4, "drop_last": True},
    ("places_lt", None): {"epochs": 90, "batch_size": 512, "lr": 0.2, "weight_decay": 5e-4, "drop_last": True},
    ("inaturalist2018", None): {"epochs": 90, "batch_size": 512, "lr": 0.2, "weight_decay": 1e-4, "drop_last": True},
}
BEFORE_EPOCH = partial(schedules.cosine, first=-1, last=1)

COMMON = "Common budget: batch, optimizer, schedule and augmentation of the first stage are the setting's, not the method's."
GCL_BUDGET = (
    "Budget of the GCL scripts' first stage on CIFAR (SGD 0.1, batch 64, five epochs of warm-up, x0.1 at 80 % and 90 %), "
    "in which the GCL paper re-ran its baselines."
)
OTHER_DATA = (
    "Budget of the GCL scripts' first stage on CIFAR (SGD 0.1, x0.1 at 80 % and 90 %) with the batch and epochs of these data."
)
DECOUPLING_BUDGET = "Budget of the decoupling repository (90 epochs, batch 512, learning rate 0.2 with half a cosine)."
PLACES_BUDGET = f"{DECOUPLING_BUDGET} Its stage for Places-LT was not released; there only the last block was trained, here all."
FROZEN_TRUNK = (
    "The whole network is trained; the authors train its last block and the classifier alone, the rest held in eval mode."
)
WITH_REPLACEMENT = "Class-balanced draws with replacement; the authors cycle through each class's images."


def first_stage(setting: Setting, own: Own | None = None, **fields: Any) -> Stage:
    """The whole network: cross-entropy at the setting's budget, unless the method's `own` budget or `fields` say otherwise.

    Args:
        own: epochs, batch_size, lr, weight_decay, nesterov, and fields of the stage; not used at the common budget.
    """
    return _stage(setting, (own or {}) if setting.budget == "paper" else {}, fields)


def second_stage(setting: Setting, first: Stage, own: Own | None = None, *, share: float = 30 / 200, **fields: Any) -> Stage:
    """The classifier alone for a `share` of the first stage's epochs; second stages are the method's own at every budget."""
    defaults = {
        "epochs": max(round(first.epochs * share), 1),
        "learning_rates": {"head.*": 1.0},
        "schedule": THIRDS,
        "batch_size": first.batch_size,
    }
    return _stage(setting, {**defaults, **(own or {})}, fields)


def base(setting: Setting) -> tuple[Own, str]:
    """The budget of a plain first stage on the data, and a sentence that says whose it is."""
    if setting.budget == "common":
        return {}, COMMON
    own = BASE.get((setting.benchmark, None))
    if own is None:
        return {}, GCL_BUDGET if is_cifar(setting) else OTHER_DATA
    return {**own, "schedule": BEFORE_EPOCH}, PLACES_BUDGET if setting.benchmark == "places_lt" else DECOUPLING_BUDGET


def own_budget(setting: Setting, values: Mapping[Key, Own]) -> tuple[Own, tuple[str, ...]]:
    """The method's own budget and what is to be said of it; epochs carry over between imbalances, not between data."""
    if setting.budget == "common":
        return {}, (COMMON,)
    own, notes = published(setting, values)
    if setting.benchmark in {benchmark for benchmark, _ in values}:
        return own, notes
    return {name: value for name, value in own.items() if name != "epochs"}, (*notes, "Epochs are the setting's.")


def published(setting: Setting, values: Mapping[Key, Value]) -> tuple[Value, tuple[str, ...]]:
    """What was published for the data at the nearest imbalance, else for CIFAR-100 at 100, else for ImageNet-LT.

    Returns:
        The value, and a sentence for the departures where it was published for something else.
    """
    key = _nearest(setting, list(values))
    if key in ((setting.benchmark, setting.imbalance), (setting.benchmark, None)):
        return values[key], ()
    origin = key[0] if key[1] is None else f"{key[0]} at imbalance {key[1]:g}"
    return values[key], (f"Not published for this setting: values of {origin}.",)


def is_cifar(setting: Setting) -> bool:
    """Whether the data are those of the CIFAR tables."""
    return setting.benchmark in ("cifar10", "cifar100")


def is_large(setting: Setting) -> bool:
    """Whether the data are those of the large tables."""
    return (setting.benchmark, None) in LARGE


def plain_head(setting: Setting) -> Callable[..., LinearHead]:
    """A linear head with the start of the scripts: Kaiming-normal on CIFAR, torch's own on large data."""
    return partial(LinearHead, kaiming=False) if is_large(setting) else LinearHead


def whole(values: Value, *keys: Key) -> dict[Key, Value]:
    """One value for several keys."""
    return dict.fromkeys(keys, values)


def sgd(setting: Setting, *, lr: float, weight_decay: float | None = None, nesterov: bool = False) -> partial[SGD]:
    """SGD with momentum 0.9 and weight decay (the setting's if not given) on every trained parameter."""
    decay = setting.weight_decay if weight_decay is None else weight_decay
    plain = partial(SGD, lr=lr, momentum=0.9, weight_decay=decay)
    return partial(plain, nesterov=True) if nesterov else plain


def _nearest(setting: Setting, keys: list[Key]) -> Key:
    same = [key for key in keys if key[0] == setting.benchmark]
    if same:
        return min(same, key=lambda key: abs(math.log((key[1] or setting.imbalance or 1) / (setting.imbalance or 1))))
    order = (CIFAR_100_AT_100, ("cifar100", None), ("imagenet_lt", None))
    return next(key for key in order if key in keys)


def _stage(setting: Setting, own: Own, fields: Mapping[str, Any]) -> Stage:
    """A smaller batch than the method's own scales its learning rate in proportion."""
    budget = {
        "epochs": setting.epochs,
        "batch_size": setting.batch_size,
        "lr": setting.learning_rate,
        "weight_decay": setting.weight_decay,
        "nesterov": False,
        "schedule": STEPS,
        "loss": CrossEntropyLoss,
        **own,
    }
    wished = budget.pop("batch_size")
    batch_size = min(wished, setting.largest_batch or wished)
    rate, decay, nesterov = budget.pop("lr"), budget.pop("weight_decay"), budget.pop("nesterov")
    optimizer = sgd(setting, lr=rate * batch_size / wished, weight_decay=decay, nesterov=nesterov)
    return Stage(**({**budget, "batch_size": batch_size, "optimizer": optimizer} | dict(fields)))
