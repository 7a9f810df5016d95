"""Any folder of images is listed, split, cut and read; a folder that cannot be used is refused with a helpful message."""

from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image

from longtail.data import folder
from longtail.data.folder import folder_data
from longtail.data.images import content_hash
from longtail.data.imbalance import exponential_counts
from longtail.data.splits import fingerprint, pixel_statistics
from longtail.errors import BadFolder
from longtail.runs.run import Run


def paint(root, counts, *, split="", suffix="png", size=(6, 6), first=0):
    """Real images: `counts[name]` of each class, all different."""
    for label, (name, count) in enumerate(counts.items()):
        (root / split / name).mkdir(parents=True, exist_ok=True)
        for i in range(first, first + count):
            pixels = np.random.default_rng((label, i)).integers(0, 256, (*size, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / split / name / f"{i:03}.{suffix}")
    return root


def truncate(path):
    path.write_bytes(path.read_bytes()[:-40])


def counts(split, data):
    return [int(n) for n in np.bincount(split.labels, minlength=len(data.classes))]


def names_agree(data):
    return all(
        data.classes[label] == file.split("/")[-2]
        for split in data.splits.values()
        for file, label in zip(split.files, split.labels, strict=True)
    )


def test_a_fifth_of_each_class_is_for_test(tmp_path):
    data = folder_data(paint(tmp_path, {"b": 20, "a": 6, "pair": 2, "single": 1}), size=6)
    assert data.classes == ("a", "b", "pair", "single")
    assert counts(data.test, data) == [1, 4, 1, 0]
    assert data.class_counts == [5, 16, 1, 1]
    assert sorted((*data.train.files, *data.test.files)) == sorted({*data.train.files, *data.test.files})
    assert len(data.train) + len(data.test) == 29
    assert names_agree(data)


def test_the_split_depends_on_its_seed_alone(tmp_path):
    root = paint(tmp_path, {"a": 15, "b": 15})
    once, again, other = (folder_data(root, size=6, split_seed=seed) for seed in (0, 0, 1))
    assert fingerprint(once) == fingerprint(again) != fingerprint(other)
    assert once.test.files == again.test.files
    assert torch.equal(once.train.pixels, again.train.pixels)


def test_pixels_belong_to_their_files(tmp_path):
    data = folder_data(paint(tmp_path, {"a": 6, "b": 4}), size=6)
    for split in data.splits.values():
        for file, pixels in zip(split.files, split.pixels, strict=True):
            assert np.array_equal(pixels.permute(1, 2, 0).numpy(), np.asarray(Image.open(tmp_path / file)))
    assert (data.mean, data.std) == pixel_statistics(data.train.pixels)
    assert data.train.digests == tuple(content_hash((tmp_path / file).read_bytes()) for file in data.train.files)


def test_every_kind_of_image_in_one_folder(tmp_path):
    root = paint(tmp_path, {"a": 3, "b": 3})
    grey = np.array([[0, 65535], [300, 9]], dtype=np.uint16)
    Image.fromarray(grey).save(root / "a" / "deep.png")
    Image.fromarray(np.zeros((3, 9, 4), dtype=np.uint8)).save(root / "a" / "clear.png")
    Image.fromarray(np.zeros((9, 3), dtype=np.uint8)).convert("P").save(root / "b" / "palette.gif")
    Image.fromarray(np.zeros((40, 30, 3), dtype=np.uint8)).save(root / "b" / "photo.JPEG")
    data = folder_data(root, size=6)
    assert len(data.train) + len(data.test) == 10
    assert data.train.pixels.shape[1:] == (3, 6, 6)


def test_splits_of_folders_are_taken_as_they_are(tmp_path):
    for split, count in (("train", 3), ("val", 1), ("test", 2)):
        paint(tmp_path, {"a": count, "b": count + 1}, split=split)
    data = folder_data(tmp_path, size=6)
    assert {name: counts(split, data) for name, split in data.splits.items()} == {"train": [3, 4], "val": [1, 2], "test": [2, 3]}
    assert names_agree(data)


def test_val_serves_as_test_where_there_is_no_test(tmp_path):
    paint(paint(tmp_path, {"a": 3, "b": 3}, split="train"), {"a": 1, "b": 2}, split="val")
    data = folder_data(tmp_path, size=6)
    assert counts(data.test, data) == [1, 2]
    assert data.val is None


def test_a_class_that_test_lacks_shifts_no_index(tmp_path):
    paint(paint(tmp_path, {"a": 2, "b": 2, "c": 2}, split="train"), {"a": 1, "c": 3}, split="test")
    data = folder_data(tmp_path, size=6)
    assert data.classes == ("a", "b", "c")
    assert counts(data.test, data) == [1, 0, 3]
    assert names_agree(data)


def test_checkpoint_folders_are_no_class(tmp_path):
    root = paint(paint(tmp_path, {"a": 3, "b": 3}), {".ipynb_checkpoints": 2})
    paint(root / "a", {".ipynb_checkpoints": 2})
    data = folder_data(root, size=6)
    assert data.classes == ("a", "b")
    assert len(data.train) + len(data.test) == 6


def test_a_cut_has_the_published_profile(tmp_path):
    data = folder_data(paint(tmp_path, {"a rare one": 13, "common": 40, "middle": 20}), size=6, imbalance=4)
    assert data.class_counts == [8, 32, 16]
    assert sorted(data.class_counts, reverse=True) == exponential_counts(3, 32, 4)
    assert counts(data.test, data) == [3, 8, 4]
    again = folder_data(tmp_path, size=6, imbalance=4)
    assert fingerprint(again) == fingerprint(data)
    assert names_agree(data)


def test_a_cut_that_the_data_do_not_allow_is_refused(tmp_path):
    paint(tmp_path, {"a": 20, "b": 10})
    with pytest.raises(ValueError, match=r"An imbalance of 100 needs at least 200 images in the largest class, but these data"):
        folder_data(tmp_path, size=6, imbalance=100)


def test_a_csv_without_splits_is_split(tmp_path):
    root = paint(tmp_path, {"a": 5, "b": 5})
    rows = [f"{name}/{i:03}.png,{'cat' if name == 'a' else 'dog'}\n" for name in "ab" for i in range(5)]
    (root / "list.csv").write_text("path,label\n" + "".join(rows))
    data = folder_data(root / "list.csv", size=6)
    assert data.classes == ("cat", "dog")
    assert (data.class_counts, counts(data.test, data)) == ([4, 4], [1, 1])


def test_a_csv_with_splits_is_taken_as_it_is(tmp_path):
    root = paint(tmp_path, {"a": 3, "b": 3})
    splits = ("train", "test", "val")
    rows = [f"{name}/{i:03}.png,{name},{splits[i]}\n" for name in "ab" for i in range(3)]
    (root / "list.csv").write_text("path,label,split\n" + "".join(rows))
    data = folder_data(root / "list.csv", size=6)
    assert {name: split.files for name, split in data.splits.items()} == {
        "train": ("a/000.png", "b/000.png"),
        "val": ("a/002.png", "b/002.png"),
        "test": ("a/001.png", "b/001.png"),
    }


@pytest.mark.parametrize("imbalance", [None, 3])
def test_a_stored_split_gives_the_same_split(tmp_path, imbalance):
    root = paint(tmp_path / "photos", {"a": 20, "b": 12})
    data = folder_data(root, size=6, split_seed=3, imbalance=imbalance)
    Run(tmp_path / "run").write_split(data)
    paint(root, {"a": 2, "b": 2}, first=50)
    again = folder_data(root, size=6, split=tmp_path / "run" / "split.csv")
    assert fingerprint(again) == fingerprint(data)
    assert torch.equal(again.train.pixels, data.train.pixels)


def test_a_truncated_file_is_named(tmp_path):
    root = paint(tmp_path, {"a": 4, "b": 4}, suffix="jpg", size=(40, 40))
    truncate(root / "b" / "002.jpg")
    with pytest.raises(BadFolder) as caught:
        folder_data(root, size=6)
    assert str(root / "b" / "002.jpg") in str(caught.value)
    assert "truncated" in str(caught.value)
    assert str(caught.value).endswith("Remove or repair it, or leave it out with `skip_corrupt`.")


def test_words_called_jpg_are_counted_with_the_others(tmp_path):
    root = paint(tmp_path, {"a": 4, "b": 4})
    (root / "a" / "words.jpg").write_text("these are words")
    (root / "b" / "words.jpg").write_text("these are words")
    with pytest.raises(
        BadFolder,
        match=r"words\.jpg' cannot be read .*\(it is no image\)\. 1 more file cannot be read either\. Remove or repair them",
    ):
        folder_data(root, size=6)


def test_corrupt_files_can_be_skipped(tmp_path):
    root = paint(tmp_path, {"a": 5, "b": 5}, suffix="jpg", size=(40, 40))
    whole = folder_data(root, size=6)
    (root / "a" / "words.jpg").write_text("these are words")
    paint(root, {"b": 1}, suffix="jpg", size=(40, 40), first=70)
    truncate(root / "b" / "070.jpg")
    data = folder_data(root, size=6, skip_corrupt=True)
    assert sorted(data.skipped) == ["a/words.jpg", "b/070.jpg"]
    assert fingerprint(data) == fingerprint(whole)
    assert torch.equal(data.test.pixels, whole.test.pixels)


def test_a_cut_draws_no_skipped_file_again(tmp_path):
    root = paint(tmp_path, {"a": 20, "b": 20})
    words = {f"{name}/w{i}.png" for name in "ab" for i in range(10)}
    for file in words:
        (root / file).write_text("these are words")
    data = folder_data(root, size=6, imbalance=2, skip_corrupt=True)
    assert not words & {*data.train.files, *data.test.files}
    assert set(data.skipped) <= words
    assert len(set(data.skipped)) == len(data.skipped)
    assert sorted(data.class_counts, reverse=True) == exponential_counts(2, max(data.class_counts), 2)


def test_skipping_loses_no_class_in_silence(tmp_path):
    root = paint(tmp_path, {"a": 5, "b": 5, "lynx": 0})
    (root / "lynx" / "words.jpg").write_text("these are words")
    with pytest.raises(BadFolder, match=r"Class folder without readable images: lynx\."):
        folder_data(root, size=6, skip_corrupt=True)


def test_folders_that_cannot_be_used(tmp_path):
    with pytest.raises(BadFolder, match="has no images"):
        folder_data(tmp_path, size=6)
    (paint(tmp_path, {"a": 2}) / "b").mkdir()
    with pytest.raises(BadFolder, match="Class folder without readable images: b"):
        folder_data(tmp_path, size=6)
    (tmp_path / "b").rmdir()
    with pytest.raises(BadFolder, match="one class only"):
        folder_data(tmp_path, size=6)
    with pytest.raises(BadFolder, match="does not exist"):
        folder_data(tmp_path / "nothing", size=6)


def test_an_unknown_class_in_test_is_named(tmp_path):
    paint(paint(tmp_path, {"cat": 2, "dog": 2}, split="train"), {"cat": 1, "lynx": 1}, split="test")
    with pytest.raises(BadFolder, match=r"test has the class 'lynx', which train does not have\. Classes of train: cat, dog"):
        folder_data(tmp_path, size=6)


def test_every_file_is_reported_once(tmp_path):
    seen = []
    folder_data(paint(tmp_path, {"a": 5, "b": 5}), size=6, watch=lambda done, files: seen.append((done, files)))
    assert seen == [(i, 10) for i in range(1, 11)]


def test_what_does_not_fit_into_memory_is_left_in_its_files(tmp_path, monkeypatch):
    root = paint(tmp_path, {"a": 10, "b": 10})
    held = folder_data(root, size=6)
    monkeypatch.setattr(folder, "MEMORY_LIMIT", 100)
    left = folder_data(root, size=6)
    assert left.train.pixels is None
    assert left.test.pixels is None
    assert fingerprint(left) == fingerprint(held)
    assert (left.mean, left.std) == (held.mean, held.std)


def test_corrupt_files_are_found_before_training_where_images_do_not_fit(tmp_path, monkeypatch):
    root = paint(tmp_path, {"a": 5, "b": 5})
    (root / "a" / "words.jpg").write_text("these are words")
    monkeypatch.setattr(folder, "MEMORY_LIMIT", 100)
    with pytest.raises(BadFolder, match=r"words\.jpg"):
        folder_data(root, size=6)
    assert folder_data(root, size=6, skip_corrupt=True).skipped == ("a/words.jpg",)


def test_two_classes_that_differ_in_case_stay_two(tmp_path):
    data = folder_data(paint(tmp_path, {"Cat": 3, "cat": 3}), size=6)
    assert data.classes == ("Cat", "cat")
    assert Counter(file.split("/")[0] for file in data.train.files) == {"Cat": 2, "cat": 2}
