"""Random resized crops out of whole image files, as papers on large images train on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from longtail.data.images import Interpolation, read_pixels
from longtail.data.transforms import Transform, random_resized_crop

if TYPE_CHECKING:
    from longtail.data.splits import Data

ATTEMPTS = 10
NARROWEST, WIDEST = 3 / 4, 4 / 3  # width / height
Area = tuple[float, float]


class Crop(NamedTuple):
    """The crops of one image: one for each of `numbers`, drawn from (seed, number), with a share of its area in `area`."""

    seed: int
    numbers: range
    area: Area


@dataclass(frozen=True)
class Crops:
    """The crops of the images of an epoch.

    Args:
        seeds: a number for each image (M,), at least 0; whatever process reads an image, its crops depend on its number alone.
        views: number of crops of each image.
        area: smallest and largest share of the image's area that a crop has.
    """

    seeds: Tensor
    views: int = 1
    area: Area = (0.08, 1.0)

    def numbers(self, column: int) -> range:
        """Numbers of the crops of a batch's images (column 0), and of its companion's (column 1)."""
        return range(column * self.views, (column + 1) * self.views)


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
    boxes = (crop_box(width, height, (crop.seed, number), crop.area) for number in crop.numbers)
    return torch.stack([_resized(pixels[:, y : y + h, x : x + w], size, interpolation) for x, y, w, h in boxes])


def crop_box(width: int, height: int, seed: tuple[int, int], area: Area = (0.08, 1.0)) -> tuple[int, int, int, int]:
    """A random window of an image: left, top, width and height in pixels.

    The law is that of torchvision's `RandomResizedCrop` (Szegedy et al., 2015): the share of the area is uniform, the aspect ratio
    log-uniform in [3/4, 4/3], and of ten draws the first counts that lies inside the image; else it is the largest central window
    whose ratio is not outside of those limits.
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
