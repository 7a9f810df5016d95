"""What is data on a walk through folders and what is not: runs of longtail, unreadable folders, names that a terminal obeys."""

import errno
import os

import pytest
from test_listing import touch

from longtail.data.listing import list_images, unlisted
from longtail.data.walking import some
from longtail.errors import BadFolder, UnreadableFile


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


def test_a_folder_in_which_no_run_has_begun_yet_is_no_class(tmp_path):
    touch(tmp_path, "a/1.png", "b/1.png", "c/data.json")
    (tmp_path / "runs" / "photos").mkdir(parents=True)
    (tmp_path / "runs" / "photos" / "data.json").write_text('{"data": "/x", "classes": []}')
    listing = list_images(touch(tmp_path, "c/1.png"))
    assert (listing.classes, listing.empty_classes) == (("a", "b", "c"), ())
    assert unlisted(listing) == ("c/data.json",)


def test_a_record_that_is_a_pipe_is_not_waited_for(tmp_path):
    touch(tmp_path, "a/1.png", "b/1.png")
    os.mkfifo(tmp_path / "a" / "record.json")
    assert list_images(tmp_path).classes == ("a", "b")


def test_a_class_with_images_and_runs_is_not_left_out_in_silence(tmp_path):
    record(touch(tmp_path, "a/1.png", "b/1.png"), "a/runs/photos/ce/0-abc")
    with pytest.raises(BadFolder, match=r"The class folder '.*/a' has runs of longtail inside; move them to another folder\."):
        list_images(tmp_path)


@pytest.mark.parametrize("runs", ["a/photos/ce/0-abc", "a/runs/photos/ce/0-abc", "a/deep/runs/photos/ce/0-abc", "a", "a/deep"])
def test_a_class_of_nested_images_with_runs_is_not_left_out_in_silence(tmp_path, runs):
    record(touch(tmp_path, "a/deep/1.png", "b/1.png"), runs)
    with pytest.raises(BadFolder, match=r"The class folder '.*/a' has runs of longtail inside"):
        list_images(tmp_path)


def test_a_pipe_in_place_of_a_folder(tmp_path):
    os.mkfifo(tmp_path / "photos")
    with pytest.raises(BadFolder, match=r"photos' is neither a folder nor a CSV\."):
        list_images(tmp_path / "photos")
