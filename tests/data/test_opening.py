"""Image files are opened as the formats that are meant, up to a number of pixels, and without warnings."""

import subprocess
import warnings

import numpy as np
import pytest
from PIL import Image
from test_images import noise, save

from longtail.data import opening
from longtail.data.images import open_rgb
from longtail.data.opening import MAX_PIXELS, limit_pixels
from longtail.data.reading import read_all
from longtail.errors import CorruptImage, TooLarge, UserError

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"


@pytest.fixture
def limited():
    """Sets the limit of pixels; the usual one holds again afterwards."""
    yield limit_pixels
    limit_pixels(None)


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "gif", "tif", "webp", "ppm"])
def test_an_image_of_too_many_pixels_is_refused_and_the_largest_one_is_read_silently(tmp_path, limited, suffix):
    path = save(tmp_path / f"a.{suffix}", noise(9, 11))
    limited(99)
    assert open_rgb(path).size == (11, 9)
    limited(98)
    size = "99" if suffix == "webp" else "11 x 9"
    with pytest.raises(TooLarge) as caught:
        open_rgb(path)
    assert str(caught.value) == (
        f"'{path}' has {size} pixels, more than the limit of 98. If it is meant to be that large, have it read with "
        f"`max_pixels=99`."
    )
    assert caught.value.pixels == 99


def test_the_limit_holds_in_threads_and_leaves_that_of_other_programs_alone(tmp_path, limited):
    files = [save(tmp_path / f"{i}.png", noise(4, 4 + i)).name for i in range(8)]
    before = Image.MAX_IMAGE_PIXELS
    limited(24)
    found = [isinstance(result, CorruptImage) for result in read_all(tmp_path, files, 4)]
    assert found == [False, False, False, True, True, True, True, True]
    assert before == Image.MAX_IMAGE_PIXELS


def test_the_limit_may_be_above_that_of_pillow(tmp_path, monkeypatch, limited):
    path = save(tmp_path / "a.png", noise(10, 10))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40)
    limited(100)
    assert open_rgb(path).size == (10, 10)
    assert Image.MAX_IMAGE_PIXELS == 40


def test_the_usual_limit_is_the_one_at_which_pillow_refuses(tmp_path):
    assert 2 * Image.MAX_IMAGE_PIXELS == MAX_PIXELS == opening.pixel_limit() == 178_956_970
    Image.new("1", (13_378, 13_378)).save(tmp_path / "large.png")
    with pytest.raises(CorruptImage, match=r"has 13,378 x 13,378 pixels, more than the limit of 178,956,970"):
        open_rgb(tmp_path / "large.png")
    with pytest.raises(UserError, match=r"`max_pixels` must be at least 1; got 0\."):
        limit_pixels(0)


def test_another_format_is_named_and_never_run(tmp_path, monkeypatch):
    (tmp_path / "x.png").write_bytes(EPS)
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a program was started"))
    with pytest.raises(
        CorruptImage, match=r"x\.png' cannot be read as an image \(it has the format EPS; formats that are read: JPEG, "
    ):
        open_rgb(tmp_path / "x.png")
    save(tmp_path / "y.ico", noise(16, 16)).rename(tmp_path / "y.jpg")
    with pytest.raises(CorruptImage, match="it has the format ICO"):
        open_rgb(tmp_path / "y.jpg")


def test_a_photo_of_several_pictures_is_a_jpeg(tmp_path):
    pictures = [Image.fromarray(np.full((8, 8, 3), value, dtype=np.uint8)) for value in (60, 200)]
    pictures[0].save(tmp_path / "a.mpo", append_images=pictures[1:], save_all=True)
    (tmp_path / "a.mpo").rename(tmp_path / "a.jpg")
    assert np.unique(np.asarray(open_rgb(tmp_path / "a.jpg"))).tolist() == [60]


@pytest.mark.parametrize("length", range(14))
@pytest.mark.parametrize("start", [b"P6 1 1 255\n012....", b"\x89PNG\r\n\x1a\n........", b"\x0a\x05\x01\x08............"])
def test_every_beginning_of_a_file_is_no_image(tmp_path, start, length):
    (tmp_path / "a.png").write_bytes(start[:length])
    with pytest.raises(CorruptImage, match="cannot be read as an image"):
        open_rgb(tmp_path / "a.png")


def warned_by_pillow(category=UserWarning):
    """A warning as one of Pillow's modules gives it."""
    warnings.warn_explicit("an unusual file", category, "TiffImagePlugin.py", 1, module="PIL.TiffImagePlugin")


def test_only_the_warnings_of_pillow_are_silenced_until_the_last_thread_is_done():
    before = list(warnings.filters)
    first, second = opening._QUIET.__enter__, opening._QUIET.__exit__
    first(), first(), second()
    warned_by_pillow()
    with pytest.raises(UserWarning, match="of the program"):
        warnings.warn("of the program", UserWarning, stacklevel=1)
    second()
    assert warnings.filters == before
    with pytest.raises(UserWarning):
        warned_by_pillow()


def test_a_thread_inside_of_catch_warnings_leaves_no_silence_behind():
    first, second = opening._QUIET.__enter__, opening._QUIET.__exit__
    first()
    with warnings.catch_warnings():
        second()
    with pytest.raises(UserWarning):
        warnings.warn("of the program", UserWarning, stacklevel=1)
    first(), second()
    with pytest.raises(UserWarning):
        warned_by_pillow()
