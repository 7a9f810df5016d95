"""Random crops are taken from whole files by those who read them; their bits depend on the position in the epoch alone."""

from dataclasses import replace
from functools import partial
from io import BytesIO

import numpy as np
import pytest
import torch
import torchvision.io
from PIL import Image
from scipy.stats import ks_2samp
from torchvision.transforms import RandomResizedCrop

from longtail.data.crops import Crop, Crops, crop_box, crops_from_files, read_crops
from longtail.data.images import open_rgb, read_pixels
from longtail.data.loaders import Feed
from longtail.data.splits import Data, Split
from longtail.data.transforms import normalise, random_flip, random_resized_crop
from longtail.errors import CorruptImage

CPU, SIZE = torch.device("cpu"), 16
COUNT = 11


def photo(height, width, seed=0):
    """Waves and noise, so that neighbouring pixels are alike as in a photograph."""
    y, x = np.mgrid[:height, :width]
    waves = np.stack([np.sin(x / 9 + seed), np.cos(y / 7), np.sin((x + y) / 15)], axis=2)
    noise = np.random.default_rng(seed).normal(0, 10, waves.shape)
    return Image.fromarray((100 + 90 * waves + noise).clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("photos")
    files = [f"{number}.jpg" for number in range(COUNT)]
    for number, file in enumerate(files):
        photo(40 + number, 60, seed=number).save(root / file, quality=95)
    split = Split(files, np.arange(COUNT) % 3, root=root)
    return Data(split, split, ("a", "b", "c"), SIZE, (0.4,) * 3, (0.2,) * 3, fit="short_side", resize=20)


def seeds(epoch=0, count=COUNT):
    return torch.randint(2**63 - 1, (2, count), generator=torch.Generator().manual_seed(epoch))


def batches(data, indices, crops, *, workers=0, **how):
    return list(Feed(data.train, data, CPU, workers=workers).batches(torch.as_tensor(indices), 4, crops=crops, **how))


def images(*args, **how):
    return torch.cat([batch.images for batch in batches(*args, **how)])


def test_the_law_of_a_crop_is_torchvision_s():
    torch.manual_seed(0)
    theirs = [RandomResizedCrop.get_params(torch.empty(3, 75, 100), [0.08, 1], [3 / 4, 4 / 3]) for _ in range(3000)]
    top, left, height, width = np.array(theirs).T
    x, y, w, h = np.array([crop_box(100, 75, (7, number)) for number in range(3000)]).T
    assert ((x >= 0) & (y >= 0) & (x + w <= 100) & (y + h <= 75)).all()
    for own, known in ((w * h, width * height), (w / h, width / height), (x, left), (y, top), (100 - x - w, 100 - left - width)):
        assert ks_2samp(own, known).pvalue > 0.01
    assert ks_2samp(w * h, 1.1 * width * height).pvalue < 0.01, "the test tells a tenth apart"


@pytest.mark.parametrize(("width", "height"), [(300, 9), (8, 300), (1, 50), (50, 1), (1, 1)])
def test_where_no_draw_lies_inside_the_window_is_torchvision_s(width, height):
    top, left, h, w = RandomResizedCrop.get_params(torch.empty(3, height, width), [0.9, 1], [3 / 4, 4 / 3])
    assert crop_box(width, height, (0, 0), (0.9, 1.0)) == (left, top, w, h)


def test_the_area_is_kept():
    shares = np.array([w * h / (90 * 90) for _, _, w, h in (crop_box(90, 90, (n, 0), (0.4, 0.5)) for n in range(200))])
    assert 0.38 < shares.min() < 0.42
    assert 0.48 < shares.max() < 0.52


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_a_crop_is_within_a_level_of_pillow_s(tmp_path, interpolation):
    photo(75, 100).save(tmp_path / "a.png")
    for seed in range(20):
        (crop,) = read_crops(tmp_path / "a.png", 24, Crop(seed, 1, (0.08, 1.0)), interpolation)
        x, y, w, h = crop_box(100, 75, (seed, 0))
        part = photo(75, 100).crop((x, y, x + w, y + h)).resize((24, 24), Image.Resampling[interpolation.upper()])
        apart = np.abs(crop.numpy().astype(int) - np.asarray(part))
        assert apart.max() <= 1
        assert apart.mean() < 0.05


def encoded(image, kind, **options):
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def turned(image):
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(image, "JPEG", exif=exif)


BY_TORCHVISION = {
    "plain": lambda image: encoded(image, "JPEG"),
    "rough": lambda image: encoded(image, "JPEG", quality=5),
    "fine": lambda image: encoded(image, "JPEG", quality=100, subsampling=0),
    "halved": lambda image: encoded(image, "JPEG", subsampling=1),
    "progressive": lambda image: encoded(image, "JPEG", progressive=True, optimize=True),
    "restarting": lambda image: encoded(image, "JPEG", restart_marker_rows=1),
    "profiled": lambda image: encoded(image, "JPEG", icc_profile=b"a" * 70_000),
}
BY_PILLOW = {
    "turned": turned,
    "grey": lambda image: encoded(image.convert("L"), "JPEG"),
    "cmyk": lambda image: encoded(image.convert("CMYK"), "JPEG"),
    "png": lambda image: encoded(image, "PNG"),
    "clear": lambda image: encoded(image.convert("RGBA"), "PNG"),
    "deep": lambda image: encoded(Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 200), "PNG"),
    "palette": lambda image: encoded(image.convert("P"), "GIF"),
}


@pytest.mark.parametrize("kind", [*BY_TORCHVISION, *BY_PILLOW])
def test_both_decoders_give_the_pixels_of_pillow(tmp_path, monkeypatch, kind):
    decoded, decode = [], torchvision.io.decode_jpeg
    monkeypatch.setattr(torchvision.io, "decode_jpeg", lambda content: decoded.append(1) or decode(content))
    path = tmp_path / "a.jpg"
    path.write_bytes((BY_TORCHVISION | BY_PILLOW)[kind](photo(61, 47)))
    assert np.array_equal(read_pixels(path).permute(1, 2, 0).numpy(), np.asarray(open_rgb(path)))
    assert len(decoded) == (kind in BY_TORCHVISION)


@pytest.mark.parametrize("kept", [0, 30, 400, -400, -40])
def test_a_file_that_is_cut_off_is_named(tmp_path, kept):
    path = tmp_path / "a.jpg"
    path.write_bytes(encoded(photo(60, 80), "JPEG")[:kept])
    with pytest.raises(CorruptImage) as pillow:
        open_rgb(path)
    with pytest.raises(CorruptImage) as caught:
        read_pixels(path)
    assert str(caught.value) == str(pillow.value)


def test_crops_replace_the_augmentation_where_the_whole_file_is_not_shown(data):
    crop = partial(random_resized_crop, area=(0.5, 0.9))
    crops, rest = crops_from_files(data, (crop, random_flip), seeds(), views=2)
    assert (crops.area, crops.views, rest) == ((0.5, 0.9), 2, (random_flip,))
    assert crops_from_files(data, (random_resized_crop,), seeds())[0].area == (0.08, 1.0)
    assert crops_from_files(data, (random_flip,), seeds()) == (None, (random_flip,))
    squares = replace(data, fit="pad", resize=None)
    assert crops_from_files(squares, (crop, random_flip), seeds()) == (None, (crop, random_flip))


def test_a_batch_has_the_crops_of_its_positions(data):
    order, crops = [5, 0, 5, 9, 1], Crops(seeds(count=5))
    found = images(data, order, crops)
    paths = [data.train.root / data.train.files[index] for index in order]
    drawn = [read_crops(path, SIZE, Crop(int(seed), 1, (0.08, 1.0))) for path, seed in zip(paths, crops.seeds[0], strict=True)]
    expected = normalise(torch.cat(drawn).permute(0, 3, 1, 2), mean=data.mean, std=data.std)
    assert torch.equal(found, expected)
    assert not torch.equal(found[0], found[2]), "an image that is drawn twice is cropped twice"
    (batch,) = batches(data, [1, 2], Crops(seeds(count=2)))
    assert batch.images.is_contiguous(memory_format=torch.channels_last)


def test_bits_do_not_depend_on_who_reads(data):
    order = torch.randperm(COUNT, generator=torch.Generator().manual_seed(0))
    alone = images(data, order, Crops(seeds()))
    assert torch.equal(alone, images(data, order, Crops(seeds()), workers=2))
    assert not torch.equal(alone, images(data, order, Crops(seeds(epoch=1)), workers=2))
    parts = [images(data, order[rank::2], Crops(seeds()[:, rank::2])) for rank in range(2)]
    assert torch.equal(alone[0::2], parts[0])
    assert torch.equal(alone[1::2], parts[1])


def test_views_and_companions_have_crops_of_their_own(data):
    crops = Crops(seeds(count=4), views=3)
    (batch,) = batches(data, range(4), crops, views=3, companion=torch.arange(4))
    shown = (batch.images, *batch.views)
    assert len(shown) == 3
    assert not any(torch.equal(a, b) for index, a in enumerate(shown) for b in shown[:index])
    assert not torch.equal(batch.images, batch.companion.images)
    assert torch.equal(batch.images, images(data, range(4), Crops(crops.seeds)))
    assert torch.equal(batch.companion.images, images(data, range(4), Crops(crops.seeds.flip(0))))


def test_other_augmentations_follow_the_crop(data):
    generator = torch.Generator().manual_seed(0)
    found = images(data, range(8), Crops(seeds(count=8)), augment=(random_flip,), generator=generator)
    plain, apart = images(data, range(8), Crops(seeds(count=8))), []
    for own, image in zip(found, plain, strict=True):
        apart.append(torch.equal(own, image))
        assert torch.equal(own, image) or torch.equal(own, image.flip(2))
    assert 0 < sum(apart) < 8


@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_file_is_one_sentence(data, tmp_path, workers):
    (tmp_path / "0.jpg").write_bytes(encoded(photo(60, 80), "JPEG")[:-300])
    broken = replace(data, train=Split(["0.jpg"], np.array([0]), root=tmp_path))
    with pytest.raises(CorruptImage, match=r"0\.jpg' cannot be read as an image \(.*finished epochs are kept\.$"):
        batches(broken, [0], Crops(seeds(count=1)), workers=workers)
