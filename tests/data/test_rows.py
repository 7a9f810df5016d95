"""CSVs that list images: what they may say, and which files they may name."""

import errno
import os

import pytest
from test_listing import refusal, touch, write_csv

from longtail.data.listing import list_images, read_csv
from longtail.errors import BadFolder, UnreadableFile
from longtail.runs.files import csv_text
from longtail.text import guarded


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
        ("path,label, Label\n1.png,a,b\n", "has the column label 2 times; keep the one that is meant."),
        ("path,label\n1.png,a\n2.png,b\n", "line 3: there is no file"),
        ("path,label\n1.png,a\n\n\n2.png,b\n", "line 5: there is no file"),
        ("path,label\n1.png,\n", "line 2: path and label must both be given."),
        ("path,label\n1.png\n", "line 2: path and label must both be given."),
        ("path,label,split\n1.png,a,train\n1.png,a,fold\n", "line 3: split is 'fold'; expected train, val, test."),
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


@pytest.mark.parametrize("file", ["../secret/1.png", "out/1.png", "3.png", "../photos_too/1.png"])
def test_a_csv_names_files_outside_its_folder_only_when_told(tmp_path, file):
    root = outside(tmp_path)
    file = file.format(root=root)
    touch(root, "5.png")
    path = write_csv(root, f"path,label\n5.png,a\n{file},b\n")
    with pytest.raises(BadFolder) as caught:
        list_images(path)
    assert str(caught.value) == (f"'{path}', line 3: '{file}' lies outside '{root}'; if you trust the list, give `outside=True`.")
    assert list_images(path, outside=True).files == ("5.png", file)
    assert read_csv(path, below=root, outside=True, missing_ok=True).files == ("5.png", file)


@pytest.mark.parametrize("file", ["in/../2.png", "{root}/2.png"])
def test_a_csv_names_files_inside_its_folder_relative_to_it_or_is_told(tmp_path, file):
    root = outside(tmp_path)
    file = file.format(root=root)
    path = write_csv(root, f"path,label\n4.png,a\n{file},b\n")
    said = f"'{path}', line 3: '{file}' is absolute, or has `..` in it; name it relative to '{root}', or give `outside=True`."
    with pytest.raises(BadFolder) as caught:
        list_images(path)
    assert str(caught.value) == said
    assert list_images(path, outside=True).files == ("4.png", file)


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
