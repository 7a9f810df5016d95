"""Augmentation of a batch against a loop over its images, and normalisation against torchvision."""

import pytest
import torch
from torchvision.transforms import v2

from longtail.data.transforms import cutout, normalise, random_crop, random_flip


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
    places = random_crop(marked, seeded(), padding=1)[:, 0].flatten(1).float().argmax(1)
    assert sorted(set(places.tolist())) == list(range(9))
    assert torch.bincount(places).min() > 30


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
    cut = cutout(images, seeded(), side=side)
    generator = seeded()
    rows = torch.randint(9, (30, 1), generator=generator)[:, 0].tolist()
    columns = torch.randint(7, (30, 1), generator=generator)[:, 0].tolist()
    for i, (row, column) in enumerate(zip(rows, columns, strict=True)):
        expected = images[i].clone()
        top, left = row - side // 2, column - side // 2
        expected[:, max(top, 0) : top + side, max(left, 0) : left + side] = 0
        assert torch.equal(cut[i], expected)


@pytest.mark.parametrize("transform", [random_crop, random_flip, cutout])
def test_transforms_depend_on_their_generator_alone(transform):
    images = some_images(batch=40)
    before = images.clone()
    once, again, other = (transform(images, seeded(seed)) for seed in (0, 0, 1))
    assert torch.equal(once, again)
    assert not torch.equal(once, other)
    assert (once.dtype, once.shape) == (torch.uint8, images.shape)
    assert torch.equal(images, before)


@pytest.mark.parametrize("transform", [random_crop, random_flip, cutout])
def test_transforms_need_no_generator(transform):
    torch.manual_seed(0)
    assert transform(some_images()).shape == (6, 3, 9, 7)


def test_normalise_equals_torchvision():
    images, mean, std = some_images(), (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
    reference = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(mean, std)])(images)
    normalised = normalise(images, mean=mean, std=std)
    torch.testing.assert_close(normalised, reference, rtol=1e-6, atol=1e-6)
    assert normalised.is_contiguous(memory_format=torch.channels_last)
