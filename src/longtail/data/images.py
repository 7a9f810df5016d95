"""Reading one image file: any mode and shape in, a square of uint8 RGB pixels out."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm"})


class CorruptImage(ValueError):  # noqa: N818
    """A file that carries an image's name but cannot be decoded."""


def open_rgb(path: Path) -> Image:
    """The whole image decoded as RGB; transparent pixels become white, 16-bit grey is scaled.

    Raises:
        CorruptImage: the file is truncated, or is no image.
    """
    from PIL import Image as Pillow

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Pillow.open(path) as image:
                image.load()
                return to_rgb(image)
    except (OSError, SyntaxError, ValueError, Pillow.DecompressionBombError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise CorruptImage(f"'{path}' cannot be read as an image ({_reason(error)}).") from error


def to_rgb(image: Image) -> Image:
    """RGB pixels of an image of any mode."""
    from PIL import Image as Pillow

    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image, dtype=np.float64)
        top = 65535.0 if values.max() > 255 else 255.0
        return Pillow.fromarray((values.clip(0, top) * (255 / top)).astype(np.uint8)).convert("RGB")
    if "A" in image.getbands() or "transparency" in image.info:
        layer = image.convert("RGBA")
        white = Pillow.new("RGBA", layer.size, "white")
        return Pillow.alpha_composite(white, layer).convert("RGB")
    return image.convert("RGB")


def squared(image: Image, size: int) -> Image:
    """Padded to a square with the image's edge colour (the median of its border), then resized to `size`."""
    from PIL import Image as Pillow

    width, height = image.size
    if width != height:
        side = max(width, height)
        canvas = Pillow.new("RGB", (side, side), _edge_colour(np.asarray(image)))
        canvas.paste(image, ((side - width) // 2, (side - height) // 2))
        image = canvas
    return image.resize((size, size), Pillow.Resampling.BILINEAR) if image.size != (size, size) else image


def as_tensor(image: Image) -> Tensor:
    """uint8 (3, H, W)."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


def read_square(path: Path, size: int, *, crop_seed: int | None = None) -> Tensor:
    """One file as uint8 (3, size, size); with a seed, a random resized crop (8 to 100 % of the area, ratio 3/4 to 4/3)."""
    image = open_rgb(path)
    if crop_seed is not None:
        image = image.crop(_random_box(image.size, np.random.default_rng(crop_seed)))
        return as_tensor(image.resize((size, size)))
    return as_tensor(squared(image, size))


def read_all(
    root: Path,
    files: Sequence[str],
    size: int,
    *,
    watch: Callable[[int], None] | None = None,
) -> Iterator[Tensor | CorruptImage]:
    """Every file as uint8 (3, size, size), or what is wrong with it, in order; decoded by a few threads."""

    def read(file: str) -> Tensor | CorruptImage:
        try:
            return read_square(root / file, size)
        except CorruptImage as error:
            return error

    with ThreadPoolExecutor(4) as pool:
        for place, result in enumerate(pool.map(read, files, chunksize=32)):
            if watch is not None:
                watch(place + 1)
            yield result


def _random_box(size: tuple[int, int], generator: np.random.Generator) -> tuple[int, int, int, int]:
    width, height = size
    for _ in range(10):
        area = width * height * generator.uniform(0.08, 1.0)
        ratio = np.exp(generator.uniform(np.log(3 / 4), np.log(4 / 3)))
        w, h = round(float(np.sqrt(area * ratio))), round(float(np.sqrt(area / ratio)))
        if 0 < w <= width and 0 < h <= height:
            left, top = int(generator.integers(width - w + 1)), int(generator.integers(height - h + 1))
            return left, top, left + w, top + h
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return left, top, left + side, top + side


def _edge_colour(pixels: np.ndarray) -> tuple[int, int, int]:  # type: ignore[type-arg]
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    red, green, blue = (int(value) for value in np.median(border, axis=0))
    return red, green, blue


def _reason(error: BaseException) -> str:
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    return "it is no image" if "cannot identify" in text else text
