"""Augmentation of a batch against a loop over its images, and normalisation against torchvision."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance
from torchvision.transforms import v2

from longtail.data.transforms import (
    choose,
    color_jitter,
    cutout,
    luminance,
    normalise,
    random_crop,
    random_flip,
    random_grayscale,
    random_resized_crop,
    random_rotation,
    random_shift,
)

TRANSFORMS = [
    random_crop,
    random_shift,
    random_flip,
    random_rotation,
    cutout,
    random_resized_crop,
    random_grayscale,
    color_jitter,
]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def some_images(batch=6, height=9, width=7):
    return torch.randint(1, 256, (batch, 3, height, width), dtype=torch.uint8, generator=seeded(1))


@pytest.mark.parametrize("padding", [1, 4])
def test_random_crop_is_a_window_of_the_padded_image(padding):
    images = some_images()
    cropped = random_crop(images, seeded(), padding=padding)
    corners = torch.randint(2 * padding + 1, (2, 6, 1), generator=seeded())[:, :, 0].tolist()
    for i, (top, left) in enumerate(zip(*corners, strict=True)):
        padded = torch.zeros(3, 9 + 2 * padding, 7 + 2 * padding, dtype=torch.uint8)
        padded[:, padding:-padding, padding:-padding] = images[i]
        assert torch.equal(cropped[i], padded[:, top : top + 9, left : left + 7])


def test_random_crop_reaches_every_corner():
    marked = torch.zeros(500, 3, 3, 3, dtype=torch.uint8)
    marked[:, :, 1, 1] = 1
    indices = random_crop(marked, seeded(), padding=1)[:, 0].flatten(1).float().argmax(1)
    assert sorted(set(indices.tolist())) == list(range(9))
    assert torch.bincount(indices).min() > 30


@pytest.mark.parametrize(("side", "padding"), [(32, 4), (8, 1), (4, 1), (70, 8)])
def test_random_shift_is_by_up_to_an_eighth_of_the_side(side, padding):
    images = some_images(height=side, width=side)
    assert torch.equal(random_shift(images, seeded()), random_crop(images, seeded(), padding=padding))


@pytest.mark.parametrize(("height", "width"), [(31, 31), (40, 30)])
@pytest.mark.parametrize("degrees", [15.0, 45.0])
def test_random_rotation_equals_torchvision_inside_the_image(height, width, degrees):
    images = torch.nn.functional.interpolate(some_images(height=6, width=5).float(), (height, width), mode="bilinear").byte()
    angles = degrees * (2 * torch.rand(6, generator=seeded()) - 1)
    assert angles.max() > degrees / 4
    assert angles.min() < -degrees / 4
    bilinear = v2.InterpolationMode.BILINEAR
    for image, angle, found in zip(images, angles.tolist(), random_rotation(images, seeded(), degrees=degrees), strict=True):
        expected = v2.functional.rotate(image, angle, interpolation=bilinear)
        inside = v2.functional.rotate(torch.full_like(image, 255), angle, interpolation=bilinear) == 255
        assert inside.float().mean() > 0.6
        assert difference(expected[inside], found[inside]) <= 1
        assert found.min() >= image.min(), "the border is continued, so that no black corners appear"


def test_random_flip_mirrors_every_second_image():
    images = some_images(batch=400, height=2, width=3)
    flipped = random_flip(images, seeded())
    mirrored = torch.tensor([torch.equal(a, b.flip(2)) for a, b in zip(flipped, images, strict=True)])
    kept = torch.tensor([torch.equal(a, b) for a, b in zip(flipped, images, strict=True)])
    assert (mirrored ^ kept).all()
    assert 160 < mirrored.sum() < 240


@pytest.mark.parametrize("side", [1, 4, 5])
def test_cutout_is_a_square_cut_off_at_the_border(side):
    images = some_images(batch=30)
    cut = cutout(images, seeded(), share=side / 7)
    generator = seeded()
    rows = torch.randint(9, (30, 1), generator=generator)[:, 0].tolist()
    columns = torch.randint(7, (30, 1), generator=generator)[:, 0].tolist()
    for i, (row, column) in enumerate(zip(rows, columns, strict=True)):
        expected = images[i].clone()
        top, left = row - side // 2, column - side // 2
        expected[:, max(top, 0) : top + side, max(left, 0) : left + side] = 0
        assert torch.equal(cut[i], expected)


def windows(area, batch=300, side=128):
    """Width and height of each window as shares of the image, and its corners, read off a ramp along x and one along y."""
    ramp = torch.arange(side, dtype=torch.uint8) + 50
    images = torch.stack([ramp.expand(side, side), ramp[:, None].expand(side, side), ramp.expand(side, side)])
    cropped = random_resized_crop(images.expand(batch, -1, -1, -1), seeded(), area=area).float()
    low, high = cropped[:, :2, 1, 1], cropped[:, :2, -2, -2]
    return (high - low) / (side - 3), torch.stack([low, high]) - ramp.float().mean()


@pytest.mark.parametrize("area", [(0.08, 1.0), (0.25, 0.25), (0.08, 0.5)])
def test_random_resized_crop_keeps_to_its_bounds(area):
    sides, corners = windows(area)
    shares, ratios = sides.prod(1), sides[:, 0] / sides[:, 1]
    assert shares.min() > area[0] * 0.95 - 0.005
    assert shares.max() < area[1] * 1.05
    assert 0.7 < ratios.min() < 0.8
    assert 1.25 < ratios.max() < 1.4
    assert corners.abs().max() <= 63.5
    assert shares.max() - shares.min() >= 0.8 * (area[1] - area[0])


def test_a_crop_of_all_is_the_image():
    images = some_images(batch=40, height=16, width=16)
    assert torch.equal(random_resized_crop(images, seeded(), area=(2.0, 2.0)), images)
    assert not torch.equal(random_resized_crop(images, seeded()), images)


def pillow(image):
    return Image.fromarray(image.permute(1, 2, 0).numpy())


def difference(images, others):
    return (images.int() - others.int()).abs().max()


def test_luminance_equals_pillow():
    images = some_images(batch=20, height=40, width=50)
    reference = torch.stack([torch.from_numpy(np.array(pillow(image).convert("L"))) for image in images])
    assert torch.equal(luminance(images)[:, 0], reference)


def test_random_grayscale_is_one_grey_image_in_five():
    images = some_images(batch=1000)
    grey, reference = random_grayscale(images, seeded()), v2.functional.rgb_to_grayscale(images, num_output_channels=3)
    kept = (grey == images).flatten(1).all(1)
    assert difference(grey[~kept], reference[~kept]) <= 1  # torchvision rounds down, Pillow to the nearest
    assert torch.equal(grey[~kept], luminance(images)[~kept].expand(-1, 3, -1, -1))
    assert 150 < (~kept).sum() < 250
    assert torch.equal(random_grayscale(images, probability=0.0), images)
    assert torch.equal(random_grayscale(images, probability=1.0), luminance(images).expand(-1, 3, -1, -1))


ADJUST = {
    "brightness": (v2.functional.adjust_brightness, ImageEnhance.Brightness),
    "contrast": (v2.functional.adjust_contrast, ImageEnhance.Contrast),
    "saturation": (v2.functional.adjust_saturation, ImageEnhance.Color),
}


@pytest.mark.parametrize("name", ADJUST)
@pytest.mark.parametrize("strength", [0.4, 1.0])
def test_color_jitter_of_one_kind_equals_torchvision(name, strength):
    images = some_images(batch=50)
    others = dict.fromkeys(ADJUST, 0.0)
    jittered = color_jitter(images, seeded(), **{**others, name: strength})
    factors = 1 + strength * (2 * torch.rand((3, 50), generator=seeded()) - 1)[list(ADJUST).index(name)]
    assert 1 - strength <= factors.min() < 1 < factors.max() <= 1 + strength
    for image, factor, found in zip(images, factors.tolist(), jittered, strict=True):
        assert difference(ADJUST[name][0](image, factor), found) <= 1
    assert torch.equal(color_jitter(images, **others), images)


def test_color_jitter_equals_pillow_in_order():
    images = some_images(batch=50)
    factors = 1 + 0.4 * (2 * torch.rand((3, 50), generator=seeded()) - 1)
    for i, found in enumerate(color_jitter(images, seeded())):
        picture = pillow(images[i])
        for (_, enhance), factor in zip(ADJUST.values(), factors[:, i].tolist(), strict=True):
            picture = enhance(picture).enhance(factor)
        assert torch.equal(torch.from_numpy(np.array(picture)).permute(2, 0, 1), found)


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_no_image_depends_on_another(transform):
    images = some_images(batch=40)
    before = transform(images, seeded())
    images[7] = 255 - images[7]
    others = torch.arange(40) != 7
    assert torch.equal(transform(images, seeded())[others], before[others])


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_transforms_never_read_from_the_device(transform):
    assert transform(some_images().to("meta")).shape == (6, 3, 9, 7)  # has no values: reading one is an error


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_transforms_depend_on_their_generator_alone(transform):
    images = some_images(batch=40)
    before = images.clone()
    once, again, other = (transform(images, seeded(seed)) for seed in (0, 0, 1))
    assert torch.equal(once, again)
    assert not torch.equal(once, other)
    assert (once.dtype, once.shape) == (torch.uint8, images.shape)
    assert torch.equal(images, before)


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_transforms_need_no_generator(transform):
    torch.manual_seed(0)
    assert transform(some_images()).shape == (6, 3, 9, 7)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_normalise_is_its_formula_to_the_bit(layout):
    images, mean, std = some_images().to(memory_format=layout), (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
    former, divisor, centre = images.clone(), *(torch.tensor(each)[:, None, None] for each in (std, mean))
    assert torch.equal(normalise(images, mean=mean, std=std), images.float() * (1 / (255 * divisor)) - centre / divisor)
    assert torch.equal(images, former)


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_choose_is_where(device):
    images, others = some_images().to(device), 255 - some_images().to(device)
    condition = (torch.rand(len(images), 1, 1, 1, generator=seeded()) < 0.5).to(device)
    chosen, expected = choose(condition, images, others), torch.where(condition, images, others)
    assert (chosen.shape, chosen.dtype) == (expected.shape, expected.dtype)
    assert device == "meta" or torch.equal(chosen, expected)


def test_normalise_equals_torchvision():
    images, mean, std = some_images(), (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
    reference = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(mean, std)])(images)
    normalised = normalise(images, mean=mean, std=std)
    torch.testing.assert_close(normalised, reference, rtol=1e-6, atol=1e-6)
    assert normalised.is_contiguous(memory_format=torch.channels_last)
