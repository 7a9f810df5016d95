"""What a caller of a predictor gives as an image (a path, a Pillow image or a tensor), read as a square of pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from longtail.data.contrast import loses_contrast
from longtail.data.images import opened
from longtail.data.modes import to_rgb
from longtail.data.squares import as_tensor, squared
from longtail.errors import CorruptImage, UserError, WrongTypeError, reason

Input = Any  # PIL image, path, or tensor
ROUNDING = 1e-4  # how far a floating-point image may be beyond 0..1, as a resized one is


def read_input(image: Input, **square: Any) -> tuple[Tensor, bool]:
    """The image as a uint8 tensor (3, size, size), by the keywords of `squared`, and whether it has lost its contrast."""
    from PIL import Image as Pillow

    if isinstance(image, (str, Path)):
        with opened(Path(image).expanduser()) as file:
            file.load()
            return read_input(file, **square)
    if isinstance(image, np.ndarray):
        return read_input(_channels_first(image), **square)
    if isinstance(image, Tensor):
        pixels = bytes_of(image).expand(3, -1, -1).permute(1, 2, 0).numpy()
        return as_tensor(squared(Pillow.fromarray(pixels), **square)), False
    if isinstance(image, Pillow.Image):
        rgb = _decoded(image)
        return as_tensor(squared(rgb, **square)), loses_contrast(image, rgb)
    raise WrongTypeError(f"Expected a PIL image, a path, a tensor (3, H, W) or an array (H, W, 3); got {type(image).__name__}.")


def _channels_first(image: np.ndarray) -> Tensor:
    """An array (H, W, 3), (H, W, 1) or (H, W) as a tensor (3, H, W) or (1, H, W)."""
    pixels = image[..., None] if image.ndim == 2 else image
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3) or pixels.dtype.kind not in "iuf":
        several = " For several images, give a list." if image.ndim == 4 else ""
        raise WrongTypeError(
            f"An image array must hold numbers and have shape (H, W, 3), in the order red, green, blue, or (H, W); got "
            f"{image.dtype} of shape {image.shape}.{several}"
        )
    return torch.from_numpy(pixels.astype(np.float64 if pixels.dtype.kind == "f" else np.int64)).permute(2, 0, 1)


def _decoded(image: Any) -> Any:
    """A Pillow image in RGB; a file that is read only now may be damaged, as `CorruptImage` says."""
    if not all(image.size):
        raise WrongTypeError(f"An image needs at least one pixel; got {image.width} x {image.height}.")
    try:
        return to_rgb(image)
    except Exception as error:  # a broken file can make Pillow's readers raise errors of any type
        name = getattr(image, "filename", "") or f"An image of mode {image.mode}"
        raise CorruptImage(f"'{name}' cannot be read as an image ({reason(error)}).") from error


def name_of(image: Input, place: int) -> str:
    """The path of an image for sentences; its place in the list, from 0, where it has none."""
    path = image if isinstance(image, (str, Path)) else getattr(image, "filename", "")
    return str(path) or f"image {place}"


def bytes_of(image: Tensor) -> Tensor:
    """The pixels of an image tensor (1 or 3, H, W) in 0..255, uint8, on the CPU.

    Raises:
        WrongTypeError: it has another shape, or is neither integer nor floating point.
        UserError: a value is outside 0..255, or outside 0..1 for floating point; nothing is cut off or wrapped around.
    """
    if image.ndim != 3 or image.shape[0] not in (1, 3) or not image.numel():
        several = " For several images, give a list." if image.ndim == 4 else ""
        raise WrongTypeError(f"An image tensor must have shape (3, H, W) or (1, H, W); got {tuple(image.shape)}.{several}")
    if image.dtype == torch.bool or image.is_complex():
        raise WrongTypeError(f"An image tensor must be integer in 0..255 or floating point in 0..1; got {image.dtype}.")
    pixels = image.detach().cpu()
    pixels = pixels.to(torch.float64 if pixels.is_floating_point() else torch.int64)
    low, high = (end.item() for end in pixels.aminmax())
    top = 1 if pixels.is_floating_point() else 255
    if not (low >= -ROUNDING * top and high <= top * (1 + ROUNDING)):
        kind = "floating point" if top == 1 else "integers"
        raise UserError(
            f"An image tensor of {kind} must lie in 0..{top}; got values from {low:g} to {high:g}. Give the image before it is "
            f"normalised; divide one in 0..255 by 255, one of 16 bits by 65535."
        )
    return (pixels.clamp(0, 1) * 255).round().byte() if top == 1 else pixels.byte()
