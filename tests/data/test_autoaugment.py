"""AutoAugment against Pillow, image by image, and its policies against torchvision's."""

from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from torchvision.transforms import v2

from longtail.data import autoaugment
from longtail.data.autoaugment import OPERATIONS, POLICIES, SIGNED, amount, auto_augment, drawn, operate

CPU = torch.device("cpu")
WITHOUT_BINS = ("AutoContrast", "Equalize", "Invert")
CASES = [
    (name, magnitude, sign)
    for name in OPERATIONS
    for magnitude in ([None] if name in WITHOUT_BINS else range(10))
    for sign in ((1, -1) if name in SIGNED else (1,))
]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def some_images(batch=6, height=32, width=32):
    """Coarse patterns of random contrast with a little noise: more like photographs than noise alone."""
    coarse = torch.rand((batch, 3, 5, 4), generator=seeded(1))
    smooth = torch.nn.functional.interpolate(coarse, size=(height, width), mode="bicubic")
    span = 40 + 260 * torch.rand((batch, 3, 1, 1), generator=seeded(2))
    noise = 12 * torch.rand(smooth.shape, generator=seeded(3))
    return (128 + span * (smooth - 0.5) + noise).clamp(0, 255).to(torch.uint8)


def by_pillow(image, name, magnitude, sign):
    """One operation on one image (3, H, W), with the magnitudes of the published recipe."""
    picture = Image.fromarray(image.permute(1, 2, 0).numpy())
    width, height = picture.size
    share = 0 if magnitude is None else magnitude / 9

    def affine(*matrix, resample=Image.Resampling.NEAREST):
        return picture.transform(picture.size, Image.Transform.AFFINE, matrix, resample, fillcolor=(128,) * 3)

    changed = {
        "Rotate": lambda: picture.rotate(30 * share, fillcolor=(128,) * 3),
        "TranslateX": lambda: affine(1, 0, sign * share * 150 / 331 * width, 0, 1, 0),
        "TranslateY": lambda: affine(1, 0, 0, 0, 1, sign * share * 150 / 331 * height),
        "ShearY": lambda: affine(1, 0, 0, sign * share * 0.3, 1, 0, resample=Image.Resampling.BICUBIC),
        "Brightness": lambda: ImageEnhance.Brightness(picture).enhance(1 + sign * share * 0.9),
        "Contrast": lambda: ImageEnhance.Contrast(picture).enhance(1 + sign * share * 0.9),
        "Color": lambda: ImageEnhance.Color(picture).enhance(1 + sign * share * 0.9),
        "Sharpness": lambda: ImageEnhance.Sharpness(picture).enhance(1 + sign * share * 0.9),
        "Posterize": lambda: ImageOps.posterize(picture, round(8 - 4 * share)),
        "Solarize": lambda: ImageOps.solarize(picture, 256 - 256 * share),
        "Invert": lambda: ImageOps.invert(picture),
        "AutoContrast": lambda: ImageOps.autocontrast(picture),
        "Equalize": lambda: ImageOps.equalize(picture),
    }[name]()
    return torch.from_numpy(np.array(changed)).permute(2, 0, 1)


def by_us(images, name, magnitude, sign):
    amounts = torch.zeros((len(images), len(OPERATIONS)), dtype=torch.float64)
    amounts[:, OPERATIONS.index(name)] = sign * amount(name, magnitude)
    return operate(images, amounts)


def difference(a, b):
    return (a.int() - b.int()).abs()


def test_policies_are_those_of_torchvision():
    reference = v2.AutoAugment(v2.AutoAugmentPolicy.CIFAR10)
    assert list(POLICIES) == reference._policies
    assert {name for policy in POLICIES for name, _, _ in policy} == set(OPERATIONS)


@pytest.mark.parametrize("size", [(32, 32), (20, 27)], ids=str)
@pytest.mark.parametrize(("name", "magnitude", "sign"), CASES)
def test_every_operation_in_every_bin_equals_pillow(name, magnitude, sign, size):
    images = some_images(12, *size)
    gaps = difference(by_us(images, name, magnitude, sign), torch.stack([by_pillow(i, name, magnitude, sign) for i in images]))
    # Pillow rotates in fixed point; its autocontrast is sometimes one level below the exact one; shear is summed in float32.
    differing, levels = {"Rotate": (0.002, 255), "ShearY": (0.002, 1), "AutoContrast": (0.01, 1)}.get(name, (0, 0))
    assert gaps.max() <= levels
    assert (gaps > 0).float().mean() <= differing


@pytest.mark.parametrize("name", OPERATIONS)
def test_images_of_few_levels_equal_pillow(name):
    constant = torch.full((3, 8, 8), 77, dtype=torch.uint8)
    two = torch.where(torch.arange(64).view(8, 8) < 10, 100, 101).to(torch.uint8).expand(3, 8, 8)
    black_and_white = torch.where(torch.arange(1024).view(32, 32) < 700, 0, 255).to(torch.uint8).expand(3, 32, 32)
    for image in (constant, constant * 0, two, black_and_white):
        case = (name, None if name in WITHOUT_BINS else 2, 1)
        assert torch.equal(by_us(image[None], *case)[0], by_pillow(image, *case))


def test_an_amount_of_zero_leaves_an_image_alone():
    images = some_images()
    nothing = torch.zeros((6, len(OPERATIONS)), dtype=torch.float64)
    assert torch.equal(operate(images, nothing), images)
    for name in set(OPERATIONS) - set(WITHOUT_BINS):
        assert torch.equal(by_us(images, name, 0, 1), images)


def test_auto_augment_is_two_operations_of_one_policy_by_pillow():
    images = some_images(400)
    generator = seeded()
    policy = torch.randint(25, (400,), generator=generator)
    draw = torch.rand((2, 2, 400), generator=generator)
    expected = []
    for i, image in enumerate(images):
        for index, (name, probability, magnitude) in enumerate(POLICIES[policy[i]]):
            if draw[0, index, i] < probability:
                image = by_pillow(image, name, magnitude, -1 if name in SIGNED and draw[1, index, i] < 0.5 else 1)
        expected.append(image)
    gaps = difference(auto_augment(images, seeded()), torch.stack(expected)).flatten(1).float()
    assert (gaps > 1).float().mean() < 1e-3
    assert gaps.mean() < 0.01


def names(amounts):
    """The operation of each image, None where there is none."""
    return [OPERATIONS[row.index(1)] if any(row) else None for row in (amounts != 0).int().tolist()]


def test_policies_operations_and_signs_come_as_often_as_they_should():
    draws = 50_000
    amounts = drawn(draws, seeded(), CPU)
    assert (amounts != 0).sum(2).max() == 1
    expected = Counter()
    for (first, p, bin_1), (second, q, bin_2) in POLICIES:
        p, q = (p if bin_1 != 0 else 0), (q if bin_2 != 0 else 0)
        for one, share_1 in ((first, p), (None, 1 - p)):
            for two, share_2 in ((second, q), (None, 1 - q)):
                expected[one, two] += share_1 * share_2 * draws / 25
    found = Counter(zip(names(amounts[0]), names(amounts[1]), strict=True))
    assert set(found) <= {pair for pair, count in expected.items() if count}
    for pair, count in expected.items():
        assert abs(found[pair] - count) <= 5 * count**0.5, pair
    for name, column in zip(OPERATIONS, amounts.unbind(2), strict=True):
        negative = (column < 0).sum() / (column != 0).sum()
        assert 0.45 < negative < 0.55 if name in SIGNED else negative == 0


def test_no_image_depends_on_another():
    images = some_images(200)
    augmented = auto_augment(images, seeded())
    amounts = drawn(200, seeded(), CPU)
    for i in range(200):
        alone = operate(operate(images[i : i + 1], amounts[0, i : i + 1]), amounts[1, i : i + 1])
        assert torch.equal(alone[0], augmented[i])
    images[7] = 255 - images[7]
    others = torch.arange(200) != 7
    assert torch.equal(auto_augment(images, seeded())[others], augmented[others])


def test_computing_everything_equals_computing_what_is_needed(monkeypatch):
    images = some_images(300)
    needed = auto_augment(images, seeded())
    monkeypatch.setattr(autoaugment, "_where_needed", autoaugment._everywhere)
    assert torch.equal(auto_augment(images, seeded()), needed)


def test_auto_augment_depends_on_its_generator_alone():
    images = some_images(40)
    before = images.clone()
    once, again, other = (auto_augment(images, seeded(seed)) for seed in (0, 0, 1))
    assert torch.equal(once, again)
    assert not torch.equal(once, other)
    assert (once.dtype, once.shape, once.device) == (torch.uint8, images.shape, images.device)
    assert torch.equal(images, before)
    assert auto_augment(images[:1]).shape == (1, 3, 32, 32)


def test_auto_augment_never_reads_from_the_device():
    augmented = auto_augment(some_images().to("meta"))  # has no values: reading one is an error
    assert (augmented.dtype, augmented.shape, augmented.device.type) == (torch.uint8, (6, 3, 32, 32), "meta")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_auto_augment_on_cuda_equals_cpu_and_never_waits():
    images, amounts = some_images(300), drawn(300, seeded(), CPU)
    expected = operate(operate(images, amounts[0]), amounts[1])
    found = operate(operate(images.cuda(), amounts[0].cuda()), amounts[1].cuda()).cpu()
    assert (difference(found, expected) > 1).float().mean() < 1e-3
    generator, there = torch.Generator("cuda").manual_seed(0), images.cuda()
    auto_augment(there, generator)  # copies the tables, once
    torch.cuda.set_sync_debug_mode("error")
    try:
        assert auto_augment(there, generator).is_cuda
    finally:
        torch.cuda.set_sync_debug_mode("default")
