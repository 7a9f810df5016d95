"""The look of the figures: readable on white and on black, on a phone, and by people who do not tell all colours apart."""

from __future__ import annotations

import io
import warnings
from typing import Any

from longtail.text import visible

GREY = "#7a7a7a"  # contrast 4.3 both on white and on the page's dark background
COLOURS = ("#1f7fbf", "#d55e00", "#12936f", "#b5629a", "#9a7416", "#7a7a7a")
MARKERS = "osD^vP"
FILLINGS = ("full", "none", "left", "top", "right", "bottom")
GROUP_COLOURS = {"many": "#1f7fbf", "medium": "#9a7416", "few": "#d55e00"}
WIDTH, HEIGHT = 5.2, 3.4  # inches
FONT = 11
ROW, FREE_ROWS = 0.2, 3  # inches of a row of a legend, and rows for which a figure has room
DOTS = 200  # per inch, of the PNG files


def new_figure(width: float = WIDTH, height: float = HEIGHT) -> Any:
    """An empty transparent figure, made without pyplot; its size is in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", facecolor="none")
    FigureCanvasAgg(figure)
    return figure


def new_axes(figure: Any, **wanted: Any) -> Any:
    """Axes with grey lines, of a transparent background; `wanted` are properties such as `xlabel`."""
    axes = figure.add_subplot(facecolor="none")
    axes.set(**wanted)
    restyle(axes)
    return axes


def restyle(axes: Any) -> None:
    """Makes the frame, the ticks and the labels of axes grey and of one size."""
    for side, spine in axes.spines.items():
        spine.set(color=GREY, visible=side in ("left", "bottom"))
    axes.tick_params(which="both", colors=GREY, labelsize=FONT)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set(color=GREY, fontsize=FONT)
    axes.grid(color=GREY, alpha=0.25, linewidth=0.6)
    axes.set_axisbelow(True)


def legend(axes: Any, **how: Any) -> None:
    """A legend with grey text and no background."""
    shown = axes.legend(frameon=False, fontsize=FONT - 1, labelcolor=GREY, **how)
    if shown.get_title():
        shown.get_title().set(color=GREY, fontsize=FONT - 1)


def legend_above(figure: Any, axes: Any, *, columns: int = 2) -> None:
    """A legend above the axes, where no data are hidden by it; the figure grows by its rows above the first few."""
    handles, labels = axes.get_legend_handles_labels()
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + ROW * max(-(-len(labels) // columns) - FREE_ROWS, 0))
    figure.legend(handles, labels, loc="outside upper left", ncols=columns, frameon=False, fontsize=FONT - 1, labelcolor=GREY)


def counted(axis: Any) -> None:
    """Writes the numbers of a logarithmic axis as 10, 30, 100, 300, 1,000, and only at whole numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(10, subs=(1, 3)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if float(value).is_integer() else ""))
    axis.set_minor_formatter(NullFormatter())


def plain(name: str) -> str:
    """A name from outside as a label in which matplotlib finds no formula and no line ends."""
    return visible(name).replace("$", r"\$")


def mark(place: int) -> dict[str, str]:
    """Colour, marker and filling of the answer at this place; no two of the first 36 are alike."""
    turn = place // len(COLOURS) % len(FILLINGS)
    return {"color": COLOURS[place % len(COLOURS)], "marker": MARKERS[place % len(MARKERS)], "fillstyle": FILLINGS[turn]}


def labelled(name: str) -> str:
    """A name from outside as the label of a line; matplotlib leaves those with a leading _ out of legends."""
    return f" {plain(name)}" if name.startswith("_") else plain(name)


def image_of(figure: Any, kind: str, dots: float = DOTS) -> bytes:
    """The figure as the bytes of a PNG or SVG; characters that the font lacks are drawn as boxes.

    Args:
        kind: "png" or "svg".
        dots: dots per inch of a PNG.
    """
    import matplotlib

    content = io.BytesIO()
    with warnings.catch_warnings(), matplotlib.rc_context({"svg.hashsalt": "longtail"}):
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        metadata = {"Date": None} if kind == "svg" else {}
        figure.savefig(content, format=kind, dpi=dots, transparent=True, metadata=metadata)
    figure.set_layout_engine("none")  # the first drawing has arranged it
    return content.getvalue()
