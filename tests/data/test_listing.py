"""Listing: what counts as an image, a class, a split; and the messages on data that cannot be used. No image is opened."""

import pytest

from longtail.data.listing import class_around, list_images, unlisted
from longtail.errors import BadFolder


def touch(root, *files):
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes(b"x" * (len(file) + 1))
    return root


def write_csv(root, text, *files):
    touch(root, *files, "list.csv")
    (root / "list.csv").write_text(text, encoding="utf-8")
    return root / "list.csv"


def refusal(listing):
    with pytest.raises(BadFolder) as caught:
        listing.check()
    return str(caught.value)


def test_folder_of_classes(tmp_path):
    listing = list_images(touch(tmp_path, "b/2.png", "b/10.JPG", "a/x.jpeg", "a/deep/y.webp"))
    assert listing.files == ("a/deep/y.webp", "a/x.jpeg", "b/10.JPG", "b/2.png")
    assert listing.labels == ("a", "a", "b", "b")
    assert listing.splits is None
    assert listing.classes == ("a", "b")
    assert listing.sizes == (14, 9, 9, 8)
    listing.check()


def test_hidden_files_and_folders_are_no_data(tmp_path):
    touch(tmp_path, "a/1.png", "b/1.png", ".ipynb_checkpoints/a.png", "a/.ipynb_checkpoints/1-checkpoint.png", "a/._1.png")
    listing = list_images(touch(tmp_path, "__MACOSX/a/1.png", "a/notes.txt", "README.md"))
    assert listing.files == ("a/1.png", "b/1.png")
    assert listing.classes == ("a", "b")


def test_unlisted_are_the_files_that_are_not_used(tmp_path):
    listing = list_images(touch(tmp_path, "a/1.png", "a/notes.txt", "b/1.png", "loose.png", ".hidden", "__MACOSX/x.png"))
    assert unlisted(listing) == ("loose.png", "a/notes.txt")


def test_splits_of_folders(tmp_path):
    listing = list_images(touch(tmp_path, "train/b/1.png", "train/a/1.png", "val/a/2.png", "test/a/3.png"))
    assert listing.files == ("train/a/1.png", "train/b/1.png", "val/a/2.png", "test/a/3.png")
    assert listing.splits == ("train", "train", "val", "test")
    assert listing.labels == ("a", "b", "a", "a")
    listing.check()


def test_val_is_the_test_split_where_there_is_no_other(tmp_path):
    listing = list_images(touch(tmp_path, "train/b/1.png", "train/a/1.png", "val/a/2.png"))
    assert listing.splits == ("train", "train", "test")


def test_a_class_may_be_called_train(tmp_path):
    listing = list_images(touch(tmp_path, "train/1.png", "bus/1.png"))
    assert listing.classes == ("bus", "train")
    assert listing.splits is None


def test_a_class_that_test_lacks_shifts_no_index(tmp_path):
    listing = list_images(touch(tmp_path, "train/a/1.png", "train/b/1.png", "train/c/1.png", "test/a/1.png", "test/c/1.png"))
    listing.check()
    assert listing.classes == ("a", "b", "c")


def test_without(tmp_path):
    listing = list_images(touch(tmp_path, "train/a/1.png", "train/b/1.png", "test/a/1.png")).without(["train/b/1.png"])
    assert listing.files == ("train/a/1.png", "test/a/1.png")
    assert listing.labels == ("a", "a")
    assert listing.splits == ("train", "test")
    assert refusal(listing) == "Class folder without readable images: b. Add images or remove the folder."
    assert list_images(tmp_path).without(["test/a/1.png"]).empty_classes == ()


def test_an_empty_folder(tmp_path):
    assert refusal(list_images(tmp_path)).startswith(f"'{tmp_path}' has no images. Expected one folder per class")


def test_folders_without_any_image(tmp_path):
    assert "has no images" in refusal(list_images(touch(tmp_path, "a/notes.txt", "b/notes.txt")))


def test_a_class_folder_without_images(tmp_path):
    touch(tmp_path, "a/1.png", "b/1.png", "lynx/notes.txt")
    assert refusal(list_images(tmp_path)) == (
        "Class folder without readable images: lynx. Add images or remove the folder. Left out 1 file whose suffix is not that "
        "of a readable image: 1 .txt ('lynx/notes.txt')."
    )


def test_a_training_class_without_images(tmp_path):
    touch(tmp_path, "train/a/1.png", "train/b/1.png", "train/lynx/notes.txt", "test/a/1.png", "test/lynx/1.png")
    assert "without readable images: lynx" in refusal(list_images(tmp_path))


def test_one_class_only(tmp_path):
    assert "has one class only ('a'); a classifier needs at least two" in refusal(list_images(touch(tmp_path, "a/1.png")))


def test_images_without_class_folders(tmp_path):
    with pytest.raises(BadFolder, match=r"has images but no class folders\. Put each class's images into a folder"):
        list_images(touch(tmp_path, "1.png", "2.png"))


def test_a_class_that_train_lacks_is_named(tmp_path):
    touch(tmp_path, "train/cat/1.png", "train/dog/1.png", "test/cat/1.png", "test/Dog/1.png")
    sentence = refusal(list_images(tmp_path))
    assert sentence.startswith("test has the class 'Dog', which train does not have. Classes of train: cat, dog.")


def test_train_without_test(tmp_path):
    sentence = refusal(list_images(touch(tmp_path, "train/a/1.png", "train/b/1.png")))
    assert "has no images for test; it has train. Add some, or give one folder of classes" in sentence


def test_test_without_train(tmp_path):
    listing = list_images(touch(tmp_path, "train/1.png", "test/a/1.png", "test/b/1.png"))
    assert "has no images for train; it has test." in refusal(listing)


def test_a_missing_path_gets_a_suggestion(tmp_path):
    touch(tmp_path, "photos/a/1.png")
    with pytest.raises(BadFolder, match=r"photo' does not exist\. Did you mean photos\?"):
        list_images(tmp_path / "photo")
    with pytest.raises(BadFolder, match=r"zebra' does not exist\. '.*' has photos\."):
        list_images(tmp_path / "zebra")
    with pytest.raises(BadFolder, match=r"Its parent folder '.*nowhere' does not exist either\."):
        list_images(tmp_path / "nowhere" / "photos")


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("a", "a"),
        ("a/runs/photos", "a"),
        ("runs", None),
        (".", None),
        ("..", None),
        ("../elsewhere/a", None),
        ("deep/runs", "deep"),
    ],
)
def test_the_class_around_a_folder(tmp_path, folder, name):
    listing = list_images(touch(tmp_path / "photos", "a/1.png", "b/1.png", "deep/x/1.png", "runs/notes.txt"))
    assert class_around(listing, tmp_path / "photos" / folder) == name


@pytest.mark.parametrize(
    ("folder", "name"), [("train", None), ("train/a/x", "a"), ("test/b", "b"), ("train/runs", None), ("a", None)]
)
def test_the_class_around_a_folder_in_splits(tmp_path, folder, name):
    listing = list_images(touch(tmp_path, "train/a/1.png", "train/b/1.png", "test/b/1.png"))
    assert class_around(listing, tmp_path / folder) == name
