"""Augmentations by name: how strongly training images are changed, and under which symmetries they keep their class."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from longtail.data.autoaugment import auto_augment
from longtail.data.symmetry import random_symmetry
from longtail.data.transforms import Transform, cutout, random_flip, random_rotation, random_shift
from longtail.errors import UserError

AUGMENTATIONS = ("none", "light", "standard", "strong")
LESS: Mapping[str, tuple[Transform, ...]] = {"none": (), "light": (random_shift,)}
SYMMETRIES: Mapping[str, tuple[Transform, ...]] = {"none": (), "mirror": (random_flip,), "square": (random_symmetry,)}


def augmentations(
    own: Sequence[Transform], augmentation: str | None = None, symmetry: str | None = None
) -> tuple[Transform, ...]:
    """The transforms that a setting's augmentation and symmetry stand for, in the order in which they are applied.

    `strong` takes `auto_augment`, which draws two operations for each image from the run's generator. torchvision's
    TrivialAugmentWide draws one operation for a whole batch; called image by image it takes 60 ms for 128 images of 32 pixels,
    `auto_augment` 24 ms. At 64 pixels the two are alike; at 224 pixels image by image is faster on a CPU (110 ms against 510 ms
    for 64 images), but a GPU would wait for the host (benchmarks/augmentation_cpu.txt: one core, median of 7).

    Args:
        own: the setting's own transforms, the crop first.
        augmentation: "none"; "light": random shifts by up to an eighth of the side; "standard": `own`; "strong": `own`,
            AutoAugment and Cutout, and under the symmetry "square" rotations by up to 15 degrees. None for `own`.
        symmetry: "none", "mirror" (left-right) or "square" (all eight symmetries); it takes the place of the symmetry in
            `own`. None keeps that one, and with the augmentation "none" means "none".
    """
    wanted = symmetry or ("none" if augmentation == "none" else _symmetry_of(own))
    chosen = LESS.get(augmentation or "", tuple(own))
    if _symmetry_of(chosen) != wanted:
        plain = without(chosen, (random_flip, random_symmetry))
        chosen = (*plain[:1], *SYMMETRIES[wanted], *plain[1:])
    if augmentation != "strong":
        return chosen
    turned = (random_rotation,) if wanted == "square" else ()
    return (*chosen, *without((*turned, auto_augment, cutout), chosen))


def check_augmentation(augmentation: str | None, symmetry: str | None) -> None:
    """Refuses a name that is not that of an augmentation or of a symmetry.

    Raises:
        UserError: there is none of that name; the message lists those that exist.
    """
    asked = {"augment": (augmentation, AUGMENTATIONS), "symmetry": (symmetry, SYMMETRIES)}
    for option, (name, known) in asked.items():
        if name is not None and name not in known:
            raise UserError(f"`{option}` must be one of {', '.join(known)}; got {name!r}.")


def without(transforms: Sequence[Transform], others: Sequence[Transform]) -> tuple[Transform, ...]:
    """Those transforms that are not among the others, whatever their hyper-parameters."""
    known = {_function(other) for other in others}
    return tuple(transform for transform in transforms if _function(transform) not in known)


def _symmetry_of(own: Sequence[Transform]) -> str:
    functions = {_function(transform) for transform in own}
    return "square" if random_symmetry in functions else "mirror" if random_flip in functions else "none"


def _function(transform: Transform) -> Callable[..., Any]:
    return transform.func if isinstance(transform, partial) else transform
