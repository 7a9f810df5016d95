"""Random resized crops out of whole image files, as papers on large images train on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from longtail.data.images import read_pixels
from longtail.data.splits import Data
from longtail.data.squares import Interpolation
from longtail.data.transforms import Transform, random_resized_crop

ATTEMPTS = 10
NARROWEST, WIDEST = 3 / 4, 4 / 3  # width / height
Area = tuple[float, float]


class Crop(NamedTuple):
    """The random crops of one image: what they are drawn from, their number, and the shares of the area that they may have."""

    seed: int
    views: int
    area: Area


@dataclass(frozen=True)
class Crops:
    """The random crops of the images of an epoch. They depend on `seeds` alone, whatever process reads an image.

    Args:
        seeds: a number for each image of the batches, and for each of their companions (2, M), none below 0.
        views: number of crops of each image.
        area: smallest and largest share of the image's area that a crop has.
    """

    seeds: Tensor
    views: int = 1
    area: Area = (0.08, 1.0)

    def items(self, indices: Tensor, seeds: Tensor) -> list[tuple[int, Crop]]:
        """Indices of images (N,) with their crops, which are drawn from the numbers (N,)."""
        return [(i, Crop(seed, self.views, self.area)) for i, seed in zip(indices.tolist(), seeds.tolist(), strict=True)]


def crops_from_files(
    data: Data, augment: Sequence[Transform], seeds: Tensor, *, views: int = 1
) -> tuple[Crops | None, tuple[Transform, ...]]:
    """The crops that images are read with in place of `random_resized_crop`, and the other augmentations.

    None where nothing is cropped, or where the data are squares with all of an image in them.
    """
    cropping = [each for each in augment if _function(each) is random_resized_crop]
    if data.resize is None or not cropping:
        return None, tuple(augment)
    area = getattr(cropping[0], "keywords", {}).get("area", Crops.area)
    return Crops(seeds, views, area), tuple(each for each in augment if each is not cropping[0])


def _function(transform: Transform) -> Transform:
    return getattr(transform, "func", transform)


def read_crops(path: Path, size: int, crop: Crop, interpolation: Interpolation = "bilinear") -> Tensor:
    """Reads random crops of one file, each resized to uint8 (size, size, 3), as one tensor (crops, size, size, 3)."""
    pixels = read_pixels(path)
    height, width = pixels.shape[1:]
    boxes = [crop_box(width, height, (crop.seed, view), crop.area) for view in range(crop.views)]
    return torch.stack([_resized(pixels[:, y : y + h, x : x + w], size, interpolation) for x, y, w, h in boxes])


def crop_box(width: int, height: int, seed: tuple[int, int], area: Area = (0.08, 1.0)) -> tuple[int, int, int, int]:
    """A random window of an image: left, top, width and height in pixels.

    The law is that of torchvision's `RandomResizedCrop` (Szegedy et al., 2015): the share of the area is uniform, the aspect
    ratio log-uniform in [3/4, 4/3], and the first of ten draws counts that lies inside the image; where none does, it is the
    largest central window with a ratio within those limits.
    """
    share, shape, left, top = np.random.default_rng(seed).random((4, ATTEMPTS))
    pixels = width * height * (area[0] + (area[1] - area[0]) * share)
    ratio = np.exp(log(NARROWEST) + (log(WIDEST) - log(NARROWEST)) * shape)
    widths, heights = np.rint(np.sqrt(pixels * ratio)), np.rint(np.sqrt(pixels / ratio))
    inside = np.flatnonzero((widths >= 1) & (widths <= width) & (heights >= 1) & (heights <= height))
    if not len(inside):
        return _central(width, height)
    w, h = int(widths[inside[0]]), int(heights[inside[0]])
    return int(left[inside[0]] * (width - w + 1)), int(top[inside[0]] * (height - h + 1)), w, h


def _central(width: int, height: int) -> tuple[int, int, int, int]:
    w, h = min(width, max(round(height * WIDEST), 1)), min(height, max(round(width / NARROWEST), 1))
    return (width - w) // 2, (height - h) // 2, w, h


def _resized(pixels: Tensor, size: int, interpolation: Interpolation) -> Tensor:
    """A window (3, H, W) as a square (size, size, 3), within one level of what Pillow makes of it."""
    resized = F.interpolate(pixels[None], (size, size), mode=interpolation, antialias=True, align_corners=False)
    return resized[0].permute(1, 2, 0).contiguous()
