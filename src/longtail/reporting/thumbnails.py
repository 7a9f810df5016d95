"""Small pictures of images for a report, within a number of bytes."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from longtail.reporting.originals import Originals, Row
from longtail.reporting.section import Picture
from longtail.text import visible

if TYPE_CHECKING:
    from PIL.Image import Image

BUDGET = 1_200_000  # bytes
SIDE = 96  # pixels
QUALITY = 70
GREY_SIDE = 16


class Thumbnails:
    """Makes pictures of a run's images as long as their bytes are within a budget.

    Args:
        originals: the images.
        budget: number of bytes that all pictures may have together.
    """

    def __init__(self, originals: Originals, *, budget: int = BUDGET) -> None:
        self.originals, self.left = originals, budget
        self.refused = 0

    def picture(self, row: Row, caption: str) -> Picture | None:
        """A picture with a line below it; None where the image cannot be opened or the budget is used up."""
        image = self.originals.image(row)
        content = None if image is None else thumbnail(image)
        if content is None:
            return None
        if len(content) > self.left:
            self.left, self.refused = 0, self.refused + 1
            return None
        self.left -= len(content)
        return Picture(content, visible(caption))

    def grey(self, row: Row) -> NDArray[Any] | None:
        """The image as 16 x 16 grey values, flat, (256,); None where it cannot be opened."""
        image = self.originals.image(row)
        return None if image is None else np.asarray(image.convert("L").resize((GREY_SIDE, GREY_SIDE)), dtype=np.float64).ravel()


def thumbnail(image: Image) -> bytes:
    """A JPEG whose longer side has 96 pixels; images of less than half that are enlarged in whole steps, pixel by pixel."""
    from PIL import Image as Pillow

    longest = max(image.size)
    if longest <= SIDE // 2:
        step = SIDE // longest
        small = image.resize((image.width * step, image.height * step), Pillow.Resampling.NEAREST)
    else:
        small = image.copy()
        small.thumbnail((SIDE, SIDE))
    content = io.BytesIO()
    small.save(content, format="JPEG", quality=QUALITY, optimize=True)
    return content.getvalue()
