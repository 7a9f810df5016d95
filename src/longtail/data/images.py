"""Reading one image file: any mode and shape in, a square of uint8 RGB pixels out."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from io import BytesIO
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from longtail.errors import CorruptImage

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm"})


def open_rgb(path: Path) -> Image:
    """The whole image decoded as RGB; transparent pixels become white, 16-bit grey is scaled.

    Raises:
        CorruptImage: the file is truncated, or is no image.
    """
    with opened(path) as image:
        image.load()
        return to_rgb(image)


@contextmanager
def opened(path: Path, content: bytes | None = None) -> Iterator[Image]:
    """The image at `path`, from its `content` where that is read already. What goes wrong inside the block is a CorruptImage."""
    from PIL import Image as Pillow

    try:
        with _QUIET, Pillow.open(path if content is None else BytesIO(content)) as image:
            yield image
    except FileNotFoundError:
        raise
    except Exception as error:  # PIL's readers let through whatever a broken file makes them stumble over
        raise CorruptImage(f"'{path}' cannot be read as an image ({reason(error)}).") from error


def to_rgb(image: Image) -> Image:
    """RGB pixels of an image of any mode, turned upright where the camera noted how it was held (EXIF)."""
    from PIL import Image as Pillow
    from PIL import ImageOps

    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I") or image.mode == "F":
        values = np.nan_to_num(np.asarray(image, dtype=np.float64))
        top = _white(image.mode, values.max())
        return Pillow.fromarray((values.clip(0, top) * (255 / top)).astype(np.uint8)).convert("RGB")
    if "A" in image.getbands() or "transparency" in image.info:
        layer = image.convert("RGBA")
        white = Pillow.new("RGBA", layer.size, "white")
        return Pillow.alpha_composite(white, layer).convert("RGB")
    return image.convert("RGB")


def short_side(path: Path) -> int | None:
    """The shorter side in pixels, from the file's header alone; None where it cannot be read."""
    try:
        with opened(path) as image:
            return min(image.size)
    except (OSError, CorruptImage):
        return None


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
    import torch

    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


def read_square(path: Path, size: int) -> Tensor:
    """One file as uint8 (3, size, size)."""
    return as_tensor(squared(open_rgb(path), size))


def read_all(root: Path, files: Sequence[str], size: int) -> Iterator[Tensor | CorruptImage]:
    """Every file as uint8 (3, size, size), or what is wrong with it, in order; decoded by a few threads."""

    def read(file: str) -> Tensor | CorruptImage:
        try:
            return read_square(root / file, size)
        except CorruptImage as error:
            return error

    with ThreadPoolExecutor(4) as pool:
        yield from pool.map(read, files)


def _edge_colour(pixels: NDArray[np.uint8]) -> tuple[int, int, int]:
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    red, green, blue = (int(value) for value in np.median(border, axis=0))
    return red, green, blue


def _white(mode: str, brightest: float) -> float:
    """The value that stands for white: 65535 in 16 bits; of plain integers and floats, the smallest that no pixel exceeds."""
    if mode.startswith("I;16") or brightest > 255:
        return 65535.0
    return 1.0 if mode == "F" and brightest <= 1 else 255.0


def reason(error: BaseException) -> str:
    """What PIL says is wrong with a file, in a few words."""
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    return "it is no image" if "cannot identify" in text else text


class _Quiet:
    """Silences PIL's remarks on odd files while any thread is inside.

    Counted, since threads that overlap in plain `catch_warnings` restore each other's state: all warnings of the program would
    stay silenced.
    """

    def __init__(self) -> None:
        self.lock, self.inside, self.stack = Lock(), 0, ExitStack()

    def __enter__(self) -> None:
        with self.lock:
            if not self.inside:
                self.stack.enter_context(warnings.catch_warnings(action="ignore"))
            self.inside += 1

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.inside -= 1
            if not self.inside:
                self.stack.close()


_QUIET = _Quiet()
