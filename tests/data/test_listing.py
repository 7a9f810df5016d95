"""Listing: what counts as an image, a class, a split; and the messages on data that cannot be used. No image is opened."""

import errno
import os

import pytest

from longtail.data.listing import class_around, list_images, read_csv, unlisted
from longtail.data.walking import some
from longtail.errors import BadFolder, UnreadableFile
from longtail.runs.files import csv_text
from longtail.text import guarded


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


def unreadable(monkeypatch, folder):
    """Has the system refuse to read one folder, as it refuses users who are not root."""
    scan = os.scandir

    def refusing(path="."):
        if os.fspath(path) == os.fspath(folder):
            raise PermissionError(errno.EACCES, "Permission denied", os.fspath(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refusing)


@pytest.mark.parametrize("folder", [".", "a", "a/deep"])
def test_a_folder_that_cannot_be_read_is_an_error_and_not_a_smaller_data_set(tmp_path, monkeypatch, folder):
    touch(tmp_path, "a/1.png", "a/deep/2.png", "b/1.png")
    unreadable(monkeypatch, tmp_path / folder)
    with pytest.raises(UnreadableFile) as caught:
        list_images(tmp_path)
    assert str(caught.value).startswith(
        f"The folder '{tmp_path / folder}' cannot be read (Permission denied), so the images in it"
    )


def test_a_folder_that_training_does_not_read_is_an_error_in_the_list_of_the_rest(tmp_path, monkeypatch):
    listing = list_images(touch(tmp_path, "train/a/1.png", "train/b/1.png", "test/a/1.png", "more/1.png"))
    unreadable(monkeypatch, tmp_path / "more")
    with pytest.raises(UnreadableFile, match=r"more' cannot be read"):
        unlisted(listing)


@pytest.mark.parametrize(
    ("file", "shown"),
    [
        ("a/\x1b[2J.png", r"The name '\x1b[2J.png' in '{root}/a' has control characters"),
        ("a\nb/1.png", r"The name 'a\nb' in '{root}' has control characters"),
        ("a/x\x7fy/1.png", r"The name 'x\x7fy' in '{root}/a' has control characters"),
        ("a/\x9b31m.png", r"The name '\x9b31m.png' in '{root}/a' has control characters"),
    ],
)
def test_names_that_a_terminal_would_obey_are_refused_and_shown_escaped(tmp_path, file, shown):
    touch(tmp_path, "a/1.png", "b/1.png", file)
    with pytest.raises(BadFolder) as caught:
        list_images(tmp_path)
    assert str(caught.value).startswith(shown.format(root=tmp_path))
    assert str(caught.value).isprintable()


def test_names_of_other_files_and_of_every_language_are_no_matter(tmp_path):
    listing = list_images(
        touch(tmp_path, "a/1.png", "a/notes\x1b.txt", "ÄÖ ü/été.png", "猫/ñ.png", "=1+1/-x.png", "קט\u200f/1.png")
    )
    assert listing.classes == ("=1+1", "a", "ÄÖ ü", "קט\u200f", "猫")


@pytest.mark.parametrize("row", ["1\x1b[2J.png,a", "1.png,a\x07", '"1\n.png",a'])
def test_a_csv_with_control_characters_is_refused(tmp_path, row):
    with pytest.raises(BadFolder, match=r"list\.csv', line [234], has control characters"):
        list_images(write_csv(tmp_path, f"path,label\n1.png,a\n{row}\n", "1.png"))


def outside(tmp_path):
    """A folder with links to files and folders outside and inside, beside a folder with an image."""
    touch(tmp_path, "secret/1.png", "photos/in/1.png", "photos/2.png", "photos_too/1.png")
    (tmp_path / "photos" / "out").symlink_to(tmp_path / "secret")
    (tmp_path / "photos" / "same").symlink_to(tmp_path / "photos" / "in")
    (tmp_path / "photos" / "3.png").symlink_to(tmp_path / "secret" / "1.png")
    (tmp_path / "photos" / "4.png").symlink_to("in/1.png")
    return tmp_path / "photos"


@pytest.mark.parametrize("file", ["../secret/1.png", "in/../2.png", "{root}/2.png", "out/1.png", "3.png", "../photos_too/1.png"])
def test_a_csv_names_files_outside_its_folder_only_when_told(tmp_path, file):
    root = outside(tmp_path)
    file = file.format(root=root)
    path = write_csv(root, f"path,label\n2.png,a\n{file},b\n")
    with pytest.raises(BadFolder) as caught:
        list_images(path)
    assert str(caught.value) == (f"'{path}', line 3: '{file}' lies outside '{root}'; if you trust the list, give `outside=True`.")
    assert list_images(path, outside=True).files == ("2.png", file)
    assert read_csv(path, below=root, outside=True, missing_ok=True).files == ("2.png", file)


@pytest.mark.parametrize("file", ["2.png", "in/1.png", "./in/1.png", "same/1.png", "4.png", "..2.png", "a..b/1.png"])
def test_a_csv_names_any_file_inside_its_folder(tmp_path, file):
    root = outside(tmp_path)
    touch(root, "..2.png", "a..b/1.png")
    assert list_images(write_csv(root, f"path,label\n{file},a\n")).files == (file,)


def test_a_csv_below_a_linked_folder_stays_inside_it(tmp_path):
    root = outside(tmp_path)
    (tmp_path / "link").symlink_to(root)
    assert list_images(write_csv(tmp_path / "link", "path,label\nin/1.png,a\n")).files == ("in/1.png",)


def test_each_folder_of_a_list_is_looked_up_once(tmp_path, monkeypatch):
    text = "path,label\n" + "".join(f"{folder}/{i}.png,{folder}\n" for folder in "abc" for i in range(50))
    path = write_csv(tmp_path, text, *(f"{folder}/{i}.png" for folder in "abc" for i in range(50)))
    real, asked = os.path.realpath, []
    monkeypatch.setattr(os.path, "realpath", lambda place: asked.append(place) or real(place))
    assert len(list_images(path).files) == 150
    assert len(asked) == 4


def test_cells_that_were_guarded_against_spreadsheets_are_read_back(tmp_path):
    files = ["=a/1.png", "-b/2.png", "'=c/3.png", "'d/4.png"]
    text = csv_text(("path", "label"), ((guarded(file), guarded(file.partition("/")[0])) for file in files))
    listing = list_images(write_csv(tmp_path, text, *files))
    assert text.splitlines()[1] == "'=a/1.png,'=a"
    assert listing.files == tuple(files)
    assert listing.labels == ("=a", "-b", "'=c", "'d")


def record(root, folder, content='{"sealed": true, "experiment": "ab", "recipe": {}}'):
    (root / folder).mkdir(parents=True, exist_ok=True)
    (root / folder / "record.json").write_text(content)
    return root


def test_a_folder_of_runs_is_no_class(tmp_path):
    touch(tmp_path, "a/1.png", "b/1.png", "runs/digits/demo.png", "runs/seen.csv", "c/record.json", "d/1.png")
    record(record(tmp_path, "runs/photos/gcl/0-abc"), "x/y")
    record(record(tmp_path, "c", '["experiment", "recipe"]'), "d/deep", '{"experiment": 3}')
    listing = list_images(touch(tmp_path, "c/1.png"))
    assert listing.classes == ("a", "b", "c", "d")
    assert listing.empty_classes == ()
    assert unlisted(listing) == ("c/record.json", "d/deep/record.json")
    listing.check()


def test_a_folder_of_runs_below_train_is_no_class(tmp_path):
    touch(tmp_path, "train/a/1.png", "train/b/1.png", "test/a/1.png", "train/runs/demo/demo.png", "more/1.png", "runs/x/demo.png")
    record(record(tmp_path, "train/runs/photos/ce/0-abc"), "runs/photos/ce/0-abc")
    listing = list_images(tmp_path)
    assert (listing.classes, listing.empty_classes) == (("a", "b"), ())
    assert unlisted(listing) == ("more/1.png",)


def test_a_record_that_is_a_pipe_is_not_waited_for(tmp_path):
    touch(tmp_path, "a/1.png", "b/1.png")
    os.mkfifo(tmp_path / "a" / "record.json")
    assert list_images(tmp_path).classes == ("a", "b")


def test_a_class_with_images_and_runs_is_not_left_out_in_silence(tmp_path):
    record(touch(tmp_path, "a/1.png", "b/1.png"), "a/runs/photos/ce/0-abc")
    with pytest.raises(BadFolder, match=r"The class folder '.*/a' has runs of longtail inside; move them to another folder\."):
        list_images(tmp_path)


@pytest.mark.parametrize("runs", ["a/photos/ce/0-abc", "a/runs/photos/ce/0-abc", "a/deep/runs/photos/ce/0-abc"])
def test_a_class_of_nested_images_with_runs_is_not_left_out_in_silence(tmp_path, runs):
    record(touch(tmp_path, "a/deep/1.png", "b/1.png"), runs)
    with pytest.raises(BadFolder, match=r"The class folder '.*/a' has runs of longtail inside"):
        list_images(tmp_path)


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


def test_a_csv_that_the_system_does_not_read(tmp_path, monkeypatch):
    path = write_csv(tmp_path, "path,label\n")

    def refused(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(type(path), "open", refused)
    with pytest.raises(UnreadableFile, match=r"list\.csv' cannot be read \(Permission denied\)\. Check its permissions"):
        list_images(path)


def test_a_pipe_in_place_of_a_csv(tmp_path):
    os.mkfifo(tmp_path / "a.csv")
    with pytest.raises(BadFolder, match=r"a\.csv' is no regular file; expected a CSV"):
        read_csv(tmp_path / "a.csv", below=tmp_path)


def test_a_pipe_in_place_of_a_folder(tmp_path):
    os.mkfifo(tmp_path / "photos")
    with pytest.raises(BadFolder, match=r"photos' is neither a folder nor a CSV\."):
        list_images(tmp_path / "photos")
