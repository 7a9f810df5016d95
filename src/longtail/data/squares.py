"""Makes squares of images of any shape: padded, or cut out of the centre as published for ImageNet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

Interpolation = Literal["bilinear", "bicubic"]
Fit = Literal["pad", "short_side"]


def squared(
    image: Image, size: int, interpolation: Interpolation = "bilinear", fit: Fit = "pad", resize: int | None = None
) -> Image:
    """An RGB image as a square of `size` pixels.

    Args:
        fit: "pad" for the whole image with a margin (`padded`), "short_side" for its centre (`centre_cut`).
        resize: length of the shorter side before the centre is cut, in pixels; `size` if not given.
    """
    return padded(image, size, interpolation) if fit == "pad" else centre_cut(image, size, resize or size, interpolation)


def padded(image: Image, size: int, interpolation: Interpolation = "bilinear") -> Image:
    """Resizes the longer side to `size` pixels, the shorter in proportion, and pads to a square with the edge's colour.

    That colour is the median of the border of the image as it was given.
    """
    from PIL import Image as Pillow

    longest = max(image.size)
    width, height = (max(round(side * size / longest), 1) for side in image.size)
    method = Pillow.Resampling[interpolation.upper()]
    resized = image if image.size == (width, height) else image.resize((width, height), method)
    if width == height:
        return resized
    canvas = Pillow.new("RGB", (size, size), _edge_colour(image))
    canvas.paste(resized, ((size - width) // 2, (size - height) // 2))
    return canvas


def centre_cut(image: Image, size: int, resize: int, interpolation: Interpolation = "bilinear") -> Image:
    """Resizes the shorter side to `resize` pixels, the longer in proportion, and cuts `size` x `size` pixels out of the centre.

    Only the pixels of the cut are computed. They are those of torchvision's `Resize(resize)` and `CenterCrop(size)` on Pillow
    images, but for one level in some pixels: about one in a thousand of photographs.

    Args:
        resize: at least `size`, so that the cut lies inside the image.
    """
    from PIL import Image as Pillow

    shortest = min(image.size)
    resized = [int(resize * side / shortest) for side in image.size]
    start = [round((side - size) / 2) for side in resized]
    left, top = (first * side / long for first, side, long in zip(start, image.size, resized, strict=True))
    right, bottom = ((first + size) * side / long for first, side, long in zip(start, image.size, resized, strict=True))
    return image.resize((size, size), Pillow.Resampling[interpolation.upper()], box=(left, top, right, bottom))


def as_tensor(image: Image) -> Tensor:
    """The image as a uint8 tensor (3, H, W)."""
    import torch

    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


def _edge_colour(image: Image) -> tuple[int, int, int]:
    width, height = image.size
    sides = ((0, 0, width, 1), (0, height - 1, width, height), (0, 0, 1, height), (width - 1, 0, width, height))
    border = np.concatenate([np.asarray(image.crop(side)).reshape(-1, 3) for side in sides])
    red, green, blue = (int(value) for value in np.median(border, axis=0))
    return red, green, blue
