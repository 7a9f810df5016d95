"""Defaults for a folder of images: image size, network, epochs, and the sentence that says what was chosen."""

from functools import partial

import pytest
import torch

from commands import paint
from longtail.data.listing import list_images
from longtail.data.symmetry import random_symmetry
from longtail.data.transforms import random_crop, random_flip, random_resized_crop, random_shift
from longtail.errors import BadFolder
from longtail.networks.backbones import CifarResNet
from longtail.networks.timm_backbone import TimmBackbone
from longtail.runs.layout import folder_name
from longtail.workflow import choices, fine_tuning
from longtail.workflow.choices import batch_size, choose, epoch_budget, image_size
from longtail.workflow.request import Request


@pytest.fixture
def on(monkeypatch):
    """Pretends to be on another device."""
    return lambda device: monkeypatch.setattr(choices, "chosen_device", lambda _: device)


@pytest.mark.parametrize(
    ("side", "on_cpu", "on_cuda"),
    [(8, 32, 32), (32, 32, 32), (63, 32, 32), (64, 64, 64), (127, 64, 64), (128, 64, 128), (223, 64, 128), (224, 64, 224)],
)
def test_the_largest_size_not_above_the_median_short_side(side, on_cpu, on_cuda, tmp_path):
    listing = list_images(paint(tmp_path, {"apple": 2, "berry": 1}, size=side))
    assert (image_size(listing, "cpu"), image_size(listing, "cuda")) == (on_cpu, on_cuda)


def test_the_median_not_the_mean_and_the_short_side(tmp_path):
    paint(tmp_path, {"apple": 3}, size=40)
    paint(tmp_path, {"berry": 2}, size=300)
    assert image_size(list_images(tmp_path), "cuda") == 32
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(choices, "short_side", lambda path: 70 if "apple" in str(path) else 300)
        assert image_size(list_images(tmp_path), "cuda") == 64


def test_files_that_cannot_be_read_have_no_size(tmp_path):
    paint(tmp_path, {"apple": 1}, size=130)
    for name in ("a.png", "b.png"):
        (tmp_path / "apple" / name).write_text("text")
    assert image_size(list_images(tmp_path), "cuda") == 128
    (tmp_path / "apple" / "000.png").write_text("text")
    assert image_size(list_images(tmp_path), "cuda") == 32


def test_only_a_sample_is_looked_at(tmp_path, monkeypatch):
    looked = []
    monkeypatch.setattr(choices, "SAMPLE", 5)
    monkeypatch.setattr(choices, "short_side", lambda path: looked.append(path) or 32)
    image_size(list_images(paint(tmp_path, {"apple": 20}, size=2)), "cpu")
    assert len(looked) == 5
    assert looked[-1].name > "015.png", "from the whole list, not from its beginning"


@pytest.mark.parametrize(
    ("images", "on_cpu", "on_cuda"),
    [(10, 200, 200), (2_000, 200, 200), (4_000, 100, 200), (12_500, 32, 200), (50_000, 10, 50), (10**6, 10, 10)],
)
def test_epochs(images, on_cpu, on_cuda):
    assert (epoch_budget(images, "cpu"), epoch_budget(images, "cuda")) == (on_cpu, on_cuda)


@pytest.mark.parametrize(("images", "size"), [(3, 8), (32, 8), (100, 25), (255, 63), (256, 64), (10**6, 64)])
def test_a_batch_is_at_most_a_quarter_of_the_images(images, size):
    assert batch_size(images) == size


@pytest.mark.parametrize(
    ("device", "side", "size", "backbone"),
    [
        ("cpu", 30, 32, partial(CifarResNet, depth=32)),
        ("cpu", 300, 64, partial(CifarResNet, depth=32)),
        ("cuda", 64, 64, partial(CifarResNet, depth=32)),
        ("cuda", 128, 128, partial(TimmBackbone, name="resnet50", pretrained=False, image_size=128)),
    ],
)
def test_a_folder_of_images_of_one_size(device, side, size, backbone, tmp_path, on, monkeypatch):
    """Without a pretrained network, which a GPU has where timm can fetch one: no test asks the network for it."""
    monkeypatch.setattr("longtail.workflow.choices.usual_of", lambda device: (None, ""))
    on(device)
    setting = choose(Request(tmp_path), paint(tmp_path, {"apple": 2, "berry": 2}, size=side)).setting
    assert setting.data.keywords["size"] == size
    assert (setting.backbone.func, setting.backbone.keywords) == (backbone.func, backbone.keywords)
    assert (setting.epochs, setting.name) == (200, tmp_path.name)


def test_test_images_have_no_part_in_epochs_and_batch(tmp_path, on):
    """40 training images beside 5,000 test images: 200 epochs of batches of 10."""
    on("cpu")
    path = paint(tmp_path / "photos", {"apple": 20, "berry": 20}, size=2)
    rows = [f"{name}/{index:03}.png,{name},train" for name in ("apple", "berry") for index in range(20)]
    (path / "list.csv").write_text(
        "\n".join(["path,label,split", *rows, *(f"test/{index}.png,apple,test" for index in range(5000))])
    )
    choice = choose(Request(path, split=path / "list.csv", size=32, skip_corrupt=True), path)
    assert (choice.setting.epochs, choice.setting.batch_size) == (200, 10)


def test_a_large_size_on_a_cpu_gets_a_small_network(tmp_path, on):
    on("cpu")
    choice = choose(Request(tmp_path, size=128), paint(tmp_path, {"apple": 2, "berry": 2}))
    assert choice.setting.backbone.keywords["name"] == "resnet18"
    assert "128x128 pixels (`size`); resnet18 (`backbone`)" in choice.sentence


def test_what_is_asked_for_is_taken(tmp_path, on):
    on("cpu")
    path = paint(tmp_path, {"apple": 10, "berry": 10})
    asked = Request(path, size=9, backbone="resnet20", epochs=7, imbalance=3, split_seed=4, skip_corrupt=True)
    choice = choose(asked, path)
    wanted = {"size": 9, "imbalance": 3, "split_seed": 4, "skip_corrupt": True, "interpolation": "bilinear", "statistics": None}
    assert choice.setting.data.keywords == wanted
    assert (choice.setting.epochs, choice.setting.backbone.keywords) == (7, {"depth": 20})
    assert choice.sentence.startswith("20 % of each class for test (`split_seed=4`, `split=FILE`); 9x9 pixels (`size`); ")
    assert "resnet20 (`backbone`); 7 epochs (`epochs`); standard augmentation (`augment`)" in choice.sentence


@pytest.mark.parametrize(
    ("asked", "shown", "augment"),
    [
        ({}, ("standard", None), (partial(random_crop, padding=4),)),
        ({"symmetry": "mirror"}, ("standard", "mirror"), (partial(random_crop, padding=4), random_flip)),
        ({"size": 128, "symmetry": "square"}, ("standard", "square"), (random_resized_crop, random_symmetry)),
        ({"augment": "light"}, ("light", None), (random_shift,)),
        ({"augment": "none"}, ("none", None), ()),
    ],
    ids=["of a folder", "mirror", "square", "light", "none"],
)
def test_a_folder_is_mirrored_only_where_that_is_asked_for(asked, shown, augment, tmp_path, on):
    on("cpu")
    choice = choose(Request(tmp_path, **asked), paint(tmp_path, {"apple": 2, "berry": 2}, size=32))
    own, wanted = ([name_and_keywords(transform) for transform in each] for each in (choice.setting.augment, augment))
    assert own == wanted
    assert (choice.setting.augmentation, choice.setting.symmetry) == shown
    under = f" under the symmetry {shown[1]}" if "symmetry" in asked else ""
    assert f"{shown[0]} augmentation (`augment`){under}; symmetry (`symmetry`): none for signs, " in choice.sentence


def name_and_keywords(transform):
    return (transform.func, transform.keywords) if isinstance(transform, partial) else (transform, {})


def test_the_split_of_the_folder(tmp_path, on):
    on("cpu")
    for split in ("train", "test"):
        paint(tmp_path / split, {"apple": 2, "berry": 2})
    assert choose(Request(tmp_path), tmp_path).sentence.startswith("the split of the folder; 32x32")


def test_what_cannot_be_trained_on_is_refused_first(tmp_path):
    with pytest.raises(BadFolder, match="has no images"):
        choose(Request(tmp_path), tmp_path)


@pytest.mark.parametrize(
    ("path", "name"),
    [("photos", "photos"), ("my photos/2024", "2024"), ("my photos", "my_photos"), ("é (1)", "é_1_"), ("/", "folder")],
)
def test_the_name_is_safe_for_a_path(path, name):
    assert folder_name(choices.Path(path)) == name


def test_a_csv_is_named_without_its_suffix(tmp_path):
    (tmp_path / "list.v2.csv").write_text("path,label\n")
    assert folder_name(tmp_path / "list.v2.csv") == "list.v2"


def test_looking_for_pretrained_weights_leaves_the_programs_random_numbers_alone(monkeypatch):
    monkeypatch.setattr(fine_tuning, "TimmBackbone", lambda **_: torch.rand(3))
    monkeypatch.setattr(fine_tuning, "_of_timm", lambda name, _: name)
    before = torch.get_rng_state()
    assert fine_tuning.usual_of("cuda") == ("resnet50", "")
    assert torch.equal(torch.get_rng_state(), before)
