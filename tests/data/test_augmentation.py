"""Augmentations by name: which transforms each stands for, and that strong ones draw anew for every image."""

from functools import partial
from itertools import product

import pytest
import torch

from longtail import settings
from longtail.data.augmentation import AUGMENTATIONS, SYMMETRIES, augmentations, check_augmentation, without
from longtail.data.autoaugment import auto_augment
from longtail.data.symmetry import random_symmetry
from longtail.data.transforms import color_jitter, cutout, random_crop, random_flip, random_resized_crop, random_rotation
from longtail.data.transforms import random_shift as shift
from longtail.errors import UserError
from longtail.spec.recipe import with_augmentation

CROP = partial(random_crop, padding=4)
CIFAR, DIGITS, LARGE = (CROP, random_flip), (CROP,), (random_resized_crop, random_flip, color_jitter)
STRONG = (auto_augment, cutout)


@pytest.mark.parametrize(
    ("own", "augmentation", "symmetry", "expected"),
    [
        (CIFAR, None, None, CIFAR),
        (CIFAR, "standard", None, CIFAR),
        (CIFAR, "standard", "mirror", CIFAR),
        (CIFAR, None, "none", (CROP,)),
        (CIFAR, None, "square", (CROP, random_symmetry)),
        (CIFAR, "none", None, ()),
        (CIFAR, "none", "mirror", (random_flip,)),
        (CIFAR, "light", None, (shift, random_flip)),
        (CIFAR, "light", "square", (shift, random_symmetry)),
        (CIFAR, "strong", None, (*CIFAR, *STRONG)),
        (CIFAR, "strong", "none", (CROP, *STRONG)),
        (CIFAR, "strong", "square", (CROP, random_symmetry, random_rotation, *STRONG)),
        (DIGITS, "strong", None, (CROP, *STRONG)),
        (DIGITS, None, "mirror", CIFAR),
        (DIGITS, "light", None, (shift,)),
        (LARGE, "standard", "square", (random_resized_crop, random_symmetry, color_jitter)),
        (LARGE, "strong", None, (*LARGE, *STRONG)),
        ((), "standard", "square", (random_symmetry,)),
        ((random_flip, CROP), None, None, (random_flip, CROP)),
        ((CROP, random_symmetry), "strong", None, (CROP, random_symmetry, random_rotation, *STRONG)),
        ((CROP, partial(cutout, share=0.2)), "strong", None, (CROP, partial(cutout, share=0.2), auto_augment)),
    ],
)
def test_what_each_name_stands_for(own, augmentation, symmetry, expected):
    assert list(map(shown, augmentations(own, augmentation, symmetry))) == list(map(shown, expected))


def shown(transform):
    return (transform.func, transform.keywords) if isinstance(transform, partial) else (transform, {})


@pytest.mark.parametrize("name", settings.NAMED)
def test_named_settings_keep_their_own_unless_asked(name):
    own = settings.NAMED[name]()
    same = with_augmentation(own, None, None)
    assert (same.augment, same.augmentation, same.symmetry) == (own.augment, None, None)
    assert with_augmentation(own, "standard", None).augment == own.augment
    assert (random_flip in own.augment) == (name != "digits_lt")
    strong = with_augmentation(own, "strong", "square")
    assert (strong.augmentation, strong.symmetry) == ("strong", "square")
    assert strong.augment[-3:] == (random_rotation, *STRONG)
    assert random_flip not in strong.augment


def test_without_looks_at_the_function():
    assert without((cutout, random_flip), (partial(cutout, share=0.1),)) == (random_flip,)


@pytest.mark.parametrize(("augmentation", "symmetry"), list(product(AUGMENTATIONS, SYMMETRIES)))
def test_every_combination_depends_on_its_generator_alone(augmentation, symmetry):
    images = torch.randint(256, (32, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))

    def augmented(seed):
        generator, changed = torch.Generator().manual_seed(seed), images
        for transform in augmentations(CIFAR, augmentation, symmetry):
            changed = transform(changed, generator)
        return changed

    assert torch.equal(augmented(0), augmented(0))
    assert torch.equal(augmented(0), augmented(1)) == (augmentation == symmetry == "none")
    assert (augmented(0).dtype, augmented(0).shape) == (torch.uint8, images.shape)


def test_strong_draws_its_operations_for_every_image():
    ramp = torch.arange(256, dtype=torch.uint8).view(16, 16) // 4 + 100
    images = torch.stack([ramp, ramp.T, ramp.flip(0)]).expand(500, -1, -1, -1)
    changed = auto_augment(images, torch.Generator().manual_seed(0)).flatten(1)
    kinds, counts = torch.unique(changed, dim=0, return_counts=True)
    assert len(kinds) > 50, "25 pairs of operations, each with its own probabilities and signs"
    assert counts.max() < 250, "fewer than half are left alone, and no other result is more frequent than that"
    strong = augmentations(DIGITS, "strong")
    assert strong[-2] is auto_augment


@pytest.mark.parametrize(
    ("augmentation", "symmetry", "said"),
    [
        ("storng", None, r"^`augment` must be one of none, light, standard, strong; got 'storng'\.$"),
        ("", None, r"got ''\.$"),
        (None, "rotate", r"^`symmetry` must be one of none, mirror, square; got 'rotate'\.$"),
    ],
)
def test_an_unknown_name_is_refused(augmentation, symmetry, said):
    with pytest.raises(UserError, match=said):
        check_augmentation(augmentation, symmetry)
    with pytest.raises(UserError, match=said):
        with_augmentation(settings.digits_lt(), augmentation, symmetry)
