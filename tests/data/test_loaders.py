"""Feed: every index is read once, in the given order; batches from memory and from files are the same."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

from longtail.data.folder import folder_data
from longtail.data.loaders import Feed
from longtail.data.transforms import normalise, random_crop, random_flip, random_resized_crop

CPU = torch.device("cpu")
AUGMENT = (partial(random_crop, padding=1), random_flip)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("photos")
    for label, name in enumerate("abc"):
        (root / name).mkdir()
        for i in range(6):
            pixels = np.random.default_rng((label, i)).integers(0, 256, (9, 7 + i, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{i}.png")
    return folder_data(root, size=8)


def in_memory(data):
    return Feed(data.train, data, CPU)


def in_files(data, workers=0):
    return Feed(replace(data.train, pixels=None), data, CPU, workers=workers)


def equal(first, second):
    pairs = list(zip(first, second, strict=True))
    return all(torch.equal(a.images, b.images) and torch.equal(a.labels, b.labels) for a, b in pairs)


def test_every_index_once_and_in_order(data):
    order = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(0))
    batches = list(in_memory(data).batches(order, 4))
    assert [len(batch.labels) for batch in batches] == [4, 4, 4, 3]
    assert torch.cat([batch.labels for batch in batches]).tolist() == data.train.labels[order.numpy()].tolist()
    expected = normalise(data.train.pixels[order], mean=data.mean, std=data.std)
    assert torch.equal(torch.cat([batch.images for batch in batches]), expected)
    assert batches[0].images.dtype == torch.float32


def test_an_index_may_come_twice(data):
    (batch,) = in_memory(data).batches(torch.tensor([3, 3, 1]), 4)
    assert torch.equal(batch.images[0], batch.images[1])


@pytest.mark.parametrize(("images", "sizes"), [(12, [4, 4, 4]), (14, [4, 4, 4]), (3, [3])])
def test_drop_last_keeps_a_batch_that_is_the_only_one(data, images, sizes):
    batches = in_memory(data).batches(torch.arange(images), 4, drop_last=True)
    assert [len(batch.labels) for batch in batches] == sizes


@pytest.mark.parametrize("workers", [0, 2])
def test_files_give_the_same_batches_as_memory(data, workers):
    order = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(1))
    assert equal(in_memory(data).batches(order, 4), in_files(data, workers).batches(order, 4))
    assert equal(in_memory(data).batches(order, 4, drop_last=True), in_files(data, workers).batches(order, 4, drop_last=True))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("augment", [AUGMENT, (random_resized_crop, random_flip)])
def test_augmentation_depends_on_the_generator_alone(data, augment, workers):
    def batches(feed, seed):
        generator = torch.Generator().manual_seed(seed)
        return list(feed.batches(torch.arange(10), 4, augment=augment, generator=generator))

    assert equal(batches(in_memory(data), 0), batches(in_files(data, workers), 0))
    assert not equal(batches(in_memory(data), 0), batches(in_files(data, workers), 1))


def test_workers_live_on_from_epoch_to_epoch(data):
    memory, files = in_memory(data), in_files(data, workers=2)
    orders = [torch.randperm(len(data.train), generator=torch.Generator().manual_seed(epoch)) for epoch in range(3)]
    assert equal(memory.batches(orders[0], 4), files.batches(orders[0], 4))
    first = [worker.pid for worker in files.loader._iterator._workers]
    next(files.batches(orders[1], 2))
    assert equal(memory.batches(orders[2], 3), files.batches(orders[2], 3))
    assert [worker.pid for worker in files.loader._iterator._workers] == first


def test_one_image_drawn_twice_is_cropped_twice(data):
    generator = torch.Generator().manual_seed(0)
    (batch,) = in_files(data).batches(torch.tensor([3, 3]), 2, augment=(random_resized_crop,), generator=generator)
    assert not torch.equal(batch.images[0], batch.images[1])


def test_a_batch_carries_the_generator_on(data):
    generator = torch.Generator().manual_seed(0)
    assert all(batch.generator is generator for batch in in_memory(data).batches(torch.arange(8), 4, generator=generator))


def test_the_test_split_is_fed_with_the_statistics_of_train(data):
    (batch,) = Feed(data.test, data, CPU).batches(torch.arange(len(data.test)), 100)
    assert torch.equal(batch.images, normalise(data.test.pixels, mean=data.mean, std=data.std))
    assert batch.labels.tolist() == data.test.labels.tolist()
