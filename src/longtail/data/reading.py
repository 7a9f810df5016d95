"""Reads many image files in order, a few of them ahead: as squares of pixels, or their headers alone."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longtail.data.contrast import loses_contrast
from longtail.data.images import content_hash, not_there, opened, opened_header, read_content
from longtail.data.modes import to_rgb
from longtail.data.squares import Fit, Interpolation, as_tensor, squared
from longtail.errors import CorruptImage, UnreadableFile, UserError

if TYPE_CHECKING:
    from torch import Tensor

AHEAD = 64  # images that are read before they are needed


@dataclass(frozen=True)
class Decoded:
    """A file that was read: its pixels, uint8 (3, S, S), the hash of its bytes, and whether it lost its contrast."""

    pixels: Tensor
    digest: str
    faded: bool = False


def read_all(root: Path, files: Sequence[str], *square: Any, **more: Any) -> Iterator[Decoded | CorruptImage]:
    """Reads every file once, as `squared` shows it, or gives its error, in order; a few threads decode a few ahead.

    Args:
        square, more: the arguments of `squared` after the image.

    Raises:
        UnreadableFile: the system refuses to read a file, which may be a good image.
    """
    return _in_order(_decoder(*square, **more), root, files)


def read_or_refused(files: Sequence[Path], **square: Any) -> Iterator[Decoded | CorruptImage | UnreadableFile]:
    """As `read_all`, but the error on a file that the system refuses to read is given, too, instead of raised."""
    return _in_order(_decoder(**square), Path(), [str(file) for file in files], given=(CorruptImage, UnreadableFile))


def _decoder(
    size: int, interpolation: Interpolation = "bilinear", fit: Fit = "pad", resize: int | None = None
) -> Callable[[Path], Decoded]:
    def decoded(path: Path) -> Decoded:
        content = read_content(path)
        with opened(path, content) as image:
            image.load()
            rgb = to_rgb(image)
            faded = loses_contrast(image, rgb)
        return Decoded(as_tensor(squared(rgb, size, interpolation, fit, resize)), content_hash(content), faded)

    return decoded


def read_headers(root: Path, files: Sequence[str]) -> Iterator[tuple[int, int] | CorruptImage]:
    """Width and height that every file states in its header, or its error, in order; no pixel is decoded.

    Raises:
        UnreadableFile: the system refuses to read a file, which may be a good image.
    """

    def size(path: Path) -> tuple[int, int]:
        with opened_header(path) as image:
            return image.size

    return _in_order(size, root, files)


def _in_order(
    read: Callable[[Path], Any], root: Path, files: Sequence[str], *, given: tuple[type[UserError], ...] = (CorruptImage,)
) -> Iterator[Any]:
    def found(file: str) -> Any:
        try:
            return read(root / file)
        except given as error:
            return error
        except FileNotFoundError:
            return not_there(root / file)

    waiting = deque[Future[Any]]()
    with ThreadPoolExecutor(4) as pool:
        for file in files:
            waiting.append(pool.submit(found, file))
            if len(waiting) > AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
