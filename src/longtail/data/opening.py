"""Opens the content of an image file with Pillow: only the formats that are meant, only up to a size, and without warnings."""

from __future__ import annotations

import re
import struct
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import BytesIO
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from longtail.errors import CorruptImage, UserError

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
MAX_PIXELS = 178_956_970  # the number above which Pillow itself refuses an image


class _Limit:
    """The number of pixels up to which this process decodes images; one number for all threads, as Pillow's own is."""

    pixels = MAX_PIXELS


def limit_pixels(count: int | None) -> None:
    """Sets the number of pixels, width x height, up to which this process decodes images; None for `MAX_PIXELS`.

    Raises:
        UserError: the number is below 1.
    """
    if count is not None and count < 1:
        raise UserError(f"`max_pixels` must be at least 1; got {count}.")
    _Limit.pixels = MAX_PIXELS if count is None else count


def pixel_limit() -> int:
    """The number of pixels up to which this process decodes images."""
    return _Limit.pixels


@contextmanager
def opened_content(path: Path, content: bytes) -> Iterator[Image]:
    """Opens the image file `content`; `path` is named in errors.

    Raises:
        CorruptImage: it is no image, has another format or too many pixels, or anything goes wrong inside the `with` block.
    """
    try:
        with _QUIET, _identified(content) as image:
            _check_size(image)
            yield image
    except Exception as error:  # a broken file can make Pillow's readers raise errors of any type
        raise CorruptImage(f"'{path}' cannot be read as an image ({reason(error)}).") from error


def reason(error: BaseException) -> str:
    """The first line of the message on why a file cannot be read, or the name of the error."""
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    if too_large := re.search(r"\((\d+) pixels\) exceeds limit", text):
        return _too_large(f"{int(too_large[1]):,} pixels")
    return text


def _identified(content: bytes) -> Image:
    """The image, whose header is read and whose pixels are not; what Pillow's `open` does, but the size is still unchecked."""
    from PIL import Image as Pillow

    Pillow.init()
    for name in FORMATS:
        factory, accepts = Pillow.OPEN[name]
        try:
            if accepts is None or accepts(content[:16]) is True:
                return factory(BytesIO(content), "")
        except (SyntaxError, IndexError, TypeError, struct.error):  # by which a reader says that the header is not one of its own
            continue
    raise CorruptImage(_foreign(content))


def _foreign(content: bytes) -> str:
    """What a file is that has none of the formats: the format that its first bytes state, or no image. It is not opened."""
    from PIL import Image as Pillow

    known = [(name, accepts) for name, (_, accepts) in Pillow.OPEN.items() if name not in FORMATS and accepts is not None]
    found = [name for name, accepts in known if len(content) >= 16 and accepts(content[:16])]
    return f"it has the format {found[0]}; formats that are read: {', '.join(FORMATS)}" if found else "it is no image"


def _check_size(image: Image) -> None:
    width, height = image.size
    if width * height > pixel_limit():
        raise CorruptImage(_too_large(f"{width:,} x {height:,} pixels"))


def _too_large(size: str) -> str:
    return f"it has {size}, more than the limit of {pixel_limit():,}; if it is meant to be that large, raise `max_pixels`"


class _Quiet:
    """Silences Pillow's warnings about unusual files, and sets its limit, while any thread is inside the `with` block.

    The threads inside are counted, since threads that overlap in plain `catch_warnings` restore each other's state: all warnings
    of the program would stay silenced.
    """

    def __init__(self) -> None:
        self.lock, self.inside, self.stack = Lock(), 0, ExitStack()

    def __enter__(self) -> None:
        with self.lock:
            if not self.inside:
                self.stack.enter_context(warnings.catch_warnings(action="ignore"))
                self.stack.enter_context(_pillow_limited())
            self.inside += 1

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.inside -= 1
            if not self.inside:
                self.stack.close()


@contextmanager
def _pillow_limited() -> Iterator[None]:
    """Sets Pillow's limit, which some of its readers check before they allocate memory; they refuse more than twice that."""
    from PIL import Image as Pillow

    before = Pillow.MAX_IMAGE_PIXELS
    Pillow.MAX_IMAGE_PIXELS = (pixel_limit() + 1) // 2
    try:
        yield
    finally:
        Pillow.MAX_IMAGE_PIXELS = before


_QUIET = _Quiet()
