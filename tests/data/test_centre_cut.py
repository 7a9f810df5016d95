"""Test images as published: the shorter side is resized, the centre is cut out. Runs and stored models read images so as well."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

import longtail
from commands import longtail as command
from longtail import settings
from longtail.data.images import read_cut
from longtail.data.loaders import Feed
from longtail.data.published import listed
from longtail.data.squares import as_tensor, centre_cut, squared
from longtail.errors import UserError
from longtail.runs.model_config import checked_values, square_of
from longtail.spec.description import describe
from longtail.workflow.checks import check
from longtail.workflow.request import Request
from longtail.workflow.resolve import chosen_setting
from small_lists import train


def photo(height, width):
    """Waves and noise, so that neighbouring pixels are alike as in a photograph."""
    y, x = np.mgrid[:height, :width]
    waves = np.stack([np.sin(x / 9), np.cos(y / 7), np.sin((x + y) / 15)], axis=2)
    noise = np.random.default_rng(0).normal(0, 10, waves.shape)
    return Image.fromarray((100 + 90 * waves + noise).clip(0, 255).astype(np.uint8))


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(75, 100), (101, 76), (48, 48), (20, 31), (200, 60)])
def test_the_cut_is_torchvision_s(size, interpolation):
    image = photo(*size)
    theirs = Compose([Resize(48, InterpolationMode(interpolation)), CenterCrop(42)])(image)
    apart = np.abs(np.asarray(centre_cut(image, 42, 48, interpolation)).astype(int) - np.asarray(theirs))
    assert apart.max() <= 1
    assert (apart > 0).mean() < 0.01 or min(size) < 48


def test_a_file_is_cut_at_its_centre(tmp_path):
    pixels = np.zeros((40, 60, 3), dtype=np.uint8)
    pixels[4:36, 14:46] = 200
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert (read_cut(tmp_path / "a.png", 32, 40) == 200).all()


def test_training_and_evaluation_read_the_cut(publish):
    root = publish("imagenet_lt", paint=True)
    data = listed(root, name="imagenet_lt", fit="short_side")
    assert (data.size, data.fit, data.resize) == (8, "short_side", 9)
    assert listed(root, name="imagenet_lt").resize is None
    batch = next(Feed(data.test, data, torch.device("cpu"), workers=0).batches(torch.tensor([2]), 1))
    cut = read_cut(data.test.root / data.test.files[2], 8, 9).float() / 255
    mean, std = (torch.tensor(each)[:, None, None] for each in (data.mean, data.std))
    assert torch.allclose(batch.images[0], (cut - mean) / std, atol=1e-5)


def test_a_stored_model_cuts_images_as_its_run_did(publish, tmp_path):
    root = publish("imagenet_lt", paint=True)
    result = train(root, tmp_path / "runs", method="ce", epochs=1)
    predictor = longtail.load(result.folder, device="cpu")
    assert square_of(predictor.config) == {"size": 8, "interpolation": "bilinear", "fit": "short_side", "resize": 9}
    path = root / "imagenet_lt" / "val/n01/test 0.png"
    scores = predictor.scores(read_cut(path, 8, 9)[None]).softmax(1)[0]
    alone = predictor.predict(path)
    assert alone.probabilities == dict(zip(predictor.classes, scores.tolist(), strict=True))
    assert [found.probabilities for _, found in predictor.read([path])] == [alone.probabilities]
    assert not torch.equal(read_cut(path, 8, 9), as_tensor(squared(Image.open(path), 8)))


WRONG = [("pad", 9), ("short_side", None), ("short_side", 7), ("short_side", 9.5), ("round", None)]
FAULT = r"'fit' has to be one of pad, short_side|'resize' has to be null .* from the size to 2048"


@pytest.mark.parametrize(("fit", "resize"), WRONG)
def test_a_model_that_does_not_say_how_images_become_squares_is_refused(fit, resize):
    values = {"classes": ["a"], "class_counts": [1], "size": 8, "mean": [0, 0, 0], "std": [1, 1, 1]}
    parts = {"backbone": {}, "wrapper": None, "head": {}, "stages": [], "inference": {}}
    assert checked_values({"longtail": {**values, **parts, "fit": "short_side", "resize": 9}})["resize"] == 9
    assert checked_values({"longtail": {**values, **parts}})["fit"] == "pad"
    with pytest.raises(UserError, match=FAULT):
        checked_values({"longtail": {**values, **parts, "fit": fit, "resize": resize}})


def test_the_length_of_the_shorter_side_belongs_to_the_cut(publish):
    data = listed(publish("imagenet_lt"), name="imagenet_lt")
    for wrong in ({"resize": 9}, {"fit": "short_side"}, {"fit": "short_side", "resize": 7}):
        with pytest.raises(UserError, match="`resize` is for fit='short_side', and at least the size of the cut, 8"):
            replace(data, **wrong)


def test_the_padded_square_is_an_option_and_the_experiment_of_before():
    padded = chosen_setting(Request("imagenet_lt", fit="pad"))[0]
    assert describe(padded.data) == {"call": "longtail.data.lists.listed", "name": "imagenet_lt", "split_seed": 0}
    assert describe(settings.imagenet_lt().data)["fit"] == "short_side"


def test_a_way_of_fitting_that_does_not_exist_or_does_not_apply(tmp_path):
    with pytest.raises(UserError, match=r"no fit 'crop'\. There are: pad, short_side"):
        check(Request("imagenet_lt", fit="crop"))
    said = command("train", "cifar10_lt", "--fit", "pad", "--root", tmp_path).sentence
    assert said == "--fit is for settings of published lists, such as imagenet_lt; leave it out for 'cifar10_lt'."
