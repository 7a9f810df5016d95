"""Reads image files of any mode and shape as squares of uint8 RGB pixels."""

from __future__ import annotations

import hashlib
import stat
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from longtail.errors import CorruptImage, UnreadableFile

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm"})


@dataclass(frozen=True)
class Decoded:
    """A file that was read: its pixels, uint8 (3, S, S), and the hash of its bytes."""

    pixels: Tensor
    digest: str


def read_content(path: Path) -> bytes:
    """Reads the bytes of a regular file.

    Raises:
        FileNotFoundError: there is no file at `path`.
        CorruptImage: it is no regular file, such as a pipe, whose reader would wait for ever.
        UnreadableFile: the system refuses to read it.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise CorruptImage(f"'{path}' cannot be read as an image (it is no regular file).")
        return path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UnreadableFile(
            f"'{path}' cannot be read ({error.strerror or error}); it may be a good image. Check its permissions and the disk."
        ) from error


def content_hash(content: bytes) -> str:
    """Hash of a file's bytes, in hexadecimal digits."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def open_rgb(path: Path, content: bytes | None = None) -> Image:
    """Decodes the whole image as RGB; transparent pixels become white, 16-bit grey is scaled.

    Raises:
        CorruptImage: the file is truncated, or is not an image.
    """
    with opened(path, content) as image:
        image.load()
        return to_rgb(image)


@contextmanager
def opened(path: Path, content: bytes | None = None) -> Iterator[Image]:
    """Opens the image at `path`, or its `content` where that is read already.

    Raises:
        FileNotFoundError: there is no file at `path`.
        UnreadableFile: the system refuses to read it.
        CorruptImage: anything else goes wrong while the image is opened or inside the `with` block.
    """
    from PIL import Image as Pillow

    content = read_content(path) if content is None else content
    try:
        with _QUIET, Pillow.open(BytesIO(content)) as image:
            yield image
    except Exception as error:  # a broken file can make PIL's readers raise errors of any type
        raise CorruptImage(f"'{path}' cannot be read as an image ({reason(error)}).") from error


def to_rgb(image: Image) -> Image:
    """Converts an image of any mode to RGB, and turns it upright where its EXIF data say how the camera was held."""
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
    """Pads the image to a square with its edge colour (the median of its border), then resizes it to `size` pixels."""
    from PIL import Image as Pillow

    width, height = image.size
    if width != height:
        side = max(width, height)
        canvas = Pillow.new("RGB", (side, side), _edge_colour(np.asarray(image)))
        canvas.paste(image, ((side - width) // 2, (side - height) // 2))
        image = canvas
    return image.resize((size, size), Pillow.Resampling.BILINEAR) if image.size != (size, size) else image


def as_tensor(image: Image) -> Tensor:
    """The image as a uint8 tensor (3, H, W)."""
    import torch

    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


def read_square(path: Path, size: int) -> Tensor:
    """Reads one file as a uint8 tensor (3, size, size)."""
    return as_tensor(squared(open_rgb(path), size))


def read_all(root: Path, files: Sequence[str], size: int) -> Iterator[Decoded | CorruptImage]:
    """Reads every file once, as squares of `size` pixels, or gives its error, in order; a few threads decode them."""

    def read(file: str) -> Decoded | CorruptImage:
        try:
            content = read_content(root / file)
            return Decoded(as_tensor(squared(open_rgb(root / file, content), size)), content_hash(content))
        except CorruptImage as error:
            return error

    with ThreadPoolExecutor(4) as pool:
        yield from pool.map(read, files)


def _edge_colour(pixels: NDArray[np.uint8]) -> tuple[int, int, int]:
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    red, green, blue = (int(value) for value in np.median(border, axis=0))
    return red, green, blue


def _white(mode: str, brightest: float) -> float:
    """The value of white: 65535 in 16-bit images; else the smallest of 1 (floats only), 255 and 65535 that no pixel exceeds."""
    if mode.startswith("I;16") or brightest > 255:
        return 65535.0
    return 1.0 if mode == "F" and brightest <= 1 else 255.0


def reason(error: BaseException) -> str:
    """The first line of PIL's message on why a file cannot be read, or the name of the error."""
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    return "it is no image" if "cannot identify" in text else text


class _Quiet:
    """Silences PIL's warnings about unusual files while any thread is inside the `with` block.

    The threads inside are counted, since threads that overlap in plain `catch_warnings` restore each other's state: all warnings
    of the program would stay silenced.
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
