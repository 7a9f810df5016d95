"""Reading one file: every mode and shape becomes an RGB square; a broken file gives an error that names it."""

import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from longtail.data import images
from longtail.data.images import as_tensor, content_hash, open_rgb, opened, read_all, read_square, short_side, squared, to_rgb
from longtail.errors import CorruptImage


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
    with pytest.raises(FileNotFoundError):
        open_rgb(tmp_path / "gone.jpg")


def test_content_that_is_read_already_is_not_read_again(tmp_path):
    pixels = noise(4, 4)
    content = save(tmp_path / "a.png", pixels).read_bytes()
    with opened(tmp_path / "elsewhere.png", content) as image:
        assert np.array_equal(np.asarray(image), pixels)
    with pytest.raises(CorruptImage, match=r"elsewhere\.png"), opened(tmp_path / "elsewhere.png", content[:50]) as image:
        image.load()


def test_a_bomb_is_refused_and_a_large_image_read_silently(tmp_path, monkeypatch):
    save(tmp_path / "a.png", noise(10, 10))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 60)
    assert open_rgb(tmp_path / "a.png").size == (10, 10)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40)
    with pytest.raises(CorruptImage, match="decompression bomb"):
        open_rgb(tmp_path / "a.png")


def test_silence_ends_with_the_last_thread():
    before = list(warnings.filters)
    first, second = images._QUIET.__enter__, images._QUIET.__exit__
    first(), first(), second()
    warnings.warn("not heard", UserWarning, stacklevel=1)
    second()
    assert warnings.filters == before
    with pytest.raises(UserWarning):
        warnings.warn("heard", UserWarning, stacklevel=1)


@pytest.mark.parametrize(("height", "width"), [(4, 9), (9, 4), (5, 6)])
def test_a_square_is_padded_with_the_colour_of_the_edge(height, width):
    pixels = noise(height, width)
    pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1] = (9, 90, 200), (9, 90, 200), (9, 90, 200), (9, 90, 200)
    pixels[0, 0] = 255
    side = max(height, width)
    square = np.asarray(squared(Image.fromarray(pixels), side))
    top, left = (side - height) // 2, (side - width) // 2
    expected = np.full((side, side, 3), (9, 90, 200), dtype=np.uint8)
    expected[top : top + height, left : left + width] = pixels
    assert np.array_equal(square, expected)


def test_a_square_of_the_right_size_is_left_alone():
    pixels = noise(8, 8)
    assert np.array_equal(np.asarray(squared(Image.fromarray(pixels), 8)), pixels)


def test_a_square_is_resized_without_losing_its_mean():
    small = np.asarray(squared(Image.fromarray(noise(64, 64)), 8))
    assert small.shape == (8, 8, 3)
    assert abs(small.mean() - noise(64, 64).mean()) < 2


def test_as_tensor_puts_channels_first():
    pixels = noise(3, 5)
    tensor = as_tensor(Image.fromarray(pixels))
    assert (tensor.dtype, tensor.shape) == (torch.uint8, (3, 3, 5))
    assert all(tensor[c, y, x] == pixels[y, x, c] for c in range(3) for y in range(3) for x in range(5))


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


def test_short_side(tmp_path):
    assert short_side(save(tmp_path / "a.png", noise(3, 8))) == 3
    assert short_side(broken(tmp_path / "half.jpg")) == 60
    assert short_side(tmp_path / "gone.jpg") is None
