"""Reads image files of any mode and shape as squares of uint8 RGB pixels."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from longtail.data.modes import ORIENTATION, to_rgb
from longtail.data.opening import opened_content, pixel_limit
from longtail.data.squares import Interpolation, as_tensor, centre_cut, padded
from longtail.errors import CorruptImage, MissingFileError, UnreadableFile

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

BYTES_PER_PIXEL, HEADER = 16, 2**24  # no image file that may be decoded has more bytes
KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}


def read_content(path: Path) -> bytes:
    """Reads the bytes of a regular file.

    Raises:
        MissingFileError: there is no file at `path`.
        CorruptImage: it is no regular file, such as a pipe, whose reader would wait for ever.
        UnreadableFile: the system refuses to read it.
    """
    with _readable(path):
        return path.read_bytes()


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Refuses what is no regular file or too large for an image; in the `with` block, errors of the system name the file."""
    try:
        state = path.stat()
        if not stat.S_ISREG(state.st_mode):
            kind = KINDS.get(stat.S_IFMT(state.st_mode), "no file")
            raise CorruptImage(f"'{path}' cannot be read as an image (it is {kind}).")
        if state.st_size > BYTES_PER_PIXEL * pixel_limit() + HEADER:
            raise CorruptImage(f"'{path}' cannot be read as an image (it has {state.st_size:,} bytes, too many for one image).")
        yield
    except FileNotFoundError as error:
        raise MissingFileError(f"There is no file '{path}'.") from error
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


def read_pixels(path: Path) -> Tensor:
    """Decodes the whole image as `open_rgb` does, to uint8 (3, H, W) in the order of channels last.

    JPEGs in colour that stand upright are decoded by torchvision, which makes an array of the same pixels without a copy.
    """
    import torch
    from torchvision.io import decode_jpeg

    content = read_content(path)
    with opened(path, content) as image:
        if image.format == "JPEG" and image.mode == "RGB" and image.getexif().get(ORIENTATION, 1) == 1:
            with suppress(RuntimeError):  # what it cannot decode, Pillow decodes or names
                decoded: Tensor = decode_jpeg(torch.frombuffer(bytearray(content), dtype=torch.uint8))
                return decoded
        image.load()
        return torch.from_numpy(np.array(to_rgb(image))).permute(2, 0, 1)


@contextmanager
def opened(path: Path, content: bytes | None = None) -> Iterator[Image]:
    """Opens the image at `path`, or its `content` where that is read already.

    Raises:
        MissingFileError: there is no file at `path`.
        UnreadableFile: the system refuses to read it.
        CorruptImage: anything else goes wrong while the image is opened or inside the `with` block.
    """
    with opened_content(path, BytesIO(read_content(path) if content is None else content)) as image:
        yield image


@contextmanager
def opened_header(path: Path) -> Iterator[Image]:
    """Opens the image at `path`, of which only the header is read; errors are those of `opened`."""
    with _readable(path), path.open("rb") as file, opened_content(path, file) as image:
        yield image


def short_side(path: Path) -> int | None:
    """The shorter side in pixels, from the file's header alone; None where it cannot be read."""
    try:
        with opened_header(path) as image:
            return min(image.size)
    except (OSError, CorruptImage):
        return None


def read_square(path: Path, size: int, interpolation: Interpolation = "bilinear") -> Tensor:
    """Reads one file as a uint8 tensor (3, size, size), padded to a square."""
    return as_tensor(padded(open_rgb(path), size, interpolation))


def read_cut(path: Path, size: int, resize: int, interpolation: Interpolation = "bilinear") -> Tensor:
    """Reads the centre of one file as a uint8 tensor (3, size, size), after its shorter side was resized to `resize` pixels."""
    return as_tensor(centre_cut(open_rgb(path), size, resize, interpolation))


def not_there(path: Path) -> CorruptImage:
    """The error on a file that was listed and does not exist."""
    return CorruptImage(f"'{path}' is not there{', its link leads nowhere' if path.is_symlink() else ''}.")
