"""Published lists: small versions of ImageNet-LT, Places-LT and iNaturalist 2018, with their own labels and splits."""

import errno
import json
import pickle
from dataclasses import replace
from pathlib import Path

import pytest

import longtail
from commands import longtail as command
from commands import truncated
from longtail import recipes, settings
from longtail.data.opening import limit_pixels
from longtail.data.published import listed
from longtail.data.published_lists import PUBLISHED
from longtail.data.readers import _Files
from longtail.data.splits import fingerprint, hold_out
from longtail.data.transforms import color_jitter
from longtail.errors import BadFolder, CorruptImage, UnreadableFile
from longtail.recipes.budget import BASE, Budget
from longtail.workflow.checks import check
from longtail.workflow.one_run import prepared, train_one
from longtail.workflow.request import Request
from longtail.workflow.resolve import chosen_setting
from longtail.workflow.watcher import Silent
from small_lists import COUNTS, FOLDERS, lines_of, train

NAMES = tuple(PUBLISHED)
TEST = {"imagenet_lt": "test", "places_lt": "test", "inaturalist2018": "val"}
every_name = pytest.mark.parametrize("name", NAMES)


@pytest.mark.parametrize(
    ("name", "prefix", "classes", "images"),
    [
        ("imagenet_lt", "ImageNet_LT", 1000, (115_846, 20_000, 50_000)),
        ("places_lt", "Places_LT", 365, (62_500, 7_300, 36_500)),
        ("inaturalist2018", "iNaturalist18", 8142, (437_513, 24_426)),
    ],
)
def test_the_published_totals(name, prefix, classes, images):
    published = PUBLISHED[name]
    assert (published.prefix, published.classes, tuple(published.images.values())) == (prefix, classes, images)
    assert published.statistics[0] == ((0.466, 0.471, 0.380) if name == "inaturalist2018" else (0.485, 0.456, 0.406))


@every_name
def test_files_and_labels_are_those_of_the_lists(publish, name):
    read = []
    data = listed(publish(name), name=name, watch=lambda *done: read.append(done))
    assert data.class_counts == [9, 5, 3]
    assert data.train.files[0] == "train/n01/train 0.png"
    assert data.train.labels.tolist() == [0] * 9 + [1] * 5 + [2] * 3
    assert len(data.test) == sum(COUNTS[TEST[name]])
    assert (data.train.root / data.train.files[-1]).is_file()
    assert read[-1] == (len(PUBLISHED[name].images),) * 2
    assert (data.classes, data.size, data.train.pixels) == (FOLDERS, 8, None)


@every_name
def test_the_published_val_list_is_what_a_rule_chooses_on(publish, name):
    data = listed(publish(name), name=name)
    held_out = hold_out(data, 0.2, seed=0)
    if name == "inaturalist2018":
        assert data.val is None
        assert {file.rpartition("/")[2][:3] for file in data.test.files} == {"val"}
        assert len(held_out.val) + len(held_out.train) == len(data.train)
    else:
        assert {file.rpartition("/")[2][:3] for file in data.val.files} == {"val"}
        assert held_out is data


def test_identity_needs_no_image(publish, tmp_path):
    root = publish("imagenet_lt")
    data = listed(root, name="imagenet_lt")
    before = fingerprint(data)
    assert data.train.digests == ()
    (root / "imagenet_lt" / data.train.files[3]).unlink()
    root.rename(tmp_path.parent / f"{tmp_path.name} moved")
    assert fingerprint(listed(tmp_path.parent / f"{tmp_path.name} moved", name="imagenet_lt")) == before


@pytest.mark.parametrize(
    ("folders", "classes"),
    [
        (("a/hotel/indoor", "a/hotel/outdoor", "b/bar"), ("indoor", "outdoor", "bar")),
        (("a/hotel/outdoor", "b/bar/outdoor", "b/bay"), ("0", "1", "2")),
        (("one", "one", "two"), ("0", "1", "2")),
    ],
)
def test_a_class_is_called_as_its_folder_where_that_is_its_own(publish, folders, classes):
    assert listed(publish("places_lt", folders=folders), name="places_lt").classes == classes


def test_labels_need_not_come_in_order(publish):
    swapped = [line[:-1] + "201"[int(line[-1])] for line in lines_of("train")]
    data = listed(publish("places_lt", train=swapped), name="places_lt")
    assert (data.classes, data.class_counts) == (("n02", "n03", "n01"), [5, 3, 9])


def test_a_blank_line_is_no_image(publish):
    assert len(listed(publish("places_lt", train=[*lines_of("train"), "", ""]), name="places_lt").train) == 17


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (
            lines_of("train")[:-1],
            r"ImageNet_LT_train.txt' names 16 images, the published list names 17: get it again from https://.*LT\.",
        ),
        ([], r"names 0 images, the published list names 17"),
        (
            [line.replace(" 2", " 1") for line in lines_of("train")],
            r"has 2 classes from 0 to 1, the published list has 3 from 0 to 2",
        ),
        ([line[:-1] + str(int(line[-1]) + 1) for line in lines_of("train")], r"has 3 classes from 1 to 3, .* has 3 from 0 to 2"),
        (["a/1.jpg 0", "a/2.jpg"], r"line 2: expected a path and a number, as in a/1\.jpg 0; got 'a/2\.jpg'"),
        (["a/1.jpg zero"], r"line 1: expected a path and a number"),
        (["0"], r"line 1: expected a path and a number.* got '0'"),
        (
            ["a/1.jpg 0", "../b/1.jpg 0"],
            r"line 2: '\.\./b/1\.jpg' lies outside '.*imagenet_lt'; get the list again from https://.*data",
        ),
        (["a/../../b/1.jpg 0"], r"line 1: 'a/\.\./\.\./b/1\.jpg' lies outside"),
        (["/etc/1.jpg 0"], r"line 1: '/etc/1\.jpg' lies outside"),
        (["a/\x1b[2J.jpg"], r"got 'a/\\x1b\[2J\.jpg'"),
    ],
    ids=[
        "short",
        "empty",
        "class missing",
        "from one",
        "no label",
        "no number",
        "no path",
        "above",
        "through",
        "absolute",
        "escape",
    ],
)
def test_a_list_that_is_not_the_published_one(publish, lines, said):
    with pytest.raises(BadFolder, match=said):
        listed(publish("imagenet_lt", train=lines), name="imagenet_lt")


@every_name
def test_missing_lists_are_named_with_their_address(tmp_path, name):
    said = command("train", name, "--root", tmp_path, "--method", "ce").sentence
    prefix = PUBLISHED[name].prefix
    assert said.startswith(f"The list '{tmp_path}/{name}/{prefix}_train.txt' is not there: give the folder that has {name}/")
    assert f"classifier-balancing/tree/main/data/{prefix} into {name}/" in said


@pytest.mark.parametrize("index", [0, -1])
def test_missing_images_are_named_with_their_source(publish, index):
    root = publish("imagenet_lt")
    file = root / "imagenet_lt" / lines_of("val")[index].rsplit(" ", 1)[0]
    file.unlink()
    said = rf"'{file}', which ImageNet_LT_val.txt names, is not there: put the images of ILSVRC 2012 .* into '{root}/imagenet_lt'"
    with pytest.raises(FileNotFoundError, match=said):
        listed(root, name="imagenet_lt")


@every_name
def test_the_settings_have_the_budget_of_the_recipes(name):
    setting = settings.NAMED[name]()
    own = Budget(epochs=setting.epochs, batch_size=setting.batch_size, lr=setting.learning_rate)
    assert replace(own, weight_decay=setting.weight_decay, drop_last=True) == BASE[(name, None)]
    assert (setting.name, setting.benchmark, setting.imbalance) == (name, name, None)
    assert (color_jitter in setting.augment) == (name != "inaturalist2018")
    assert setting.data.keywords == {"name": name, "split_seed": 0, "fit": "short_side"}


def test_mislas_trains_large_data_at_its_own_rate():
    stages = [recipes.mislas(settings.NAMED[name]()).stages[0] for name in NAMES]
    assert [(stage.batch_size, stage.optimizer.keywords["lr"]) for stage in stages] == [(256, 0.1)] * 3


@every_name
def test_the_tail_was_published(name):
    with pytest.raises(ValueError, match=f"'{name}' has the long tail that was published and takes no `imbalance`"):
        check(Request(name, imbalance=100))
    check(Request(name))


@pytest.mark.parametrize(
    ("asked", "pretrained"),
    [
        ({"data": "imagenet_lt"}, False),
        ({"data": "inaturalist2018", "pretrained": True}, True),
        ({"data": "places_lt"}, True),
        ({"data": "places_lt", "weights": "resnet152.pth"}, False),
    ],
    ids=str,
)
def test_what_the_backbone_starts_from(asked, pretrained):
    check(Request(**asked))
    setting, _, _ = chosen_setting(Request(**asked))
    network = "resnet152.tv_in1k" if asked["data"] == "places_lt" else "resnet50"
    start = {} if pretrained else {"zero_init_last": False}
    assert setting.backbone.keywords == {"name": network, "pretrained": pretrained, "image_size": 224, **start}


class Breaks(Silent):
    """Cuts an image off once the first epoch's images are read."""

    def __init__(self, path):
        self.path = path

    def step(self, stage, progress):
        if progress.epoch == 0:
            truncated(self.path)


def test_a_run_chooses_on_the_published_val_list(publish, tmp_path):
    result = train(publish("imagenet_lt", paint=True), tmp_path / "runs", method="tau_norm", epochs=1)
    assert result.folder.parent == tmp_path / "runs" / "imagenet_lt" / "tau_norm"
    assert result.report.images == {"train": 17, "val": 6, "test": 9}
    assert set(result.report.chosen) == {"tau"}
    assert [entry.name for entry in result.report.classes] == list(FOLDERS)
    assert longtail.load(result.folder).predict(tmp_path / "imagenet_lt" / "val/n01/test 0.png").label in FOLDERS


def test_no_images_are_held_out_where_a_val_list_is_published(publish, tmp_path):
    with pytest.raises(ValueError, match="'imagenet_lt' comes with 6 validation images of its own; leave out `val`"):
        train(publish("imagenet_lt", paint=True), tmp_path / "runs", method="ce", epochs=1, val=0.1)
    assert not (tmp_path / "runs").exists()


def test_a_corrupt_image_is_named_when_it_is_met_and_the_run_continues(publish, tmp_path):
    root = publish("imagenet_lt", paint=True)
    whole = train(root, tmp_path / "whole", method="gcl", epochs=2)
    path = root / "imagenet_lt" / "train/n02/train 2.png"
    content = path.read_bytes()
    with pytest.raises(CorruptImage, match=f"^'{path}' cannot be read as an image .* finished epochs are kept.$"):
        train(root, tmp_path / "cut", method="gcl", epochs=2, watcher=Breaks(path))
    (folder,) = (tmp_path / "cut" / "imagenet_lt" / "gcl").iterdir()
    assert [json.loads(line)["epoch"] for line in (folder / "log.jsonl").read_text().splitlines()] == [0]
    said = command("train", "imagenet_lt", *OPTIONS, "--root", root, "--runs", tmp_path / "cut").sentence
    assert said.startswith(f"'{path}' cannot be read as an image")
    path.write_bytes(content)
    again = train(root, tmp_path / "cut", method="gcl", epochs=2)
    weights = [result.folder / "model" / "model.safetensors" for result in (whole, again)]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    assert again.report.test == whole.report.test


def test_a_linked_folder_of_images_is_read(publish, tmp_path):
    root = publish("imagenet_lt")
    (root / "imagenet_lt" / "train").rename(tmp_path / "elsewhere")
    (root / "imagenet_lt" / "train").symlink_to(tmp_path / "elsewhere")
    assert len(listed(root, name="imagenet_lt").train) == 17


def test_a_file_that_the_system_does_not_read_is_named_when_it_is_met(publish, tmp_path, monkeypatch):
    root = publish("imagenet_lt", paint=True)
    path, read = root / "imagenet_lt" / "train/n02/train 2.png", Path.read_bytes

    def refused(self):
        if self == path:
            raise PermissionError(errno.EACCES, "Permission denied")
        return read(self)

    monkeypatch.setattr(Path, "read_bytes", refused)
    with pytest.raises(UnreadableFile, match=f"^'{path}' cannot be read .Permission denied.; .* finished epochs are kept.$"):
        train(root, tmp_path / "runs", method="ce", epochs=1)


def test_the_largest_image_is_that_of_the_request_in_every_process(publish, tmp_path):
    """A process that trains one of several seeds is new: it knows the limit by the request alone."""
    root = publish("imagenet_lt", paint=True)
    fixed = {"root": root, "runs": tmp_path / "runs", "backbone": "resnet8", "device": "cpu", "epochs": 1}
    request = Request("imagenet_lt", "ce", **fixed, max_pixels=119)
    setting, data = prepared(request, Silent())
    limit_pixels(None)
    try:
        with pytest.raises(
            CorruptImage, match=r"has 12 x 10 pixels, more than the limit of 119\. .*`max_pixels=120`\. Start the"
        ):
            train_one(request, setting, data, watcher=Silent())
    finally:
        limit_pixels(None)
    assert train_one(replace(request, max_pixels=120), setting, data, watcher=Silent()).report.images["train"] == 17
    limit_pixels(None)


def test_a_worker_that_is_spawned_has_the_limit_of_its_parent(publish):
    data = listed(publish("imagenet_lt", paint=True), name="imagenet_lt")
    limit_pixels(119)
    sent = pickle.dumps(_Files(data.train, data))
    limit_pixels(None)
    try:
        assert isinstance(pickle.loads(sent)[0], CorruptImage)
    finally:
        limit_pixels(None)
    assert _Files(data.train, data)[0].shape == (3, data.size, data.size)


OPTIONS = ("--method", "gcl", "--epochs", 2, "--backbone", "resnet8", "--device", "cpu", "--precision", "32-true")


def test_an_image_that_is_not_there_is_named_when_it_is_met(publish, tmp_path):
    root = publish("imagenet_lt", paint=True)
    path = root / "imagenet_lt" / "train/n02/train 2.png"
    path.unlink()
    with pytest.raises(CorruptImage, match=f"^'{path}' is not there. Put a readable file there"):
        train(root, tmp_path / "runs", method="ce", epochs=1)
