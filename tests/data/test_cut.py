"""How the images of an epoch are cut into batches, and how far ahead files are decoded."""

import pytest
import torch

from commands import paint
from longtail.data import reading
from longtail.data.loaders import Feed, cut
from longtail.data.splits import Data, Split


@pytest.mark.parametrize("total", range(30))
@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_every_image_is_in_one_batch_and_in_training_none_is_alone(total, size):
    sizes = cut(total, size, training=True)
    assert sum(sizes) == total
    assert max(sizes) <= size + (total % size == 1)
    assert min(sizes) > 1 or total < 2 or size == 1
    assert [len(part) for part in torch.arange(total).split(size)] == cut(total, size), "evaluation keeps its batches"
    assert sum(cut(total, size, drop_last=True, training=True)) == (total // size * size or total)


@pytest.mark.parametrize("companion", [False, True])
def test_a_last_image_joins_the_batch_before(companion):
    pixels = torch.arange(9, dtype=torch.uint8)[:, None, None, None].expand(9, 3, 8, 8).contiguous()
    split = Split(tuple("abcdefghi"), torch.arange(9).numpy(), pixels)
    data = Data(split, split, tuple("abcdefghi"), 8, (0.0,) * 3, (1.0,) * 3)
    order = torch.arange(9).flip(0)
    other = torch.arange(9) if companion else None
    batches = list(Feed(split, data, torch.device("cpu")).batches(order, 4, training=True, companion=other))
    assert [batch.labels.tolist() for batch in batches] == [[8, 7, 6, 5], [4, 3, 2, 1, 0]]
    if companion:
        assert [batch.companion.labels.tolist() for batch in batches] == [[0, 1, 2, 3], [4, 5, 6, 7, 8]]
        assert all(len(batch.companion.images) == len(batch.images) for batch in batches)


def test_a_few_files_are_decoded_ahead_and_not_all(tmp_path, monkeypatch):
    paint(tmp_path, {"a": 1})
    opened = []
    monkeypatch.setattr(reading, "read_content", lambda path: opened.append(path) or (tmp_path / "a" / "000.png").read_bytes())
    found = reading.read_all(tmp_path, [f"{n}.png" for n in range(1000)], 8)
    next(found)
    found.close()
    assert len(opened) <= reading.AHEAD + 1
    assert len(list(reading.read_all(tmp_path, [f"{n}.png" for n in range(100)], 8))) == 100
