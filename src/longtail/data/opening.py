"""Opens the content of an image file with Pillow: only the formats that are meant, only up to a size, and without warnings."""

from __future__ import annotations

import importlib.util
import os
import re
import struct
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from longtail.errors import CorruptImage, TooLarge, UserError, reason

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM", "JPEG2000", "AVIF", "HEIF", "DIB", "QOI", "TGA")
UNMARKED = {"TGA": (".tga", ".icb", ".vda", ".vst")}  # formats that no first bytes tell from others: only files so called
HEIF = (".heic", ".heif", ".hif")
READERS = r"(PIL|pillow_heif)\b"  # modules whose warnings about files are not shown
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


@cache
def registered() -> frozenset[str]:
    """Names of the formats that Pillow, as installed, can open; HEIF is among them where the package pillow-heif is installed."""
    from PIL import Image as Pillow
    from PIL import features

    Pillow.init()
    if importlib.util.find_spec("pillow_heif") is not None:
        importlib.import_module("pillow_heif").register_heif_opener()
    codecs = {"AVIF": "avif", "JPEG2000": "jpg_2000", "WEBP": "webp"}
    return frozenset(name for name in Pillow.OPEN if name not in codecs or features.check(codecs[name]))


@contextmanager
def opened_content(path: Path, content: BinaryIO) -> Iterator[Image]:
    """Opens the image in `content`, of which no more than the header is read yet; `path` is named in errors.

    Raises:
        TooLarge: it has too many pixels.
        CorruptImage: it is no image, has another format, or anything goes wrong inside the `with` block.
    """
    try:
        with _QUIET, _identified(path, content) as image:
            _check_size(path, image)
            yield image
    except TooLarge:
        raise
    except Exception as error:  # a broken file can make Pillow's readers raise errors of any type
        if large := re.search(r"\((\d+) pixels\) exceeds limit", str(error)):
            raise too_large(path, int(large[1])) from error
        raise CorruptImage(f"'{path}' cannot be read as an image ({reason(error)}).") from error


def _identified(path: Path, content: BinaryIO) -> Image:
    """The image, whose header is read and whose pixels are not; what Pillow's `open` does, but the size is still unchecked."""
    from PIL import Image as Pillow

    suffix, start = os.path.splitext(path)[1].lower(), content.read(16)
    for name in (name for name in FORMATS if name in registered() and suffix in UNMARKED.get(name, suffix)):
        factory, accepts = Pillow.OPEN[name]
        try:
            if accepts is None or accepts(start) is True:
                content.seek(0)
                return factory(content, "")
        except (SyntaxError, IndexError, TypeError, struct.error):  # by which a reader says that the header is not one of its own
            continue
    raise CorruptImage(_foreign(start))


def _foreign(start: bytes) -> str:
    """What a file is that has none of the formats: the format that its first 16 bytes state, or no image. It is not opened."""
    from PIL import Image as Pillow

    if start[4:8] == b"ftyp" and start[8:11] in (b"hei", b"hev", b"mif") and "HEIF" not in registered():
        return "it has the format HEIF, which is read where the package pillow-heif is installed"
    known = [(name, accepts) for name, (_, accepts) in Pillow.OPEN.items() if name not in FORMATS and accepts is not None]
    found = [name for name, accepts in known if len(start) == 16 and accepts(start)]
    read = ", ".join(name for name in FORMATS if name in registered())
    return f"it has the format {found[0]}; formats that are read: {read}" if found else "it is no image"


def _check_size(path: Path, image: Image) -> None:
    width, height = image.size
    if width * height > pixel_limit():
        raise too_large(path, width * height, f"{width:,} x {height:,}")


def too_large(path: Path, pixels: int, size: str = "") -> TooLarge:
    """The error on an image that has more pixels than the limit; `size` is its width x height where they are known."""
    has = f"'{path}' has {size or f'{pixels:,}'} pixels, more than the limit of {pixel_limit():,}"
    return TooLarge(f"{has}. If it is meant to be that large, have it read with `max_pixels={pixels}`.", pixels)


class _Quiet:
    """Silences Pillow's warnings about unusual files, and sets its limit, while any thread is inside the `with` block.

    The threads inside are counted, since what one of them restores would end the silence of the others.
    """

    def __init__(self) -> None:
        self.lock, self.inside, self.stack = Lock(), 0, ExitStack()

    def __enter__(self) -> None:
        with self.lock:
            if not self.inside:
                self.stack.enter_context(_pillow_silenced())
                self.stack.enter_context(_pillow_limited())
            self.inside += 1

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.inside -= 1
            if not self.inside:
                self.stack.close()


@contextmanager
def _pillow_silenced() -> Iterator[None]:
    """Leaves out the warnings of Pillow's modules, by an entry that is taken out of the program's list of filters again.

    `catch_warnings` would put back a list that it kept: where another thread of the program is inside of one of its own, warnings
    would stay as they are here.
    """
    warnings.filterwarnings("ignore", module=READERS)
    entry = warnings.filters[0]
    try:
        yield
    finally:
        while entry in warnings.filters:
            cast(list[Any], warnings.filters).remove(entry)


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
