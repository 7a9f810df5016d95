"""`longtail data check` on small trees of the published layout: complete, incomplete, of another version."""

import hashlib
import json
import os
from dataclasses import replace

import pytest
from test_published import NAMES, every_name

from commands import longtail as command
from longtail.data import published_lists
from longtail.data.published_check import SetFound, check_published, missing_of
from longtail.data.published_lists import PUBLISHED
from longtail.results import FEW_BELOW, MANY_ABOVE
from small_lists import lines_of

PARTS = ("train", "val", "test")


@pytest.fixture
def tree(publish, monkeypatch):
    """A complete small set whose lists and counts are known, as if those were the published ones."""

    def made(name, **changed):
        root = publish(name)
        known = {part: hashlib.sha256(text(lines_of(part))).hexdigest() for part in PUBLISHED[name].images}
        counts = hashlib.sha256(b"9 5 3").hexdigest()
        theirs = {"groups": (0, 0, 3), "counts": counts, "sha256": known, **changed}
        monkeypatch.setitem(published_lists.PUBLISHED, name, replace(PUBLISHED[name], **theirs))
        return root

    return made


def text(lines):
    return "".join(f"{line}\n" for line in lines).encode()


def check(name, root, *more):
    said = command("data", "check", name, "--root", root, *more, columns=300)
    assert said.err == ""
    return said


@every_name
def test_a_complete_tree(tree, name):
    said = check(name, tree(name))
    assert said.code == 0
    parts = list(PUBLISHED[name].images)
    rows = [line.split() for line in said.out.splitlines() if line.split()[:1] and line.split()[0] in parts]
    totals = {"train": "17", "val": "6", "test": "9"}
    assert rows == [[part, "as", "published", totals[part], totals[part], "0"] for part in parts]
    assert f"training images per class: 9 to 3; many (> {MANY_ABOVE}): 0 classes, published 0" in said.text
    assert f"few (< {FEW_BELOW}): 3 classes, published 3" in said.text
    assert "All images are there." in said.text
    assert f"Next: longtail train {name} --root" in said.text


def test_missing_images_are_counted_and_the_first_are_named(tree):
    root = tree("imagenet_lt")
    folder = root / "imagenet_lt"
    for index in (1, 2, 3, 4):
        (folder / f"train/n02/train {index}.png").unlink()
    (folder / "val/n03/test 0.png").unlink()
    (folder / "val/n03/test 0.png").symlink_to(folder / "nowhere")
    said = check("imagenet_lt", root)
    assert said.code == 1
    missing = "'train/n02/train 1.png', 'train/n02/train 2.png', 'train/n02/train 3.png' and 1 more"
    assert f"! 4 images of ImageNet_LT_train.txt are not in '{folder}': {missing}." in said.out
    assert f"! 1 image of ImageNet_LT_test.txt is not in '{folder}': 'val/n03/test 0.png'." in said.out
    assert "The images are those of ILSVRC 2012 (https://image-net.org; ILSVRC2012_img_train.tar, md5 1d675b47" in said.out
    assert "Next: longtail data check imagenet_lt --root" in said.out


def test_a_set_that_is_not_there(tmp_path):
    for name in NAMES:
        said = check(name, tmp_path)
        prefix, parts = PUBLISHED[name].prefix, list(PUBLISHED[name].images)
        assert said.code == 1
        assert said.out.count("is not there: give the folder that has") == len(parts)
        first = f"'{tmp_path}/{name}/{prefix}_{parts[0]}.txt'"
        assert f"! The list {first} is not there: give the folder that has {name}/ with --root" in said.out


OTHER = {
    "imagenet_lt": ("val/ILSVRC2012_val_00000001.JPEG", "the images of val/ lie loose, as in the archive"),
    "places_lt": ("data_256/a/airfield/00000001.jpg", "data_256/ is of train_256_places365standard.tar"),
    "inaturalist2018": ("train_val2019/Plantae/1.jpg", "train_val2019/ is of iNaturalist 2019"),
}


@every_name
def test_a_tree_of_another_version_is_recognised(tree, name):
    root = tree(name)
    wrong, why = OTHER[name]
    (root / name / wrong).parent.mkdir(parents=True, exist_ok=True)
    (root / name / wrong).touch()
    assert check_published(root, name).problems == ()
    (root / name / "train").rename(root / name / "elsewhere")
    found = check_published(root, name)
    assert [each.missing for each in found.lists if each.part == "train"] == [17]
    assert f"'{root / name}': {why}" in " ".join(found.problems)


def test_an_archive_that_is_not_unpacked_is_named(tree):
    root = tree("places_lt")
    (root / "places_lt" / "places365standard_easyformat.tar").touch()
    (root / "places_lt" / "train").rename(root / "train")
    *_, packed, _ = check_published(root, "places_lt").problems
    assert packed.endswith("has archives, which may not be unpacked: places365standard_easyformat.tar.")


SWAPPED = [*lines_of("train")[1:2], *lines_of("train")[:1], *lines_of("train")[2:]]
OTHER_COUNTS = [line.replace("n01/train 0.png 0", "n01/train 0.png 1") for line in lines_of("train")]


@pytest.mark.parametrize(
    ("lines", "known", "said"),
    [
        (SWAPPED, True, "names other images than the published list, or in another order, though as many"),
        (OTHER_COUNTS, False, "has other numbers of images per class than published"),
        (lines_of("train")[1:], True, "names 16 images, the published list names 17"),
        (["a/1.jpg 99999999999999999999"], True, "line 1: expected a path and a number"),
        (["../1.jpg 0"], True, "lies outside"),
    ],
    ids=["order", "counts", "short", "no label", "above"],
)
def test_a_list_that_differs(tree, lines, known, said):
    root = tree("places_lt", **({} if known else {"sha256": {}}))
    (root / "places_lt" / "Places_LT_train.txt").write_bytes(text(lines))
    found = check_published(root, "places_lt")
    assert len(found.problems) == 1
    assert said in found.problems[0]
    assert found.lists[0].content == ("not readable" if "line 1" in said or "outside" in said else "differs")


def test_a_list_with_line_ends_of_windows_is_the_same(tree):
    root = tree("places_lt")
    (root / "places_lt" / "Places_LT_train.txt").write_bytes(text(lines_of("train")).replace(b"\n", b"\r\n"))
    assert check_published(root, "places_lt").problems == ()


def test_counts_are_compared_where_no_hash_of_the_list_is_known(tree):
    found = check_published(tree("inaturalist2018", sha256={}), "inaturalist2018")
    assert [each.content for each in found.lists] == ["class counts as published", "not compared"]


def test_as_json(tree):
    root = tree("places_lt")
    content = json.loads(check("places_lt", root, "--json").out)
    assert content["lists"][0] == {"part": "train", "images": 17, "missing": 0, "content": "as published"}
    assert (content["counts"], content["groups"], content["problems"]) == ([9, 5, 3], {"many": 0, "medium": 0, "few": 3}, [])


def test_a_name_without_published_lists():
    said = command("data", "check", "cifar10_lt").sentence
    names = "imagenet_lt, places_lt, inaturalist2018"
    assert said.startswith(f"'cifar10_lt' has no published lists to compare with; there are {names}.")


def test_each_folder_is_read_once_and_no_file_is_asked_for(tmp_path, monkeypatch):
    files = [f"{folder}/{index}.jpg" for index in range(10) for folder in range(5)]
    for folder in range(4):
        (tmp_path / str(folder)).mkdir()
    (tmp_path / "3/7.jpg").touch()
    scan, scanned = os.scandir, []
    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", lambda path: scanned.append(path) or scan(path))
        patch.setattr(os, "stat", None)
        missing = list(missing_of(tmp_path, files))
    assert scanned == [tmp_path / str(folder) for folder in range(5)]
    assert sorted(missing) == sorted(set(files) - {"3/7.jpg"})


@pytest.mark.parametrize(("name", "classes"), [("imagenet_lt", 1000), ("places_lt", 365), ("inaturalist2018", 8142)])
def test_the_published_groups_have_all_classes(name, classes):
    assert sum(PUBLISHED[name].groups) == PUBLISHED[name].classes == classes
    assert set(PUBLISHED[name].sha256) <= set(PUBLISHED[name].images)


def test_nothing_is_known_of_a_set_without_lists(tmp_path):
    found = check_published(tmp_path, "places_lt")
    assert isinstance(found, SetFound)
    assert (found.counts, found.groups) == ((), {})
