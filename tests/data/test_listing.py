"""Listing: what counts as an image, a class, a split; and the messages on data that cannot be used. No image is opened."""

import pytest

from longtail.data.listing import list_images, read_csv, some, unlisted
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
    assert refusal(list_images(tmp_path)) == "Class folder without readable images: lynx. Add images or remove the folder."


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


def test_csv_without_splits(tmp_path):
    path = write_csv(tmp_path, "\ufeffpath,label\nx/1.png,cat\nx/2.png,dog\n", "x/1.png", "x/2.png")
    listing = list_images(path)
    assert (listing.root, listing.splits) == (tmp_path, None)
    assert listing.files == ("x/1.png", "x/2.png")
    assert listing.labels == ("cat", "dog")


def test_csv_with_splits_and_other_columns(tmp_path):
    text = "id,split,label,path\n7,train,dog,1.png\n8,train,cat,2.png\n9,test,cat,3.png\n"
    listing = list_images(write_csv(tmp_path, text, "1.png", "2.png", "3.png"))
    listing.check()
    assert listing.splits == ("train", "train", "test")
    assert listing.classes == ("cat", "dog")


def test_csv_below_another_folder_or_beside_another_list(tmp_path):
    path = write_csv(tmp_path / "lists", "path,label\n1.png,a\n")
    touch(tmp_path / "photos", "1.png", "all.csv")
    assert read_csv(path, below=tmp_path / "photos").root == tmp_path / "photos"
    assert read_csv(path, below=tmp_path / "photos" / "all.csv").root == tmp_path / "photos"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("file;class\n1.png;a\n", "has the header file;class; expected path,label[,split]."),
        ("", "has the header (none); expected path,label[,split]."),
        ("path,label\n1.png,a\n2.png,b\n", "line 3: there is no file"),
        ("path,label\n1.png,a\n\n\n2.png,b\n", "line 5: there is no file"),
        ("path,label\n1.png,\n", "line 2: path and label must both be given."),
        ("path,label\n1.png\n", "line 2: path and label must both be given."),
        ("path,label,split\n1.png,a,train\n1.png,a,dev\n", "line 3: split is 'dev'; expected train, val, test."),
        ("path,label,split\n1.png,a,train\n1.png,a\n", "line 3: split is ''; expected train, val, test."),
    ],
)
def test_csv_errors_name_the_line(tmp_path, text, sentence):
    path = write_csv(tmp_path, text, "1.png")
    with pytest.raises(BadFolder) as caught:
        list_images(path)
    assert str(caught.value).startswith(f"'{path}'")
    assert sentence in str(caught.value)


def test_csv_of_missing_files_can_be_listed_all_the_same(tmp_path):
    path = write_csv(tmp_path, "path,label\n1.png,a\n2.png,b\n")
    assert read_csv(path, below=tmp_path, missing_ok=True).files == ("1.png", "2.png")


def test_csv_without_rows_has_no_images(tmp_path):
    assert "has no images" in refusal(list_images(write_csv(tmp_path, "path,label,split\n")))


def test_what_is_no_csv(tmp_path):
    (tmp_path / "photo.png").write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(BadFolder, match="is not a CSV in UTF-8"):
        list_images(tmp_path / "photo.png")


def test_a_missing_list_gets_a_suggestion(tmp_path):
    write_csv(tmp_path, "path,label\n")
    with pytest.raises(BadFolder, match=r"lst\.csv' does not exist\. Did you mean list\.csv\?"):
        read_csv(tmp_path / "lst.csv", below=tmp_path)


def test_long_lists_of_names_are_cut():
    assert some("abc") == "a, b, c"
    assert some(str(i) for i in range(15)) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 3 more"
