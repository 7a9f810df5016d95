"""Reading one file: every mode and shape becomes an RGB square; a broken file gives an error that names it."""

import errno
import os
import socket
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from longtail.data.images import (
    content_hash,
    open_rgb,
    opened,
    read_content,
    read_square,
    short_side,
)
from longtail.data.modes import to_rgb
from longtail.data.reading import read_all
from longtail.data.squares import as_tensor, squared
from longtail.errors import CorruptImage, MissingFileError, UnreadableFile


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def save(path, pixels, mode="RGB", **options):
    Image.fromarray(pixels).convert(mode).save(path, **options)
    return path


def broken(path):
    whole = path.with_suffix(".whole.jpg")
    save(whole, noise(60, 60))
    path.write_bytes(whole.read_bytes()[:1500])
    whole.unlink()
    return path


@pytest.mark.parametrize(
    ("name", "mode"),
    [("a.jpg", "RGB"), ("a.jpg", "L"), ("a.jpg", "CMYK"), ("a.png", "P"), ("a.png", "1"), ("a.png", "LA"), ("a.png", "RGBA"),
     ("a.gif", "P"), ("a.bmp", "RGB"), ("a.tif", "CMYK"), ("a.webp", "RGBA"), ("a.ppm", "RGB"), ("a.pgm", "L")],
)  # fmt: skip
def test_every_mode_becomes_rgb(tmp_path, name, mode):
    flat = np.full((5, 7, 3), 255, dtype=np.uint8)
    image = open_rgb(save(tmp_path / name, flat, mode))
    assert (image.mode, image.size) == ("RGB", (7, 5))
    assert np.asarray(image).min() >= 254


def test_lossless_files_keep_their_pixels(tmp_path):
    pixels = noise(6, 9)
    assert np.array_equal(np.asarray(open_rgb(save(tmp_path / "a.png", pixels))), pixels)


def test_what_is_transparent_becomes_white():
    layer = np.zeros((2, 2, 4), dtype=np.uint8)
    layer[0, 0] = (200, 100, 0, 255)
    layer[0, 1] = (0, 0, 0, 128)
    assert np.asarray(to_rgb(Image.fromarray(layer))).tolist()[0] == [[200, 100, 0], [127, 127, 127]]
    assert np.asarray(to_rgb(Image.fromarray(layer)))[1].min() == 255


def test_a_palette_with_a_transparent_colour(tmp_path):
    image = Image.fromarray(np.array([[0, 1], [1, 1]], dtype=np.uint8))
    image = image.convert("P")
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.save(tmp_path / "a.png", transparency=1)
    assert np.asarray(open_rgb(tmp_path / "a.png")).tolist() == [[[255, 0, 0], [255] * 3], [[255] * 3, [255] * 3]]


@pytest.mark.parametrize(("brightest", "expected"), [(65535, 255), (32768, 127), (255, 0)])
def test_grey_of_16_bits_is_scaled_by_its_range_and_not_by_its_content(tmp_path, brightest, expected):
    Image.fromarray(np.array([[0, brightest]], dtype=np.uint16)).save(tmp_path / "a.png")
    assert np.asarray(open_rgb(tmp_path / "a.png")).tolist() == [[[0] * 3, [expected] * 3]]


@pytest.mark.parametrize(("brightest", "expected"), [(65535, 255), (32768, 127), (255, 0)])
def test_a_pgm_of_16_bits_is_scaled_as_a_png(tmp_path, brightest, expected):
    (tmp_path / "a.pgm").write_bytes(b"P5\n2 1\n65535\n" + np.array([0, brightest], dtype=">u2").tobytes())
    assert np.asarray(open_rgb(tmp_path / "a.pgm")).tolist() == [[[0] * 3, [expected] * 3]]


@pytest.mark.parametrize("mode", ["RGBa", "La"])
def test_colours_multiplied_by_their_opacity_become_white_where_they_are_transparent(mode):
    plain = Image.new("RGBA" if mode == "RGBa" else "LA", (1, 1), 0)
    assert np.asarray(to_rgb(plain.convert(mode))).tolist() == [[[255] * 3]]


@pytest.mark.parametrize("white", [1.0, 255.0])
def test_floats_may_end_at_1_or_at_255(tmp_path, white):
    Image.fromarray(np.array([[0, white / 2, white, np.nan]], dtype=np.float32)).save(tmp_path / "a.tif")
    assert np.asarray(open_rgb(tmp_path / "a.tif"))[0, :, 0].tolist() == [0, 127, 255, 0]


def test_a_truncated_file_is_named(tmp_path):
    path = broken(tmp_path / "half.jpg")
    with pytest.raises(CorruptImage, match=r"half\.jpg' cannot be read as an image \(image file is truncated"):
        open_rgb(path)


@pytest.mark.parametrize("content", [b"", b"these are words", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0"])
def test_what_is_no_image_is_named(tmp_path, content):
    (tmp_path / "words.jpg").write_bytes(content)
    with pytest.raises(CorruptImage, match=r"words\.jpg' cannot be read as an image \("):
        open_rgb(tmp_path / "words.jpg")


def test_words_are_called_no_image(tmp_path):
    (tmp_path / "words.jpg").write_text("these are words")
    with pytest.raises(CorruptImage, match=r"\(it is no image\)"):
        open_rgb(tmp_path / "words.jpg")


def test_a_missing_file_is_not_called_corrupt(tmp_path):
    with pytest.raises(MissingFileError, match=r"^There is no file '.*gone\.jpg'\.$"):
        open_rgb(tmp_path / "gone.jpg")


def test_content_that_is_read_already_is_not_read_again(tmp_path):
    pixels = noise(4, 4)
    content = save(tmp_path / "a.png", pixels).read_bytes()
    with opened(tmp_path / "elsewhere.png", content) as image:
        assert np.array_equal(np.asarray(image), pixels)
    with pytest.raises(CorruptImage, match=r"elsewhere\.png"), opened(tmp_path / "elsewhere.png", content[:50]) as image:
        image.load()


def fifo(path):
    os.mkfifo(path)


def bound(path):
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(os.path.relpath(path))


@pytest.mark.parametrize(("make", "what"), [(fifo, "a pipe"), (bound, "a socket"), (Path.mkdir, "a folder")])
def test_what_is_no_file_is_not_read(tmp_path, monkeypatch, make, what):
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "a.png")
    with pytest.raises(CorruptImage) as caught:
        read_content(tmp_path / "a.png")
    assert str(caught.value) == f"'{tmp_path / 'a.png'}' cannot be read as an image (it is {what})."
    assert str(next(read_all(tmp_path, ["a.png"], 4))) == str(caught.value)


def test_a_device_is_not_read():
    with pytest.raises(CorruptImage, match=r"'/dev/zero' cannot be read as an image \(it is a device\)\."):
        read_content(Path("/dev/zero"))


@pytest.mark.parametrize(("number", "why"), [(errno.EACCES, "Permission denied"), (errno.EIO, "Input/output error")])
def test_what_the_system_does_not_read_is_not_called_corrupt(tmp_path, monkeypatch, number, why):
    path = save(tmp_path / "a.png", noise(4, 4))

    def refused(self, *_):
        raise OSError(number, os.strerror(number), str(self))

    monkeypatch.setattr(Path, "read_bytes", refused)
    monkeypatch.setattr(Path, "open", refused)
    said = rf"^'{path}' cannot be read \({why}\); it may be a good image\. Check its permissions and the disk\.$"
    with pytest.raises(UnreadableFile, match=said):
        open_rgb(path)
    with pytest.raises(UnreadableFile, match=said):
        list(read_all(tmp_path, ["a.png"], 4))
    assert short_side(path) is None


def test_a_listed_file_that_is_not_there_is_an_error_of_its_own(tmp_path):
    (tmp_path / "b.png").symlink_to(tmp_path / "nowhere.png")
    gone, link = read_all(tmp_path, ["a.png", "b.png"], 4)
    assert str(gone) == f"'{tmp_path / 'a.png'}' is not there."
    assert str(link) == f"'{tmp_path / 'b.png'}' is not there, its link leads nowhere."


PEAK = """
import resource, sys
from pathlib import Path
from longtail.data.images import open_rgb
from longtail.data.squares import centre_cut, squared
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[2]) * 2**20,) * 2)
image = open_rgb(Path(sys.argv[1]))
print(*squared(image, 32).size, *centre_cut(image, 32, 36).size)
"""


@pytest.mark.parametrize("size", [(1, 60_000), (60_000, 1)])
def test_huge_proportions_take_little_memory(tmp_path, size):
    Image.new("RGB", size, (9, 90, 200)).save(tmp_path / "a.png", optimize=True)
    assert (tmp_path / "a.png").stat().st_size < 1000
    done = subprocess.run(
        [sys.executable, "-c", PEAK, tmp_path / "a.png", "1024"], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.stderr) == ("32 32 32 32\n", "")
    assert np.unique(np.asarray(squared(open_rgb(tmp_path / "a.png"), 32)).reshape(-1, 3), axis=0).tolist() == [[9, 90, 200]]


def test_grey_of_16_bits_takes_little_memory(tmp_path):
    Image.fromarray(np.arange(4000 * 4000, dtype=np.uint32).reshape(4000, 4000).astype(np.uint16)).save(tmp_path / "a.png")
    with opened(tmp_path / "a.png") as image:
        image.load()
        tracemalloc.start()
        rgb = to_rgb(image)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    values = np.arange(65_536) * (255 / 65_535)
    assert np.array_equal(np.asarray(rgb)[:17, :, 1].reshape(-1)[:65_536], values.astype(np.uint8))
    assert peak < 4000 * 4000 * 2 * 4  # in float64, the values alone took 8 bytes each, four times over


def test_read_square_depends_on_the_file_alone(tmp_path):
    path = save(tmp_path / "a.png", noise(30, 40))
    square = read_square(path, 16)
    assert (square.dtype, square.shape) == (torch.uint8, (3, 16, 16))
    assert torch.equal(square, as_tensor(squared(open_rgb(path), 16)))
    assert torch.equal(square, read_square(path, 16))


TURNS = {
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.transpose(1, 0, 2),
    6: lambda p: np.rot90(p, -1),
    7: lambda p: p[::-1, ::-1].transpose(1, 0, 2),
    8: lambda p: np.rot90(p),
}


@pytest.mark.parametrize(("orientation", "turned"), TURNS.items())
def test_a_photo_held_sideways_is_turned_upright(tmp_path, orientation, turned):
    pixels, exif = noise(5, 7), Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / "a.png", pixels, exif=exif)
    assert np.array_equal(np.asarray(open_rgb(path)), turned(pixels))
    assert torch.equal(read_square(path, 7), as_tensor(squared(Image.fromarray(turned(pixels).copy()), 7)))


@pytest.mark.parametrize("note", [b"Exif\x00\x00these are no tags", b"Exif\x00\x00II*\x00\xff\xff\xff\x7f", b"Exif\x00\x00"])
def test_a_broken_note_of_the_camera_does_not_cost_the_photo(tmp_path, note):
    path = save(tmp_path / "a.jpg", noise(5, 7), exif=note)
    assert open_rgb(path).size == (7, 5)


def test_read_all_keeps_the_order_and_what_is_wrong(tmp_path):
    files = [save(tmp_path / f"{i}.png", np.full((4, 4, 3), i, dtype=np.uint8)).name for i in range(40)]
    files[7] = broken(tmp_path / "half.jpg").name
    results = list(read_all(tmp_path, files, 4))
    assert len(results) == 40
    assert isinstance(results[7], CorruptImage)
    assert all(int(result.pixels[0, 0, 0]) == i for i, result in enumerate(results) if i != 7)
    assert results[9].digest == content_hash((tmp_path / files[9]).read_bytes()) != results[10].digest


def test_a_file_too_large_to_be_an_image_is_not_read(tmp_path):
    with (tmp_path / "huge.png").open("wb") as file:
        file.truncate(2**41)
    with pytest.raises(CorruptImage, match=r"huge\.png' cannot be read as an image \(it has 2,199,023,255,552 bytes, too many"):
        read_content(tmp_path / "huge.png")


def test_short_side(tmp_path):
    assert short_side(save(tmp_path / "a.png", noise(3, 8))) == 3
    assert short_side(broken(tmp_path / "half.jpg")) == 60
    assert short_side(tmp_path / "gone.jpg") is None
