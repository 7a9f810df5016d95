"""Augmentation of a whole batch at once, on the batch's device.

Each augmentation is a function `(images, generator) -> images` of uint8 images (B, 3, H, W); hyper-parameters are keyword-only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from math import pi

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

Images = UInt8[Tensor, "batch 3 height width"]
Grey = UInt8[Tensor, "batch 1 height width"]
Transform = Callable[..., Images]


def random_crop(images: Images, generator: torch.Generator | None = None, *, padding: int = 4) -> Images:
    """Crops a random window of the image's own size out of the image with `padding` black pixels around it."""
    batch, _, height, width = images.shape
    padded = F.pad(images, (padding,) * 4)
    corner = torch.randint(2 * padding + 1, (2, batch, 1), generator=generator, device=images.device)
    rows = corner[0] + torch.arange(height, device=images.device)
    columns = corner[1] + torch.arange(width, device=images.device)
    image = torch.arange(batch, device=images.device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[image, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def random_shift(images: Images, generator: torch.Generator | None = None, *, share: float = 1 / 8) -> Images:
    """Shifts each image by up to `share` of its side in both directions, at least one pixel; what is uncovered is black."""
    return random_crop(images, generator, padding=max(int(share * min(images.shape[2:])), 1))


def random_rotation(images: Images, generator: torch.Generator | None = None, *, degrees: float = 15.0) -> Images:
    """Rotates each image about its centre by an angle from U(-degrees, degrees), bilinearly; the border is continued outside."""
    angle = (2 * torch.rand(len(images), generator=generator, device=images.device) - 1) * (degrees * pi / 180)
    cos, sin = angle.cos(), angle.sin()
    height, width = images.shape[2:]
    theta = images.new_zeros((len(images), 2, 3), dtype=torch.float32)
    theta[:, 0, 0], theta[:, 0, 1] = cos, -sin * (height / width)
    theta[:, 1, 0], theta[:, 1, 1] = sin * (width / height), cos
    return _resampled(images, theta)


def random_flip(images: Images, generator: torch.Generator | None = None) -> Images:
    """Mirrors each image left to right with probability 1/2."""
    mirrored = torch.rand((len(images), 1, 1, 1), generator=generator, device=images.device) < 0.5
    return choose(mirrored, images.flip(3), images)


def choose(condition: Bool[Tensor, "batch 1 1 1"], images: Images, others: Images) -> Images:
    """The images where the condition holds, else the others; on a CPU by their bits, which takes half the time of torch.where."""
    if images.device.type != "cpu":
        return torch.where(condition, images, others)
    return others ^ ((images ^ others) & -condition.to(torch.uint8))


def cutout(images: Images, generator: torch.Generator | None = None, *, share: float = 0.5) -> Images:
    """Blackens a square around a random pixel, clipped at the border; it is `share` of the shorter side wide, 16 pixels on CIFAR.

    DeVries and Taylor, 2017 (arXiv 1708.04552).
    """
    batch, _, height, width = images.shape
    side = round(share * min(height, width))
    inside = [_near_random_pixel(length, batch, side, generator, images.device) for length in (height, width)]
    hole = inside[0][:, None, :, None] & inside[1][:, None, None, :]
    return images.masked_fill(hole, 0)


def _near_random_pixel(length: int, batch: int, side: int, generator: torch.Generator | None, device: torch.device) -> Tensor:
    centre = torch.randint(length, (batch, 1), generator=generator, device=device)
    distance = torch.arange(length, device=device) - centre
    return (distance >= -(side // 2)) & (distance < side - side // 2)


def random_resized_crop(
    images: Images, generator: torch.Generator | None = None, *, area: tuple[float, float] = (0.08, 1.0)
) -> Images:
    """Crops 8 to 100 % of the area at an aspect ratio of 3/4 to 4/3, resized to the image's own size (Szegedy et al., 2015)."""
    batch = len(images)
    draw = torch.rand((4, batch), generator=generator, device=images.device)
    share = area[0] + (area[1] - area[0]) * draw[0]
    ratio = (3 / 4) * (16 / 9) ** draw[1]
    scale = torch.stack([(share * ratio).sqrt(), (share / ratio).sqrt()]).clamp(max=1.0)
    centre = (1 - scale) * (2 * draw[2:] - 1)
    theta = images.new_zeros((batch, 2, 3), dtype=torch.float32)
    theta[:, 0, 0], theta[:, 1, 1], theta[:, 0, 2], theta[:, 1, 2] = scale[0], scale[1], centre[0], centre[1]
    return _resampled(images, theta)


def _resampled(images: Images, theta: Float[Tensor, "batch 2 3"]) -> Images:
    """Each image at the points that its affine map gives, between pixels bilinearly; both span [-1, 1] from edge to edge."""
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    resampled = F.grid_sample(images.float(), grid, mode="bilinear", padding_mode="border", align_corners=False)
    return resampled.round().clamp(0, 255).to(torch.uint8)


def color_jitter(
    images: Images,
    generator: torch.Generator | None = None,
    *,
    brightness: float = 0.4,
    contrast: float = 0.4,
    saturation: float = 0.4,
) -> Images:
    """Multiplies brightness, contrast and saturation by factors from U(1 - x, 1 + x), drawn for each image.

    Departure: the three are changed in this order; torchvision's ColorJitter draws the order anew each time.
    """
    draw = 2 * torch.rand((3, len(images)), generator=generator, device=images.device) - 1
    images = blend(images, torch.zeros_like(images), 1 + brightness * draw[0])
    images = blend(images, mean_luminance(luminance(images)), 1 + contrast * draw[1])
    return blend(images, luminance(images), 1 + saturation * draw[2])


def random_grayscale(images: Images, generator: torch.Generator | None = None, *, probability: float = 0.2) -> Images:
    """Turns each image grey with the given probability: all three channels take the luminance."""
    grey = torch.rand((len(images), 1, 1, 1), generator=generator, device=images.device) < probability
    return torch.where(grey, luminance(images), images)


def luminance(images: Images) -> Grey:
    """0.299 red + 0.587 green + 0.114 blue (ITU-R BT.601), to the nearest level; weights in multiples of 1/65536 as in Pillow."""
    red, green, blue = images.int().chunk(3, dim=1)
    return ((19595 * red + 38470 * green + 7471 * blue + 32768) >> 16).to(torch.uint8)


def mean_luminance(grey: Grey) -> UInt8[Tensor, "batch 1 1 1"]:
    """The mean of each grey image, rounded to the nearest level."""
    pixels = grey.shape[2] * grey.shape[3]
    return ((2 * grey.sum((1, 2, 3), keepdim=True) + pixels) // (2 * pixels)).to(torch.uint8)


def blend(images: Images, other: Tensor, factor: Float[Tensor, "batch"]) -> Images:
    """other + factor * (images - other), clipped to [0, 255] and rounded down, as Pillow does."""
    start = other.float()
    return (start + factor[:, None, None, None] * (images - start)).clamp(0, 255).to(torch.uint8)


def normalise(images: Images, *, mean: Sequence[float], std: Sequence[float]) -> Float[Tensor, "batch 3 height width"]:
    """(images / 255 - mean) / std, float32, channels last in memory."""
    batch, _, height, width = images.shape
    scale, shift = _scale_and_shift(tuple(mean), tuple(std), width, images.device)
    rows = images.permute(0, 2, 3, 1).flatten(2)  # of pixels: an inner loop over three channels takes five times as long on a CPU
    rows = rows.to(torch.float32, copy=True).mul_(scale).sub_(shift)
    return rows.view(batch, height, width, 3).permute(0, 3, 1, 2)


@lru_cache
def _scale_and_shift(
    mean: tuple[float, ...], std: tuple[float, ...], width: int, device: torch.device
) -> tuple[Float[Tensor, "row"], Float[Tensor, "row"]]:
    """The constants of `normalise` for a row of pixels, copied to the device once and not in every step."""
    with torch.inference_mode(mode=False):
        divisor, centre = (torch.tensor(values, dtype=torch.float32) for values in (std, mean))
        return (1 / (255 * divisor)).repeat(width).to(device), (centre / divisor).repeat(width).to(device)
