"""A CSV names each file once, with one class and in one split; and sentences speak of the CSV."""

import pytest
from test_listing import refusal, touch
from test_rows import write_csv

from longtail.data.csv_list import read_csv
from longtail.data.listing import list_images
from longtail.errors import BadFolder

FILES = ("1.png", "2.png", "3.png", "x/4.png")


def of(root, text):
    return list_images(write_csv(root, text, *FILES))


def test_a_row_that_says_the_same_again_counts_once(tmp_path):
    (tmp_path / "x").mkdir()
    touch(tmp_path, *FILES)
    (tmp_path / "y").symlink_to(tmp_path / "x")
    listing = of(tmp_path, "path,label\n1.png,a\n2.png,b\n1.png,a\n./1.png,a\nx/4.png,b\ny/4.png,b\nx//4.png,b\n")
    assert listing.files == ("1.png", "2.png", "x/4.png")
    assert listing.labels == ("a", "b", "b")
    assert listing.notes == ("Left out 4 rows that name a file again (first line 4: '1.png').",)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("path,label\n1.png,a\n./1.png,b\n", "line 3: './1.png' has the label 'b' here and 'a' in line 2; keep one of the rows."),
        (
            "path,label,split\n1.png,a,train\n2.png,b,train\n1.png,a,test\n",
            "line 4: '1.png' has the split test here and train in line 2; keep one of the rows.",
        ),
    ],
)
def test_a_file_has_one_label_and_one_split(tmp_path, text, sentence):
    with pytest.raises(BadFolder) as caught:
        of(tmp_path, text)
    assert str(caught.value) == f"'{tmp_path / 'list.csv'}', {sentence}"
    assert len(read_csv(tmp_path / "list.csv", below=tmp_path, twice_ok=True).files) == text.count("png")


def test_spaces_and_usual_names_of_splits(tmp_path):
    text = " Path , Label , Split\n1.png, a ,Training\n2.png,b\t, TRAIN \n3.png,a,valid\nx/4.png,b,Testing\n"
    listing = of(tmp_path, text)
    assert listing.labels == ("a", "b", "a", "b")
    assert listing.splits == ("train", "train", "val", "test")


def test_a_quoted_cell_may_have_a_space_before_it(tmp_path):
    listing = of(tmp_path, 'path, "label"\n1.png, "a"\n "2.png","a, b"\n3.png,  "a"\n')
    assert listing.files == ("1.png", "2.png", "3.png")
    assert listing.labels == ("a", "a, b", "a")


def test_names_in_longtails_own_list_are_taken_to_the_letter(tmp_path):
    (tmp_path / " 1.png").touch()
    assert of(tmp_path, "path,label,split,content\n 1.png, a,train,\n").files == (" 1.png",)
    assert read_csv(tmp_path / "list.csv", below=tmp_path).labels == (" a",)


@pytest.mark.parametrize("label", ["nan", "NaN", "<NA>", "NULL", " nan "])
def test_a_label_that_stands_for_none_is_refused(tmp_path, label):
    with pytest.raises(BadFolder, match=rf"line 3: the label '{label.strip()}' is how programs write that there is none"):
        of(tmp_path, f"path,label\n1.png,a\n2.png,{label}\n")


@pytest.mark.parametrize("label", ["", "  ", "\t"])
def test_an_empty_label_is_refused(tmp_path, label):
    with pytest.raises(BadFolder, match="line 3: path and label must both be given"):
        of(tmp_path, f"path,label\n1.png,a\n2.png,{label}\n")


def test_val_is_the_test_split_of_a_csv_too(tmp_path):
    listing = of(tmp_path, "path,label,split\n1.png,a,train\n2.png,b,train\n3.png,a,val\n")
    listing.check()
    assert listing.splits == ("train", "train", "test")
    assert listing.notes == (f"The test images are those that '{tmp_path / 'list.csv'}' has for val, since there are no others.",)


def test_what_longtail_wrote_is_taken_as_it_is(tmp_path):
    """A class may be called 'cat ' or nan by its folder; the column content says that the names were not typed."""
    listing = of(tmp_path, "path,label,split,content\n1.png,cat ,train,\n2.png,nan,train,\n3.png,cat ,test,\n")
    assert listing.labels == ("cat ", "nan", "cat ")


def test_names_that_are_not_utf8(tmp_path):
    touch(tmp_path, *FILES)
    (tmp_path / "caf\udce9.png").write_bytes(b"x")
    path = tmp_path / "list.csv"
    path.write_bytes(b"path,label\n1.png,a\ncaf\xe9.png,b\n")
    assert list_images(path).files == ("1.png", "caf\udce9.png")
    path.write_bytes(b"path,label\n1.png,a\n2.png,caf\xe9\n")
    with pytest.raises(BadFolder, match=r"line 3: the label 'caf\\udce9' is not written in UTF-8; save the CSV as UTF-8"):
        list_images(path)
    path.write_bytes(b"path,label,split,content\n1.png,a,train,\n2.png,caf\xe9,train,\n")
    assert list_images(path).labels == ("a", "caf\udce9")


def test_a_path_with_spaces_is_named(tmp_path):
    with pytest.raises(BadFolder, match=r"there is no file '.*/1\.png '\. There is one without the spaces around its name\."):
        of(tmp_path, "path,label\n1.png ,a\n")


def test_a_name_that_begins_with_a_space_is_quoted(tmp_path):
    (tmp_path / " odd.png").touch()
    with pytest.raises(
        BadFolder, match=r"there is no file '.*/odd\.png'\. There is one with a space before its name; put the name in"
    ):
        of(tmp_path, "path,label\n odd.png,a\n")
    assert of(tmp_path, 'path,label\n" odd.png",a\n').files == (" odd.png",)


def test_files_that_are_missing_are_listed_where_they_may_be_left_out(tmp_path):
    path = write_csv(tmp_path, "path,label\n1.png,a\ngone.png,b\n", "1.png")
    assert list_images(path, missing_ok=True).files == ("1.png", "gone.png")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("path,label\n", "'{csv}' has no images. Expected one row path,label[,split] for each image."),
        (
            "path,label\n1.png,a\n",
            "'{csv}' has one class only ('a'); a classifier needs at least two classes in the column label.",
        ),
        (
            "path,label,split\n1.png,a,train\n2.png,b,train\n",
            "'{csv}' has no images for test; it has train. Add some, or leave out the column split to have 20 % of each class "
            "taken for test.",
        ),
        (
            "path,label,split\n1.png,a,train\n2.png,b,train\n3.png,B,test\n",
            "test has the class 'B', which train does not have. Classes of train: a, b. 'b' differs only in capitals, spaces or "
            "Unicode form. Rename it in the CSV, or add training images.",
        ),
    ],
)
def test_sentences_speak_of_the_csv(tmp_path, text, sentence):
    assert refusal(of(tmp_path, text)) == sentence.format(csv=tmp_path / "list.csv")


def test_a_class_that_loses_its_images_is_one_of_the_csv(tmp_path):
    listing = of(tmp_path, "path,label\n1.png,a\n2.png,b\n").without(["2.png"])
    assert refusal(listing) == (
        f"Class without readable images: b. Add images, or remove the rows from '{tmp_path / 'list.csv'}'."
    )
