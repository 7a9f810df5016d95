"""Whether images keep their class when they are mirrored or turned, found by looking at them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from longtail import settings
from longtail.data.splits import Data, Split
from longtail.workflow import symmetry
from longtail.workflow.request import Request
from longtail.workflow.symmetry import found_symmetry, with_symmetry
from longtail.workflow.watcher import Silent

SETTING = settings.folder(name="shapes", size=16, epochs=1, backbone="resnet8")


class Notes(Silent):
    def __init__(self):
        self.texts = []

    def note(self, text):
        self.texts.append(text)


def shapes(kind, per_class=30):
    """Noisy images of two classes: bright on the left or the right, red or blue, bright above or below."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 60, (2 * per_class, 3, 16, 16), dtype=torch.uint8, generator=generator)
    first, second = pixels[:per_class], pixels[per_class:]
    if kind == "sides":
        first[..., :8] += 150
        second[..., 8:] += 150
    elif kind == "colours":
        first[:, 0] += 150
        second[:, 2] += 150
    else:
        first[..., :8, :] += 150
        second[..., 8:, :] += 150
    labels = np.repeat([0, 1], per_class)
    split = Split(tuple(map(str, range(2 * per_class))), labels, pixels)
    return Data(split, split, ("a", "b"), 16, (0.4,) * 3, (0.2,) * 3)


@pytest.mark.parametrize(("kind", "name"), [("sides", "none"), ("colours", "mirror"), ("heights", "mirror")])
def test_without_a_pretrained_network_left_and_right_are_told_apart_by_pixels(kind, name):
    notes = Notes()
    assert found_symmetry(SETTING, shapes(kind), Request("shapes"), notes) == name
    mirrored, rest = ("0", ", which is safe; choose another where left and right mean nothing") if name == "none" else ("100", "")
    seen = f"By their pixels, 100% of 60 training images are recognised, and {mirrored}% of their mirror images"
    assert notes.texts == [f"{seen}: symmetry {name}{rest} (`symmetry`)."]


@pytest.mark.parametrize("draw", range(5))
def test_pixels_that_tell_no_class_say_nothing(draw):
    """Of few images, or of such in which pixels are no better than a guess, a symmetry is not taken for granted."""
    generator, counts = torch.Generator().manual_seed(draw), (24, 12, 8, 8)
    pixels = torch.randint(0, 256, (sum(counts), 3, 16, 16), dtype=torch.uint8, generator=generator)
    split = Split(tuple(map(str, range(sum(counts)))), np.repeat(range(4), counts), pixels)
    data, notes = Data(split, split, tuple("abcd"), 16, (0.4,) * 3, (0.2,) * 3), Notes()
    assert found_symmetry(SETTING, data, Request("noise"), notes) == "none"
    assert "says nothing, as guesses are right about as often: symmetry none, which is safe" in notes.texts[0]


class Heights(nn.Module):
    """A network that sees what is above and below, and the colour, but not left and right."""

    def forward(self, images):
        return torch.cat([images.mean(3).flatten(1), images.mean((2, 3))], 1)


class Colours(nn.Module):
    def forward(self, images):
        return images.mean((2, 3))


@pytest.mark.parametrize(
    ("kind", "network", "name"), [("colours", Colours, "square"), ("heights", Heights, "mirror"), ("sides", Heights, "none")]
)
def test_a_pretrained_network_tells_whether_images_have_an_upright_position(kind, network, name, monkeypatch):
    monkeypatch.setattr(symmetry, "_features", lambda *_: network())
    assert found_symmetry(SETTING, shapes(kind), Request("shapes", pretrained=True), Silent()) == name


def test_it_is_looked_for_once_and_not_where_it_is_given(tmp_path, monkeypatch):
    asked = Request("shapes", runs=tmp_path)
    data, notes = shapes("colours"), Notes()
    first = with_symmetry(asked, SETTING, data, notes)
    again = with_symmetry(asked, SETTING, data, notes)
    assert first == again
    assert notes.texts[1:] == ["Symmetry mirror, as it was found on these images before (`symmetry`)."]
    assert (first.symmetry, first.views) == ("mirror", 2)
    monkeypatch.setattr(symmetry, "found_symmetry", lambda *_: pytest.fail("it was looked for"))
    for request, expected in (
        (Request("shapes", runs=tmp_path / "other", symmetry="none"), 1),
        (Request("shapes", runs=tmp_path / "other", augment="none"), 1),
        (Request("shapes", runs=tmp_path / "other", symmetry="square", views=2), 2),
    ):
        assert with_symmetry(request, SETTING, data, Silent()).views == expected


def test_it_is_looked_for_again_where_images_change_and_keep_their_number_and_classes(tmp_path):
    asked = Request("shapes", runs=tmp_path)
    assert with_symmetry(asked, SETTING, shapes("colours"), Silent()).symmetry == "mirror"
    assert with_symmetry(asked, SETTING, shapes("sides"), Silent()).symmetry == "none"


def test_digits_are_not_mirrored():
    data = settings.digits_lt(imbalance=None).data(Path())
    assert found_symmetry(settings.digits_lt(), data, Request("digits"), Silent()) == "none"
