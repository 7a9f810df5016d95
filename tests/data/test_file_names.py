"""What names mean: suffixes of images, trash, splits, and class names that look alike."""

import importlib.util

import numpy as np
import pytest
from PIL import Image

from longtail.data.class_names import near, near_names
from longtail.data.contrast import loses_contrast
from longtail.data.images import opened, read_square
from longtail.data.modes import to_rgb
from longtail.data.names import image_suffixes, is_image, is_trash, said_of_left_out, split_of
from longtail.data.reading import read_all


@pytest.mark.parametrize(
    ("suffix", "written_as"),
    [("jfif", "JPEG"), ("jpe", "JPEG"), ("jp2", "JPEG2000"), ("avif", "AVIF"), ("mpo", "JPEG"), ("tga", "TGA"), ("dib", "DIB")],
)
def test_every_suffix_that_pillow_has_for_a_format_is_listed_and_read(tmp_path, suffix, written_as):
    path = tmp_path / f"a.{suffix.upper()}"
    Image.new("RGB", (8, 8), (200, 40, 40)).save(path, format=written_as)
    assert is_image(path.name)
    red, green, blue = read_square(path, 8).float().mean((1, 2)).tolist()
    assert (round(red, -1), round(green, -1), round(blue, -1)) == pytest.approx((200, 40, 40), abs=10)


def test_a_text_is_no_tga_whatever_its_name(tmp_path):
    """TGA has no first bytes of its own, so only files that are called so are tried as such."""
    header = bytes([0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 2, 0, 24, 0]) + bytes(12)
    (tmp_path / "a.png").write_bytes(header)
    (tmp_path / "a.tga").write_bytes(header)
    with pytest.raises(ValueError, match=r"a\.png' cannot be read as an image"):
        read_square(tmp_path / "a.png", 2)
    assert not read_square(tmp_path / "a.tga", 2).any()


def test_heic_is_an_image_where_it_can_be_read():
    assert (".heic" in image_suffixes()) == (importlib.util.find_spec("pillow_heif") is not None)
    assert {".jpg", ".png", ".tif", ".webp", ".pgm"} < image_suffixes()
    assert not {".txt", ".pdf", ".eps", ".psd", ".mp4", ""} & image_suffixes()


@pytest.mark.parametrize("name", [".x", "._1.png", "@eaDir", "__MACOSX", "__macosx", "$RECYCLE.BIN", "Thumbs.db", "lost+found"])
def test_trash_of_systems(name):
    assert is_trash(name)
    assert not is_image(name)


@pytest.mark.parametrize("name", ["__background__", "_noise", "thumbs", "@home", "#1", "recycle"])
def test_classes_that_are_no_trash(name):
    assert not is_trash(name)


@pytest.mark.parametrize(
    ("split", "names"),
    [
        ("train", ("train", "Training", "TRAIN", "train_set", "trainset", "train images")),
        ("val", ("val", "valid", "Validation", "dev", "validation_set", "eval")),
        ("test", ("test", "TESTING", "Test-Set", "test_data")),
        (None, ("trains", "tester", "contest", "values", "device", "train2017", "", "the test")),
    ],
)
def test_names_of_splits(split, names):
    assert {split_of(name) for name in names} == {split}


def test_names_that_look_alike():
    names = ["cat", "Cat", "cat ", "dog", "K\u00e4fer", "Ka\u0308fer", "red fox", "redfox", "cat", "c\u200bat"]
    assert near_names(names) == [("cat", "Cat", "cat ", "c\u200bat"), ("K\u00e4fer", "Ka\u0308fer"), ("red fox", "redfox")]
    assert near("Dog", names) == "dog"
    assert near("dog", names) is None


def test_what_is_left_out_is_counted_by_its_suffix():
    assert said_of_left_out([]) == ""
    said = said_of_left_out(["a/1.txt", "a/c.XYZ", "b/2.txt", "b/none"])
    assert said == (
        "Left out 4 files whose suffixes are not that of a readable image: 2 .txt (first 'a/1.txt'), 1 .xyz ('a/c.XYZ'), "
        "1 without a suffix ('b/none')."
    )
    assert "and 2 more kinds." in said_of_left_out([f"x.k{i}" for i in range(8)])


@pytest.mark.skipif(importlib.util.find_spec("pillow_heif") is not None, reason="HEIF can be read here")
def test_a_photo_of_a_telephone_is_named_with_what_it_needs(tmp_path):
    assert "1 .heic ('a.heic'; install pillow-heif to read such files)" in said_of_left_out(["a.heic"])
    (tmp_path / "a.jpg").write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    with pytest.raises(ValueError, match="it has the format HEIF, which is read where the package pillow-heif is installed"):
        read_square(tmp_path / "a.jpg", 8)


def grey(path, values, mode=None):
    image = Image.fromarray(np.asarray(values))
    (image if mode is None else image.convert(mode)).save(path)
    return path


@pytest.mark.parametrize(
    ("values", "faded"),
    [
        (np.arange(4096, dtype=np.uint16).reshape(64, 64), True),  # 12 bits in a file of 16 become 16 greys
        (np.arange(7000, 7256, dtype=np.uint16).reshape(16, 16), True),
        (16 * np.arange(4096, dtype=np.uint16).reshape(64, 64), False),
        (np.full((4, 4), 7000, dtype=np.uint16), False),
        (np.linspace(290, 310, 64, dtype=np.float32).reshape(8, 8), True),
        (np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8), False),
        (np.linspace(-1, 1, 64, dtype=np.float32).reshape(8, 8), True),
        (np.arange(16, dtype=np.uint8).reshape(4, 4), False),
    ],
    ids=["12 bits", "thermal", "16 bits", "flat", "kelvin", "0 to 1", "below 0", "8 bits"],
)
def test_images_that_lose_their_contrast_are_known(tmp_path, values, faded):
    path = grey(tmp_path / "a.tif", values)
    with opened(path) as image:
        image.load()
        assert loses_contrast(image, to_rgb(image)) is faded
    assert next(read_all(tmp_path, ["a.tif"], 8)).faded is faded
