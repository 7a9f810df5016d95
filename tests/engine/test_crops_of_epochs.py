"""The crops of an epoch are a function of seed, stage, epoch and position, whatever was trained before."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from longtail import recipes, settings
from longtail.data.loaders import Feed
from longtail.data.splits import Data, Split
from longtail.data.transforms import random_flip, random_resized_crop
from longtail.engine.batches import batch_of, crop_seeds, epoch_chunks, epoch_indices, seed_epoch
from longtail.engine.devices import make_compute
from longtail.spec.experiment import Experiment

AUGMENT = (random_resized_crop, random_flip)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("photos")
    for number in range(9):
        pixels = np.random.default_rng(number).integers(0, 256, (30, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / f"{number}.jpg")
    split = Split([f"{number}.jpg" for number in range(9)], np.arange(9) % 3, root=root)
    return Data(split, split, ("a", "b", "c"), 16, (0.5,) * 3, (0.2,) * 3, fit="short_side", resize=18)


def epoch(data, number, *, method=recipes.ce, seed=0, workers=0, augment=AUGMENT):
    """The images of an epoch and the indices that they are of."""
    setting = replace(settings.digits_lt(), augment=augment, batch_size=4, largest_batch=None)
    experiment, compute = Experiment(method(setting), setting, data, seed), make_compute("cpu", "32-true")
    indices = epoch_indices(experiment, 0, number, experiment.recipe.stages[0].resample)
    feed = Feed(data.train, data, torch.device("cpu"), workers=workers)
    generator = torch.Generator()
    seed_epoch(experiment, 0, number, generator)
    chunks = epoch_chunks(experiment, feed, 0, number, compute, indices)
    return [batch_of(experiment, feed, 0, chunk, generator) for chunk in chunks], experiment


def equal(first, second):
    return all(torch.equal(a.images, b.images) for a, b in zip(first, second, strict=True))


def test_an_epoch_that_is_repeated_has_the_same_bits(data):
    second, _ = epoch(data, 1)
    again, _ = epoch(data, 1, workers=2)
    assert equal(second, again)
    assert not equal(second, epoch(data, 2)[0])
    assert not equal(second, epoch(data, 1, seed=1)[0])
    assert sum(len(batch.labels) for batch in second) == 9


def test_without_the_crop_the_centre_is_read(data):
    (first, *_), _ = epoch(data, 0, augment=())
    cut = Feed(data.train, data, torch.device("cpu"), workers=0)
    shown = torch.cat([batch.images for batch in cut.batches(torch.arange(9), 9)])
    assert all(any(torch.equal(image, other) for other in shown) for image in first.images)


def test_every_position_has_a_number_of_its_own(data):
    _, experiment = epoch(data, 0)
    numbers = torch.stack([crop_seeds(experiment, stage, number) for stage in range(2) for number in range(3)])
    assert numbers.shape == (6, 2, 9)
    assert len(numbers.unique()) == numbers.numel()
    assert int(numbers.min()) >= 0


def test_companions_and_views_are_cropped_too(data):
    with_companion, _ = epoch(data, 0, method=recipes.bbn)
    assert all(batch.companion.images.shape == batch.images.shape for batch in with_companion)
    with_views, _ = epoch(data, 0, method=recipes.hybrid_sc)
    assert all(not torch.equal(batch.images, view) for batch in with_views for view in batch.views)
    assert with_views[0].views
