"""Grey images of more than 8 bits of which little contrast is left in 8."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

STEPS = 16  # of 256 values of grey; 12 bits in a file of 16 fill as many


def loses_contrast(image: Image, rgb: Image) -> bool:
    """Whether little of a grey image of more than 8 bits is left in RGB: fewer than 16 of 256 steps, or no value below 0."""
    if not image.mode.startswith("I") and image.mode != "F":
        return False
    values = np.asarray(image)
    values = values[np.isfinite(values)]
    if not values.size or values.min() == values.max():
        return False
    grey = np.asarray(rgb)
    darkest, brightest = int(grey.min()), int(grey.max())
    return bool(brightest - darkest < STEPS or values.min() < 0)


def said_of_faded(files: Sequence[str]) -> str:
    """Sentence on images of more than 8 bits of which little contrast is left."""
    more = len(files) > 1
    what = f"{len(files):,} images of more than 8 bits keep" if more else "1 image of more than 8 bits keeps"
    return (
        f"{what} little contrast ({'first ' if more else ''}'{files[0]}'), since black is 0 and white 65,535 there. Convert them "
        f"to 8 bits, for training and for prediction alike, all with the same black and white."
    )
