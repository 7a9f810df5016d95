"""Pictures inside the page: as small as they can be, as data URIs, which need no request."""

from __future__ import annotations

import base64
import io
from typing import Any

from longtail.reporting.plotting import image_of

PNG, SVG, JPEG = "image/png", "image/svg+xml", "image/jpeg"
SHARP = 40_000  # bytes up to which a drawing stays SVG, which is sharp at every size
DOTS = 160  # per inch, of a PNG in the page
PALETTE = 256


def drawn(figure: Any) -> str:
    """The data URI of a figure: SVG where that is small, as it is of few marks, else the smaller of SVG and PNG."""
    svg = image_of(figure, "svg")
    if len(svg) <= SHARP:
        return data_uri(svg, SVG)
    png = _with_palette(image_of(figure, "png", DOTS))
    return data_uri(png, PNG) if len(png) < len(svg) else data_uri(svg, SVG)


def photo(content: bytes) -> str:
    """The data URI of the bytes of a PNG or JPEG."""
    return data_uri(content, PNG if content.startswith(b"\x89PNG") else JPEG)


def data_uri(content: bytes, kind: str) -> str:
    """The bytes as a URI of the media type `kind`."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _with_palette(png: bytes) -> bytes:
    """The image with a palette of few colours, which is all that a drawing needs."""
    from PIL import Image

    content = io.BytesIO()
    image = Image.open(io.BytesIO(png)).convert("RGBA").quantize(PALETTE, method=Image.Quantize.FASTOCTREE)
    image.save(content, format="PNG", optimize=True)
    return content.getvalue()
