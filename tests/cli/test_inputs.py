"""Files as people have them: what a command leaves out, was trained on or cannot print is said, without a traceback."""

import csv
import io
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from commands import longtail, paint, truncated
from longtail.cli.show import fit_output

NAMES = {"a b:0.5": 8, "caf\udce9": 6, "c,d": 5}
SMALL = ("--method", "ce", "--epochs", 1, "--size", 8, "--backbone", "resnet8", "--device", "cpu")


def train(photos, runs, *more):
    return longtail("train", photos, *SMALL, "--runs", runs, *more)


def rows(path):
    with Path(path).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Classes with names that are hard to print and to list, in a folder with a space; and files that are no images by name."""
    root = paint(tmp_path_factory.mktemp("d") / "my photos", NAMES)
    (root / "c,d" / "notes.xyz").write_text("words")
    (root / "c,d" / "000.png").rename(root / "c,d" / "gru\udcdf.png")
    return root


@pytest.fixture(scope="module")
def trained(photos):
    return train(photos, photos.parent / "all runs")


def test_training_names_what_it_left_out(trained):
    assert trained.code == 0, trained.err
    assert "Left out 1 file whose suffix is not that of a readable image: 1 .xyz ('c,d/notes.xyz')." in trained.text


def test_inspect_evaluate_and_predict_name_it_too(photos, trained, tmp_path):
    for said in (
        longtail("inspect", photos),
        longtail("evaluate", trained.folder, photos),
        longtail("predict", trained.folder, photos, "-o", tmp_path / "o.csv"),
    ):
        assert said.code == 0, said.err
        assert "1 .xyz ('c,d/notes.xyz')" in said.text


def test_the_next_command_is_quoted_for_the_shell(photos, trained):
    last = trained.out.splitlines()[-1].partition("  (")[0].removeprefix("Next: ")
    assert shlex.split(last) == ["longtail", "predict", trained.folder, "IMAGES"]
    last = longtail("inspect", photos).out.splitlines()[-1].removeprefix("Next: ")
    assert shlex.split(last) == ["longtail", "train", str(photos)]


def test_names_that_are_not_utf8_come_back(photos, trained, tmp_path):
    again = train(photos, tmp_path, "--split", Path(trained.folder) / "split.csv")
    assert again.code == 0, again.err
    first, second = ((Path(said.folder) / "split.csv").read_bytes() for said in (trained, again))
    assert first == second
    assert b"caf\xe9" in first
    assert b"gru\xdf.png" in first


def test_a_split_is_compared_with_the_images_that_are_there(tmp_path):
    photos = paint(tmp_path / "photos", {"apple": 6, "berry": 4})
    first = train(photos, tmp_path)
    paint(photos, {"apple": 1, "citron": 2}, seed=1)
    again = train(photos, tmp_path, "--split", Path(first.folder) / "split.csv")
    assert f"Left out 2 images in '{photos}' that '{first.folder}/split.csv' does not name (citron/000.png, citron" in again.text
    assert f"These are not the images of '{first.folder}/split.csv': 1 changed image (apple/000.png)." in again.text


def test_top5_can_be_read_whatever_the_names(photos, trained, tmp_path):
    assert longtail("predict", trained.folder, photos, "-o", tmp_path / "o.csv").code == 0
    for row in rows(tmp_path / "o.csv"):
        shares = json.loads(row["top5"])
        assert set(shares) == set(NAMES)
        assert list(shares.values()) == sorted(shares.values(), reverse=True)
        assert max(shares.values()) == pytest.approx(float(row["probability"]), abs=1e-4)
        assert sum(shares.values()) == pytest.approx(1, abs=1e-3)


def test_evaluation_says_that_the_run_was_trained_on_the_images(photos, trained, tmp_path):
    learned = sum(row["split"] == "train" for row in csv.DictReader(_split_of(trained)))
    said = longtail("evaluate", trained.folder, photos).text
    assert f"{learned} of {sum(NAMES.values())} images are among those that the run was trained on, so these results look" in said
    other = paint(tmp_path / "other", {"c,d": 3}, seed=7)
    assert "trained on" not in longtail("evaluate", trained.folder, other).text


def _split_of(said):
    return (Path(said.folder) / "split.csv").read_text(encoding="utf-8", errors="surrogateescape").splitlines()


def test_evaluation_leaves_out_what_cannot_be_read_when_told(trained, tmp_path):
    other = paint(tmp_path / "other", {"c,d": 4}, seed=7)
    truncated(other / "c,d" / "001.png")
    (other / "c,d" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    assert longtail("evaluate", trained.folder, other).sentence.endswith("or leave it out with --skip-corrupt.")
    said = longtail("evaluate", trained.folder, other, "--skip-corrupt")
    assert "Left out 2 files that cannot be read: c,d/001.png, c,d/gone.png" in said.text
    assert "1 of 3 classes, 3 test images" in said.text


def test_evaluation_without_test_images_says_which_folder_to_give(trained, tmp_path):
    paint(tmp_path / "data" / "train", {"c,d": 2})
    said = longtail("evaluate", trained.folder, tmp_path / "data").sentence
    assert f"has images for train and none for test. Give a folder of classes, such as '{tmp_path / 'data' / 'train'}'." in said


def test_a_class_of_almost_the_same_name_is_named(trained, tmp_path):
    said = longtail("evaluate", trained.folder, paint(tmp_path / "x", {"C, D": 1})).sentence
    assert "'c,d' differs from it only in capitals, spaces or Unicode form. Give its folder the name of a class" in said


@pytest.mark.parametrize("command", ["predict", "export"])
def test_an_output_that_ends_as_a_folder_is_no_file(command, photos, trained, tmp_path):
    images = [photos] if command == "predict" else []
    said = longtail(command, trained.folder, *images, "-o", f"{tmp_path}/new/").sentence
    assert said == f"The output '{tmp_path}/new/' is the name of a folder; give that of a file in it with -o."
    assert not (tmp_path / "new").exists()


def test_the_advice_of_inspect_works_for_missing_files_and_broken_links(tmp_path):
    root = paint(tmp_path / "photos", {"apple": 6, "berry": 4})
    (root / "apple" / "gone.png").symlink_to("nowhere.png")
    lines = [f"{c}/{n:03}.png,{c}" for c, k in (("apple", 6), ("berry", 5)) for n in range(k)]
    (root / "d.csv").write_text("\n".join(["path,label", *lines, "apple/gone.png,apple"]))
    for data in (root, root / "d.csv"):
        advice = longtail("inspect", data).out.splitlines()[-1].removeprefix("Next: longtail ")
        assert advice == f"train {data} --skip-corrupt"
        said = longtail(*shlex.split(advice), *SMALL, "--runs", tmp_path / f"runs{data.suffix}")
        assert said.code == 0, said.err
        assert "that cannot be read: " in said.text
        assert len(rows(Path(said.folder) / "split.csv")) == 10


def test_a_sound_image_above_the_limit_is_not_called_corrupt(tmp_path):
    root = paint(tmp_path / "photos", {"apple": 6, "berry": 4})
    Image.new("L", (100, 90)).save(root / "berry" / "scan.png")
    said = train(root, tmp_path, "--max-pixels", 8000).sentence
    assert (
        "scan.png' has 100 x 90 pixels, more than the limit of 8,000. If it is meant to be that large, have it read with " in said
    )
    assert said.endswith("--max-pixels 9000. Else leave it out with --skip-corrupt.")
    seen = longtail("inspect", root, "--max-pixels", 8000)
    assert "Corrupt" not in seen.out
    assert "1 image above the limit of pixels (first 'berry/scan.png': 9,000 pixels)" in seen.text
    assert seen.out.splitlines()[-1] == f"Next: longtail train {root} --max-pixels 9000"
    assert train(root, tmp_path, "--max-pixels", 9000).code == 0


def test_inspect_names_the_step_that_is_needed_before_training(tmp_path):
    root = paint(tmp_path / "photos", {"apple": 4, "berry": 4})
    (root / "durian").mkdir()
    (root / "apple" / "000.png").write_bytes(b"")
    first, command = longtail("inspect", root).out.splitlines()[-2:]
    assert first == "First: add images to the class folder 'durian', or remove it; training refuses it so."
    assert command == f"Next: longtail train {root} --skip-corrupt"
    assert "without readable images: durian" in train(root, tmp_path / "runs", "--skip-corrupt").sentence
    (root / "durian").rmdir()
    assert "First:" not in longtail("inspect", root).out


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ({"train/apple": 4}, "add images of a second class"),
        ({"train/apple": 3, "train/berry": 3, "test/apple": 2, "test/durian": 2}, "add training images of durian, or remove"),
        ({"apple": 1, "berry": 1}, "with one per class none is left for test"),
    ],
)
def test_inspect_names_what_training_would_refuse(tmp_path, counts, said):
    root = paint(tmp_path / "photos", counts)
    assert said in next(line for line in longtail("inspect", root).out.splitlines() if line.startswith("First: "))
    assert train(root, tmp_path).code == 2


def test_images_that_lose_their_contrast_are_named(tmp_path):
    for k, name in enumerate(("cold", "hot")):
        (tmp_path / "thermal" / name).mkdir(parents=True)
        for n in range(3):
            values = 7000 + 200 * k + np.random.default_rng(n).integers(0, 50, (8, 8))
            Image.fromarray(values.astype(np.uint16)).save(tmp_path / "thermal" / name / f"{n}.png")
    sentence = "6 images of more than 8 bits keep little contrast (first 'cold/0.png')"
    assert f"! {sentence}" in longtail("inspect", tmp_path / "thermal").text
    trained = train(tmp_path / "thermal", tmp_path / "runs")
    assert sentence in trained.text
    said = longtail("predict", trained.folder, tmp_path / "thermal", "-o", tmp_path / "a.csv").text
    assert f"6 images of more than 8 bits keep little contrast (first '{tmp_path}/thermal/cold/0.png')" in said


def test_inspect_names_classes_that_look_alike(tmp_path):
    files = [f"{n:03}.png" for n in range(6)]
    paint(tmp_path, {"x": 6})
    labels = ["cat", "Cat", "K\u00e4fer", "Ka\u0308fer", "dog", "cat "]
    lines = (f"x/{file},{label}" for file, label in zip(files, labels, strict=True))
    (tmp_path / "d.csv").write_text("\n".join(["path,label", *lines]), encoding="utf-8")
    said = longtail("inspect", tmp_path / "d.csv").text
    assert "! Classes whose names differ only in capitals, spaces or Unicode form: 'Cat', 'cat'. Give them one name" in said
    assert "'Ka\u0308fer', 'K\u00e4fer'" in said


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "latin-1"])
def test_what_an_encoding_lacks_is_replaced(monkeypatch, encoding):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    fit_output()
    print("\u03b1█ ← ± 猫 ─⠋\u2026")
    stream.flush()
    said = stream.buffer.getvalue().decode(encoding)
    assert said.startswith("\\u03b1# <- ")
    assert "\\u732b -" in said
    assert ("±" in said) == (encoding != "ascii")


@pytest.mark.parametrize("words", [("inspect", "greek"), ("--help",)], ids=lambda words: words[0])
def test_no_encoding_ends_a_command(tmp_path, words):
    paint(tmp_path / "greek", {"\u03b1": 3, "berry": 2})
    given = {**os.environ, "PYTHONIOENCODING": "ascii", "COLUMNS": "80"}
    command = [sys.executable, "-c", "from longtail.cli import main; main()", *words]
    done = subprocess.run(command, capture_output=True, cwd=tmp_path, env=given, check=False)
    assert done.returncode == 0, done.stderr
    if words[0] == "inspect":
        assert b"\\u03b1" in done.stdout
        assert b"###" in done.stdout


def test_long_names_of_classes_are_not_cut(tmp_path):
    name = "a_" * 60
    out = longtail("inspect", paint(tmp_path, {name: 3, "b": 2}), columns=80).out
    assert "…" not in out
    assert name in "".join(out.split())
