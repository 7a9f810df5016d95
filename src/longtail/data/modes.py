"""Converts an image of any mode to RGB, upright."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image

ORIENTATION = 0x0112  # number of the EXIF tag that says how the camera was held
BLOCK = 2**20


def to_rgb(image: Image) -> Image:
    """Converts an image of any mode to RGB, and turns it upright where its EXIF data say how the camera was held."""
    from PIL import Image as Pillow
    from PIL import ImageOps

    sixteen = image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PPM", "PNG"))
    if image.getexif().get(ORIENTATION, 1) != 1:  # else `exif_transpose` would copy the image
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I") or image.mode == "F":
        return Pillow.fromarray(_as_bytes(image, of_16_bits=sixteen)).convert("RGB")
    if image.mode in ("La", "RGBa"):
        image = image.convert("LA" if image.mode == "La" else "RGBA")
    if "A" in image.getbands() or "transparency" in image.info:
        layer = image.convert("RGBA")
        white = Pillow.new("RGBA", layer.size, "white")
        return Pillow.alpha_composite(white, layer).convert("RGB")
    return image.convert("RGB")


def _as_bytes(image: Image, *, of_16_bits: bool) -> NDArray[np.uint8]:
    """Grey values (H, W) of 16 bits, integers or floats, scaled to 0..255 in blocks, so that float64 takes little memory."""
    values = np.asarray(image)
    flat, grey = values.reshape(-1), np.empty(values.size, dtype=np.uint8)
    blocks = [slice(start, start + BLOCK) for start in range(0, values.size, BLOCK)]
    top = 65535.0 if of_16_bits else _white(image.mode, max(_finite(flat[block]).max() for block in blocks))
    for block in blocks:
        grey[block] = _finite(flat[block]).clip(0, top) * (255 / top)
    return grey.reshape(values.shape)


def _finite(values: NDArray[Any]) -> NDArray[np.float64]:
    return np.nan_to_num(values.astype(np.float64))


def _white(mode: str, brightest: float) -> float:
    """The value of white: the smallest of 1 (floats only), 255 and 65535 that no pixel exceeds."""
    if brightest > 255:
        return 65535.0
    return 1.0 if mode == "F" and brightest <= 1 else 255.0
