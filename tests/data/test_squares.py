"""Images become squares: resized in proportion, padded with the colour of their edge."""

import numpy as np
import pytest
import torch
from PIL import Image
from test_images import noise

from longtail.data.squares import as_tensor, squared


@pytest.mark.parametrize(("height", "width"), [(4, 9), (9, 4), (5, 6)])
def test_a_square_is_padded_with_the_colour_of_the_edge(height, width):
    pixels = noise(height, width)
    pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1] = (9, 90, 200), (9, 90, 200), (9, 90, 200), (9, 90, 200)
    pixels[0, 0] = 255
    side = max(height, width)
    square = np.asarray(squared(Image.fromarray(pixels), side))
    top, left = (side - height) // 2, (side - width) // 2
    expected = np.full((side, side, 3), (9, 90, 200), dtype=np.uint8)
    expected[top : top + height, left : left + width] = pixels
    assert np.array_equal(square, expected)


@pytest.mark.parametrize(
    ("height", "width", "inside"), [(60, 30, (20, 10)), (30, 60, (10, 20)), (1000, 3, (20, 1)), (5, 10, (10, 20))]
)
def test_the_longer_side_becomes_the_size_and_the_shorter_keeps_its_proportion(height, width, inside):
    pixels = np.full((height, width, 3), (200, 20, 60), dtype=np.uint8)
    pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1] = ((9, 90, 200),) * 4
    image = Image.fromarray(pixels)
    square = np.asarray(squared(image, 20))
    small = np.asarray(image.resize(inside[::-1], Image.Resampling.BILINEAR))
    top, left = (20 - inside[0]) // 2, (20 - inside[1]) // 2
    expected = np.full((20, 20, 3), (9, 90, 200), dtype=np.uint8)
    expected[top : top + inside[0], left : left + inside[1]] = small
    assert np.array_equal(square, expected)


@pytest.mark.parametrize("size", [7, 64, 100])
def test_square_images_are_only_resized(size):
    image = Image.fromarray(noise(64, 64))
    assert np.array_equal(np.asarray(squared(image, size)), np.asarray(image.resize((size, size), Image.Resampling.BILINEAR)))


def test_a_square_of_the_right_size_is_left_alone():
    pixels = noise(8, 8)
    assert np.array_equal(np.asarray(squared(Image.fromarray(pixels), 8)), pixels)


def test_a_square_is_resized_without_losing_its_mean():
    small = np.asarray(squared(Image.fromarray(noise(64, 64)), 8))
    assert small.shape == (8, 8, 3)
    assert abs(small.mean() - noise(64, 64).mean()) < 2


def test_as_tensor_puts_channels_first():
    pixels = noise(3, 5)
    tensor = as_tensor(Image.fromarray(pixels))
    assert (tensor.dtype, tensor.shape) == (torch.uint8, (3, 3, 5))
    assert all(tensor[c, y, x] == pixels[y, x, c] for c in range(3) for y in range(3) for x in range(5))
