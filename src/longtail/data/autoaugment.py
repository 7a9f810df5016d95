"""AutoAugment's CIFAR-10 policies, applied to a whole batch at once on the batch's device.

An operation is encoded as a row of amounts, one for each of `OPERATIONS`, of which at most one is not zero; an amount of zero
leaves an image unchanged.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from math import pi

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float, Int
from torch import Tensor

from longtail.data.transforms import Images, blend, luminance, mean_luminance

Step = tuple[str, float, int | None]

# The 25 sub-policies that Cubuk et al. (CVPR 2019) found on CIFAR-10: two operations each, with probability and bin 0 ... 9.
POLICIES: tuple[tuple[Step, Step], ...] = (
    (("Invert", 0.1, None), ("Contrast", 0.2, 6)),
    (("Rotate", 0.7, 2), ("TranslateX", 0.3, 9)),
    (("Sharpness", 0.8, 1), ("Sharpness", 0.9, 3)),
    (("ShearY", 0.5, 8), ("TranslateY", 0.7, 9)),
    (("AutoContrast", 0.5, None), ("Equalize", 0.9, None)),
    (("ShearY", 0.2, 7), ("Posterize", 0.3, 7)),
    (("Color", 0.4, 3), ("Brightness", 0.6, 7)),
    (("Sharpness", 0.3, 9), ("Brightness", 0.7, 9)),
    (("Equalize", 0.6, None), ("Equalize", 0.5, None)),
    (("Contrast", 0.6, 7), ("Sharpness", 0.6, 5)),
    (("Color", 0.7, 7), ("TranslateX", 0.5, 8)),
    (("Equalize", 0.3, None), ("AutoContrast", 0.4, None)),
    (("TranslateY", 0.4, 3), ("Sharpness", 0.2, 6)),
    (("Brightness", 0.9, 6), ("Color", 0.2, 8)),
    (("Solarize", 0.5, 2), ("Invert", 0.0, None)),
    (("Equalize", 0.2, None), ("AutoContrast", 0.6, None)),
    (("Equalize", 0.2, None), ("Equalize", 0.6, None)),
    (("Color", 0.9, 9), ("Equalize", 0.6, None)),
    (("AutoContrast", 0.8, None), ("Solarize", 0.2, 8)),
    (("Brightness", 0.1, 3), ("Color", 0.7, 0)),
    (("Solarize", 0.4, 5), ("AutoContrast", 0.9, None)),
    (("TranslateY", 0.9, 9), ("TranslateY", 0.7, 9)),
    (("AutoContrast", 0.9, None), ("Solarize", 0.8, 3)),
    (("Equalize", 0.8, None), ("Invert", 0.1, None)),
    (("TranslateY", 0.7, 9), ("AutoContrast", 0.9, None)),
)

# The amount in bin 9: degrees (Rotate); shares of the side (Translate); pixels per pixel (Shear); change of the factor
# (Brightness to Sharpness); grey levels (Solarize).
LARGEST = {
    "Rotate": 30.0,
    "TranslateX": 150 / 331,
    "TranslateY": 150 / 331,
    "ShearY": 0.3,
    "Brightness": 0.9,
    "Contrast": 0.9,
    "Color": 0.9,
    "Sharpness": 0.9,
    "Solarize": 256.0,
}
SIGNED = LARGEST.keys() - {"Rotate", "Solarize"}


def auto_augment(images: Images, generator: torch.Generator | None = None) -> Images:
    """Applies one of 25 pairs of operations, each with its own probability (AutoAugment, Cubuk et al., CVPR 2019).

    This is the variant of GALA's runs on CIFAR: translation, shear, brightness, contrast, colour and sharpness change in either
    direction, a rotation is always counter-clockwise; pixels from outside the image are grey (128); shear interpolates
    bicubically, rotation and translation take the nearest pixel. Arithmetic and rounding are Pillow's, except for one grey level
    where Pillow's floating point falls just below a whole number and for single pixels of a rotation, which Pillow computes in
    fixed point. The order of the pipeline is crop, flip, AutoAugment, Cutout, normalise.
    """
    for amounts in drawn(len(images), generator, images.device):
        images = operate(images, amounts)
    return images


def drawn(batch: int, generator: torch.Generator | None, device: torch.device) -> Float[Tensor, "2 batch operations"]:
    """Draws a policy for each image, and returns the amounts of its two operations."""
    probability, amounts = _tables(device)
    policy = torch.randint(len(POLICIES), (batch,), generator=generator, device=device)
    draw = torch.rand((2, 2, batch), generator=generator, device=device)
    applies, negative = draw[0] < probability[:, policy], (draw[1] < 0.5).long()
    return amounts[negative, torch.arange(2, device=device)[:, None], policy] * applies[:, :, None]


@cache
def _tables(device: torch.device) -> tuple[Float[Tensor, "2 policies"], Float[Tensor, "2 2 policies operations"]]:
    """Probability by (index, policy) and amount by (sign, index, policy, operation), copied to a device once.

    The index says which of the policy's two operations is meant; the sign is 0 for positive and 1 for negative amounts.
    """
    probability = torch.tensor([[steps[index][1] for steps in POLICIES] for index in (0, 1)])
    rows = [[[_row(steps[index], sign) for steps in POLICIES] for index in (0, 1)] for sign in (1, -1)]
    return probability.to(device), torch.tensor(rows, dtype=torch.float64).to(device)


def _row(step: Step, sign: int) -> list[float]:
    name, _, magnitude = step
    return [(sign if name in SIGNED else 1) * amount(name, magnitude) * (name == column) for column in OPERATIONS]


def amount(name: str, magnitude: int | None) -> float:
    """The amount of an operation in bin 0 (no change) to 9 (largest change); 1 for an operation without bins."""
    if name == "Posterize" and magnitude is not None:
        return 2.0 ** round(4 * magnitude / 9) - 1
    return 1.0 if magnitude is None else LARGEST[name] * magnitude / 9


def operate(images: Images, amounts: Float[Tensor, "batch operations"]) -> Images:
    """Applies to each image its own operation."""
    change = _where_needed if images.device.type == "cpu" else _everywhere
    parts = torch.split(amounts, [len(names) for names in FAMILIES.values()], dim=1)
    for family, part in zip(FAMILIES, parts, strict=True):
        images = change(images, part, family)
    return images


Family = Callable[[Images, Float[Tensor, "batch some"]], Images]


def _where_needed(images: Images, amounts: Float[Tensor, "batch some"], family: Family) -> Images:
    # Choosing the images that need the operation reads values from the device: free on a CPU; on a GPU the host would wait.
    chosen = amounts.any(1).nonzero()[:, 0]
    return images.index_copy(0, chosen, family(images[chosen], amounts[chosen]))


def _everywhere(images: Images, amounts: Float[Tensor, "batch some"], family: Family) -> Images:
    return torch.where(amounts.any(1)[:, None, None, None], family(images, amounts), images)


def _move(images: Images, amounts: Float[Tensor, "batch 4"]) -> Images:
    """Rotates about the centre, translates, or shears along y from the left edge; the amounts map a pixel to its source."""
    height, width = images.shape[2:]
    angle, right, down, shear = amounts.T[:, :, None, None]
    cos, sin = (angle * pi / 180).cos(), (angle * pi / 180).sin()
    x = torch.arange(width, device=images.device) + 0.5
    across, along = x - width / 2, torch.arange(height, device=images.device)[:, None] + 0.5 - height / 2
    column = cos * across - sin * along + (width / 2 + width * right)
    row = sin * across + cos * along + (height / 2 + height * down) + shear * x
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    moved = _cubic(images, row, column.floor(), shear != 0)
    return torch.where(inside[:, None], moved, 128)


def _cubic(images: Images, row: Float[Tensor, "batch h w"], column: Float[Tensor, "batch h w"], sheared: Tensor) -> Images:
    """Cubic convolution along y with Pillow's slope of -1 (Keys, 1981); the nearest pixel of images that are not sheared."""
    row = torch.where(sheared, row - 0.5, row)
    top = row.floor()
    t = torch.where(sheared, row - top, 0)[:, None].float()
    a, b, c, d = (_pixels(images, top + offset, column) for offset in (-1, 0, 1, 2))
    values = b + t * (c - a + t * (2 * (a - b) + c - d + t * (b - a + d - c)))
    return values.clamp(0, 255).to(torch.uint8)


def _pixels(images: Images, row: Tensor, column: Tensor) -> Float[Tensor, "batch 3 h w"]:
    height, width = images.shape[2:]
    index = row.clamp(0, height - 1).long() * width + column.clamp(0, width - 1).long()
    return images.flatten(2).gather(2, index.flatten(1)[:, None].expand(-1, 3, -1)).view_as(images).float()


def _enhance(images: Images, amounts: Float[Tensor, "batch 4"]) -> Images:
    """Scales the difference to black (brightness), mean grey (contrast), the grey image (colour) or a smooth one (sharpness)."""
    brightness, contrast, color, sharpness = (amounts != 0).T[:, :, None, None, None]
    grey = luminance(images)
    other = torch.where(brightness, 0, images)
    other = torch.where(contrast, mean_luminance(grey), other)
    other = torch.where(color, grey, other)
    other = torch.where(sharpness, _smooth(images), other)
    return blend(images, other, (1 + amounts.sum(1)).float())


def _smooth(images: Images) -> Images:
    """Replaces every pixel that is not on the border by the mean of its 3 x 3 neighbourhood, counting the pixel five times."""
    smooth, floats = images.clone(), images.float()
    smooth[:, :, 1:-1, 1:-1] = ((9 * F.avg_pool2d(floats, 3, 1) + 4 * floats[:, :, 1:-1, 1:-1]) / 13).round().to(torch.uint8)
    return smooth


def _tone(images: Images, amounts: Float[Tensor, "batch 3"]) -> Images:
    """Clears the lowest bits (posterize), inverts the bright levels (solarize) or inverts all levels (invert)."""
    cleared, bright, inverted = amounts.T[:, :, None, None, None]
    posterized = images & (255 - cleared).to(torch.uint8)
    return torch.where(posterized >= 256 - bright - 256 * inverted, 255 - posterized, posterized)


def _stretch(images: Images, amounts: Float[Tensor, "batch 1"]) -> Images:
    """Stretches each channel to the range from 0 to 255 (autocontrast)."""
    low, high = images.amin((2, 3), keepdim=True), images.amax((2, 3), keepdim=True)
    stretched = ((images - low).float() * 255 / (high - low).clamp(min=1)).to(torch.uint8)
    return torch.where(high > low, stretched, images)


def _equalize(images: Images, amounts: Float[Tensor, "batch 1"]) -> Images:
    """Maps each channel by the ranks of its pixels, so that every level has about as many pixels (histogram equalization)."""
    levels = images.flatten(2).long()
    counts = levels.new_zeros((len(images), 3, 256)).scatter_add_(2, levels, torch.ones_like(levels))
    below: Int[Tensor, "batch 3 256"] = counts.cumsum(2) - counts
    step = below.gather(2, levels.amax(2, keepdim=True)) // 255
    ranks = (below + step // 2) // step.clamp(min=1)
    equalized = ranks.clamp(max=255).to(torch.uint8).gather(2, levels).view_as(images)
    return torch.where(step[:, :, :, None] > 0, equalized, images)


# Operations that share their arithmetic are computed together. Shear along x is in none of the 25 policies.
FAMILIES: dict[Family, tuple[str, ...]] = {
    _move: ("Rotate", "TranslateX", "TranslateY", "ShearY"),
    _enhance: ("Brightness", "Contrast", "Color", "Sharpness"),
    _tone: ("Posterize", "Solarize", "Invert"),
    _stretch: ("AutoContrast",),
    _equalize: ("Equalize",),
}
OPERATIONS = tuple(name for names in FAMILIES.values() for name in names)
