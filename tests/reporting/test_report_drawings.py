"""Every figure of the sections can be drawn, names all answers, and is readable on white and on black."""

import io

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.text import Text
from PIL import Image

from longtail.reporting.calibration import calibration
from longtail.reporting.confusions import confusions
from longtail.reporting.other_priors import other_priors
from longtail.reporting.overlays import looks
from longtail.reporting.plotting import counted, image_of, labelled, legend_above, mark, new_axes, new_figure
from longtail.reporting.section import Drawing
from longtail.reporting.training import training
from made_answers import POWER, drawn, long_tailed, stage

SECTIONS = (confusions, calibration, other_priors, training)
NAMES = ("ce", "_own", "gcl $x$", "a_method_with_quite_a_long_name", "bbn")
ODD = ["<script>alert(1)</script>", "$\\frac$", "_hidden", "浮游生物", "a" * 300, "line\nend"]
LOG = [{"stage": 0, "epoch": epoch, "loss": 1 / (epoch + 1), "learning_rate": 10.0**-epoch} for epoch in range(4)]


def made(number, classes=6):
    record = {"recipe": {"stages": [stage(4, companion=POWER)]}, "stages": []}
    names = ODD if classes == len(ODD) else None
    tested = [8] * (classes - 1) + [0 if classes > 1 else 8]
    return [
        drawn(long_tailed(classes), tested, seed=j, name=NAMES[j], names=names, record=record, log=LOG) for j in range(number)
    ]


def drawings(answers):
    return [part for section in SECTIONS for part in section(answers).parts if isinstance(part, Drawing)]


def contrast(colour, background):
    """Ratio of the relative luminances of two colours, as the web's guidelines define it."""
    light = [
        np.dot([0.2126, 0.7152, 0.0722], [((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(each)]) for each in (colour, background)
    ]
    return (max(light) + 0.05) / (min(light) + 0.05)


@pytest.mark.parametrize("number", [1, 5])
def test_figures_are_transparent_pictures_of_moderate_size(number):
    found = drawings(made(number))
    assert {"reliability", "reliability-few", "coverage", "test-priors", "tau", "training", "sampling"} < {
        each.name for each in found
    }
    assert len({each.name for each in found}) == len(found)
    for each in found:
        content = image_of(each.figure, "png", 60)
        picture = np.array(Image.open(io.BytesIO(content)).convert("RGBA"))
        assert picture[0, 0, 3] == 0 < picture[..., 3].max(), each.name
        assert len(content) < 100_000
        assert each.figure.get_size_inches()[0] == pytest.approx(5.2)


def test_every_text_is_readable_on_white_and_on_black():
    for each in drawings(made(2)):
        for text in each.figure.findobj(Text):
            if text.get_text() and not text.get_path_effects():
                assert contrast(text.get_color(), "white") > 3, (each.name, text.get_text())
                assert contrast(text.get_color(), "#111111") > 3, (each.name, text.get_text())


def test_legends_name_all_answers():
    for each in drawings(made(5)):
        if not each.name.startswith(("confusion", "sampling")):
            (legend,) = each.figure.legends
            shown = [text.get_text().strip() for text in legend.get_texts()]
            assert shown == [name.replace("$", "\\$") for name in NAMES], each.name


def test_a_single_answer_has_no_legend():
    assert not any(each.figure.legends for each in drawings(made(1)) if each.name != "sampling")


def test_lines_differ_in_more_than_colour():
    styles = list(looks([str(number) for number in range(30)]).values())
    assert len({(look["color"], look["linestyle"]) for look in styles}) == 30
    assert len({(look["marker"], look["linestyle"]) for look in styles}) == 30


@pytest.mark.parametrize("classes", [1, 2, 60])
def test_other_numbers_of_classes_can_be_drawn(classes):
    for each in drawings(made(2, classes)):
        assert image_of(each.figure, "svg").startswith(b"<?xml"), each.name


def test_a_logarithmic_axis_of_few_counts_is_not_labelled_with_rounded_ones():
    figure = new_figure()
    axes = new_axes(figure)
    axes.set(xscale="log", xlim=(3.9, 7.2))
    counted(axes.xaxis)
    image_of(figure, "svg")
    shown = {place: tick.get_text() for place, tick in zip(axes.get_xticks(), axes.get_xticklabels(), strict=True)}
    assert {text for text in shown.values() if text} >= {"4", "5", "6", "7"}
    assert all(float(text) == place for place, text in shown.items() if text)


def test_no_two_of_36_answers_look_alike():
    assert len({tuple(mark(place).values()) for place in range(36)}) == 36


def test_a_figure_grows_by_the_rows_of_its_legend():
    heights = []
    for lines in (2, 20):
        figure = new_figure()
        axes = new_axes(figure)
        for number in range(lines):
            axes.plot([0, 1], [0, 1], label=labelled(f"_{number}"))
        legend_above(figure, axes, columns=1)
        assert len(figure.legends[0].get_texts()) == lines
        figure.draw_without_rendering()
        heights.append(axes.get_position().height * figure.get_size_inches()[1])
    assert heights[1] > 0.8 * heights[0] > 1
