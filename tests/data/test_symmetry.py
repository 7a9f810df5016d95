"""The symmetries of the square, against numpy's turns and flips of a picture that has none of them."""

from collections import Counter

import numpy as np
import pytest
import torch

from longtail.data.symmetry import check_views, mean_over_views, random_symmetry, views_of
from longtail.data.transforms import normalise
from longtail.errors import UserError

PICTURE = np.array([[1, 2, 4], [8, 16, 32], [64, 128, 255]], dtype=np.uint8)
EIGHT = {np.rot90(side, turns).tobytes() for side in (PICTURE, np.fliplr(PICTURE)) for turns in range(4)}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def pictures(batch):
    return torch.from_numpy(PICTURE).expand(batch, 3, 3, 3)


def drawings(images):
    """The bytes of the first channel of each image, whose channels have to be equal."""
    assert all(torch.equal(image[0], image[1]) and torch.equal(image[0], image[2]) for image in images)
    return [image[0].contiguous().numpy().tobytes() for image in images]


def test_each_of_the_eight_symmetries_comes_as_often():
    counts = Counter(drawings(random_symmetry(pictures(8000), seeded())))
    assert len(EIGHT) == 8
    assert set(counts) == EIGHT
    assert max(abs(count - 1000) for count in counts.values()) < 5 * (8000 * 7 / 64) ** 0.5


def test_random_symmetry_depends_on_its_generator_alone():
    images = torch.randint(256, (40, 3, 5, 5), dtype=torch.uint8, generator=seeded(1))
    before = images.clone()
    once, again, other = (random_symmetry(images, seeded(seed)) for seed in (0, 0, 1))
    assert torch.equal(once, again)
    assert not torch.equal(once, other)
    assert torch.equal(images, before)
    images = images.index_fill(0, torch.tensor([7]), 0)
    others = torch.arange(40) != 7
    assert torch.equal(random_symmetry(images, seeded())[others], once[others]), "no image depends on another"
    assert random_symmetry(images.to("meta")).shape == (40, 3, 5, 5), "nothing is read from the device"


@pytest.mark.parametrize("views", [1, 2, 8])
def test_views_are_the_image_then_its_mirror_image_then_all_symmetries(views):
    found = [drawings(view) for view in views_of(pictures(2), views)]
    assert len(found) == views
    assert all(first == second for first, second in found)
    upright = [PICTURE.tobytes(), np.fliplr(PICTURE).tobytes()]
    assert [first for first, _ in found[:2]] == upright[:views]
    assert {first for first, _ in found} == (EIGHT if views == 8 else set(upright[:views]))


def test_views_stay_channels_last():
    images = normalise(pictures(4), mean=(0.5,) * 3, std=(0.5,) * 3)
    assert all(view.is_contiguous(memory_format=torch.channels_last) for view in views_of(images, 8))


@pytest.mark.parametrize(
    ("views", "first_row"),
    [(1, [1, 2, 4]), (2, [2.5, 2, 2.5]), (8, [81, 42.5, 81])],  # 81 = (1 + 4 + 64 + 255) / 4, 42.5 = (2 + 8 + 32 + 128) / 4
)
def test_the_mean_over_views_by_hand(views, first_row):
    sizes = []

    def forward(images):
        """The first row of each picture, and the mean of its pixels, which no symmetry changes; in half precision."""
        sizes.append(len(images))
        return images[:, 0, 0].half(), images[:, 0].flatten(1).mean(1, keepdim=True).half()

    row, mean = mean_over_views(forward, pictures(2).float(), views)
    assert row.tolist() == [first_row] * 2
    assert mean.tolist() == [[pytest.approx(510 / 9, abs=0.02)]] * 2
    assert torch.equal(mean, forward(pictures(2).float())[1].float()), "exactly the single view's"
    assert (row.dtype, sizes) == (torch.float32, [2] * (views + 1))


@pytest.mark.parametrize("views", [0, 3, -1, 8.0, True, "8", None, [8]])
def test_another_number_of_views_is_refused(views):
    with pytest.raises(UserError, match=r"^`views` must be 1 \(each image\), 2 .* or 8 \(all symmetries of the square\); got "):
        check_views(views)
