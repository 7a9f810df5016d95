"""Folders of splits under any usual name, flat ones, links, loops and trash: one idea of the files of a folder."""

import pytest
from test_listing import refusal, touch

from longtail.data.listing import list_images, said_of_unlisted, unlisted
from longtail.data.walking import images_to_predict
from longtail.errors import BadFolder


@pytest.mark.parametrize(
    ("train", "test"),
    [("Training", "Testing"), ("TRAIN", "TEST"), ("train_set", "test_set"), ("train", "valid"), ("Train", "dev")],
)
def test_splits_are_known_by_any_usual_name(tmp_path, train, test):
    listing = list_images(touch(tmp_path, f"{train}/a/1.png", f"{train}/b/1.png", f"{test}/a/2.png"))
    listing.check()
    assert listing.files == (f"{train}/a/1.png", f"{train}/b/1.png", f"{test}/a/2.png")
    assert (listing.splits, listing.classes) == (("train", "train", "test"), ("a", "b"))
    assert listing.called == {"train": train, "test": test}


def test_valid_is_no_test_split_where_there_is_one(tmp_path):
    listing = list_images(touch(tmp_path, "train/a/1.png", "train/b/1.png", "valid/a/2.png", "test/a/3.png"))
    assert (listing.splits, listing.notes) == (("train", "train", "val", "test"), ())


def test_that_val_is_the_test_split_is_said(tmp_path):
    listing = list_images(touch(tmp_path, "train/a/1.png", "train/b/1.png", "valid/a/2.png"))
    assert listing.notes == (f"The test images are those of '{tmp_path / 'valid'}', since there are no others.",)


def test_two_folders_of_one_split_are_refused(tmp_path):
    touch(tmp_path, "train/a/1.png", "val/a/1.png", "valid/a/1.png")
    with pytest.raises(BadFolder, match="has the folders val and valid, which mean the same split; leave one of them there"):
        list_images(tmp_path)


def test_val_and_test_without_train_are_splits_and_no_classes(tmp_path):
    assert "has no images for train; it has val, test." in refusal(list_images(touch(tmp_path, "val/a/1.png", "test/a/1.png")))


def test_a_flat_test_folder_is_said_and_val_takes_its_place(tmp_path):
    listing = list_images(touch(tmp_path, "train/a/1.png", "train/b/1.png", "val/a/2.png", "test/3.png", "test/4.png"))
    listing.check()
    assert listing.splits == ("train", "train", "test")
    flat = f"'{tmp_path / 'test'}' has no class folders, so that nothing says the classes of its 2 images, which are left out."
    assert listing.notes[0] == flat
    assert "have '" not in listing.notes[0]


def test_a_flat_test_folder_alone_is_named_with_what_to_do(tmp_path):
    said = refusal(list_images(touch(tmp_path, "train/a/1.png", "train/b/1.png", "train/b/2.png", "test/3.png")))
    assert f"'{tmp_path / 'test'}' has no class folders" in said
    assert f"give one folder of classes '{tmp_path / 'train'}' to have 20 % of each class taken for test." in said
    list_images(tmp_path / "train").check()


def test_trash_is_nowhere(tmp_path):
    good = ("a/1.png", "b/1.png", "__background__/1.png")
    trash = ("a/@eaDir/1.png/SYNOPHOTO_THUMB_M.jpg", "__MACOSX/a/1.png", "a/__MACOSX/2.png", "b/.ipynb_checkpoints/1.png")
    listing = list_images(touch(tmp_path, *good, *trash, "a/Thumbs.db", "b/desktop.ini", ".Trash-0/files/1.png"))
    assert set(listing.files) == set(good)
    assert unlisted(listing) == ()
    images, others = images_to_predict(tmp_path)
    assert ({path.relative_to(tmp_path).as_posix() for path in images}, others) == (set(good), [])


def test_linked_folders_are_followed_once(tmp_path):
    root = touch(tmp_path / "photos", "a/1.png", "b/1.png")
    touch(tmp_path / "other", "2.png", "deep/3.png")
    (root / "c").symlink_to(tmp_path / "other")
    (root / "a" / "more").symlink_to(tmp_path / "other")
    (root / "a" / "same").symlink_to(tmp_path / "other" / "deep")
    (root / "b" / "own").symlink_to(root / "b")
    listing = list_images(root)
    assert listing.files == ("a/1.png", "a/more/2.png", "a/same/3.png", "b/1.png", "c/2.png", "c/deep/3.png")
    assert unlisted(listing) == ()
    assert len(images_to_predict(root)[0]) == 4, "each real file once"


def test_links_in_a_circle_end(tmp_path):
    root = touch(tmp_path / "photos", "a/1.png", "b/1.png", "a/deep/2.png")
    (root / "all").symlink_to(root)
    (root / "a" / "up").symlink_to(root)
    (root / "a" / "deep" / "back").symlink_to(root / "a")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "in").symlink_to(root)
    (root / "b" / "out").symlink_to(tmp_path / "out")
    assert list_images(root).files == ("a/1.png", "a/deep/2.png", "b/1.png")


def test_a_link_into_a_hidden_folder_of_the_class_is_followed(tmp_path):
    root = touch(tmp_path, "a/.store/1.png", "b/1.png")
    (root / "a" / "now").symlink_to(root / "a" / ".store")
    assert list_images(root).files == ("a/now/1.png", "b/1.png")


def test_a_linked_class_that_is_gone_is_named(tmp_path):
    root = touch(tmp_path, "a/1.png", "b/1.png")
    (root / "lynx").symlink_to(tmp_path / "gone")
    assert unlisted(list_images(root)) == ("lynx",)
    assert "1 without a suffix ('lynx')" in said_of_unlisted(("lynx",))[0]


def test_everything_that_is_left_out_of_a_folder_is_named(tmp_path):
    listing = list_images(touch(tmp_path, "train/a/1.png", "train/b/1.png", "test/a/1.png", "more/x/1.png", "train/a/1.xyz"))
    assert said_of_unlisted(unlisted(listing)) == (
        "Left out 1 image in no class folder (more/x/1.png).",
        "Left out 1 file whose suffix is not that of a readable image: 1 .xyz ('train/a/1.xyz').",
    )


def test_an_empty_class_says_what_it_has_instead(tmp_path):
    said = refusal(list_images(touch(tmp_path, "a/1.png", "b/1.png", "lynx/1.heic2", "lynx/2.heic2")))
    assert said.endswith("2 .heic2 (first 'lynx/1.heic2').")
    said = refusal(list_images(touch(tmp_path / "s", "train/a/1.png", "train/b/1.xyz", "test/a/1.png")))
    assert said.endswith("1 .xyz ('train/b/1.xyz').")


def test_runs_are_not_predicted(tmp_path):
    touch(tmp_path, "a/1.png", "runs/photos/demo.png", "runs/photos/ce/0-abc/figure.png")
    (tmp_path / "runs/photos/ce/0-abc/record.json").write_text('{"experiment": "ab", "recipe": {}}')
    images, others = images_to_predict(tmp_path)
    assert (images, others) == ([tmp_path / "a" / "1.png"], [])
