"""Reads image files of any mode and shape as squares of uint8 RGB pixels."""

from __future__ import annotations

import hashlib
import stat
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from longtail.data.contrast import loses_contrast
from longtail.data.opening import opened_content, pixel_limit
from longtail.data.squares import Fit, Interpolation, as_tensor, centre_cut, padded, squared
from longtail.errors import CorruptImage, UnreadableFile

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

ORIENTATION = 0x0112  # number of the EXIF tag that says how the camera was held
BLOCK = 2**20
AHEAD = 64  # images that are decoded before they are needed
BYTES_PER_PIXEL, HEADER = 16, 2**24  # no image file that may be decoded has more bytes
KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}


@dataclass(frozen=True)
class Decoded:
    """A file that was read: its pixels, uint8 (3, S, S), the hash of its bytes, and whether it lost its contrast."""

    pixels: Tensor
    digest: str
    faded: bool = False


def read_content(path: Path) -> bytes:
    """Reads the bytes of a regular file.

    Raises:
        FileNotFoundError: there is no file at `path`.
        CorruptImage: it is no regular file, such as a pipe, whose reader would wait for ever.
        UnreadableFile: the system refuses to read it.
    """
    try:
        state = path.stat()
        if not stat.S_ISREG(state.st_mode):
            kind = KINDS.get(stat.S_IFMT(state.st_mode), "no file")
            raise CorruptImage(f"'{path}' cannot be read as an image (it is {kind}).")
        if state.st_size > BYTES_PER_PIXEL * pixel_limit() + HEADER:
            raise CorruptImage(f"'{path}' cannot be read as an image (it has {state.st_size:,} bytes, too many for one image).")
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
    with opened_content(path, read_content(path) if content is None else content) as image:
        yield image


def to_rgb(image: Image) -> Image:
    """Converts an image of any mode to RGB, and turns it upright where its EXIF data say how the camera was held."""
    from PIL import Image as Pillow
    from PIL import ImageOps

    if image.getexif().get(ORIENTATION, 1) != 1:  # else `exif_transpose` would copy the image
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I") or image.mode == "F":
        return Pillow.fromarray(_as_bytes(image)).convert("RGB")
    if "A" in image.getbands() or "transparency" in image.info:
        layer = image.convert("RGBA")
        white = Pillow.new("RGBA", layer.size, "white")
        return Pillow.alpha_composite(white, layer).convert("RGB")
    return image.convert("RGB")


def _as_bytes(image: Image) -> NDArray[np.uint8]:
    """Grey values (H, W) of 16 bits, integers or floats, scaled to 0..255 in blocks, so that float64 takes little memory."""
    values = np.asarray(image)
    flat, grey = values.reshape(-1), np.empty(values.size, dtype=np.uint8)
    blocks = [slice(start, start + BLOCK) for start in range(0, values.size, BLOCK)]
    deep = image.mode.startswith("I;16")
    top = 65535.0 if deep else _white(image.mode, max(_finite(flat[block]).max() for block in blocks))
    for block in blocks:
        grey[block] = _finite(flat[block]).clip(0, top) * (255 / top)
    return grey.reshape(values.shape)


def _finite(values: NDArray[Any]) -> NDArray[np.float64]:
    return np.nan_to_num(values.astype(np.float64))


def short_side(path: Path) -> int | None:
    """The shorter side in pixels, from the file's header alone; None where it cannot be read."""
    try:
        with opened(path) as image:
            return min(image.size)
    except (OSError, CorruptImage):
        return None


def read_square(path: Path, size: int, interpolation: Interpolation = "bilinear") -> Tensor:
    """Reads one file as a uint8 tensor (3, size, size), padded to a square."""
    return as_tensor(padded(open_rgb(path), size, interpolation))


def read_cut(path: Path, size: int, resize: int, interpolation: Interpolation = "bilinear") -> Tensor:
    """Reads the centre of one file as a uint8 tensor (3, size, size), after its shorter side was resized to `resize` pixels."""
    return as_tensor(centre_cut(open_rgb(path), size, resize, interpolation))


def read_all(
    root: Path,
    files: Sequence[str],
    size: int,
    interpolation: Interpolation = "bilinear",
    fit: Fit = "pad",
    resize: int | None = None,
) -> Iterator[Decoded | CorruptImage]:
    """Reads every file once, as `squared` shows it, or gives its error, in order; a few threads decode a few ahead.

    Raises:
        UnreadableFile: the system refuses to read a file, which may be a good image.
    """

    def read(file: str) -> Decoded | CorruptImage:
        path = root / file
        try:
            content = read_content(path)
            with opened(path, content) as image:
                image.load()
                rgb = to_rgb(image)
                faded = loses_contrast(image, rgb)
            return Decoded(as_tensor(squared(rgb, size, interpolation, fit, resize)), content_hash(content), faded)
        except CorruptImage as error:
            return error
        except FileNotFoundError:
            return not_there(path)

    waiting = deque[Future[Decoded | CorruptImage]]()
    with ThreadPoolExecutor(4) as pool:
        for file in files:
            waiting.append(pool.submit(read, file))
            if len(waiting) > AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def not_there(path: Path) -> CorruptImage:
    """The error on a file that was listed and does not exist."""
    return CorruptImage(f"'{path}' is not there{', its link leads nowhere' if path.is_symlink() else ''}.")


def _white(mode: str, brightest: float) -> float:
    """The value of white: the smallest of 1 (floats only), 255 and 65535 that no pixel exceeds."""
    if brightest > 255:
        return 65535.0
    return 1.0 if mode == "F" and brightest <= 1 else 255.0
