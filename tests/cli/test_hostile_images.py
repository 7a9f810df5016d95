"""Image files that are none, too large or elsewhere, and runs that lie among the images: each command says so in one sentence."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from commands import longtail, paint
from longtail.data.opening import limit_pixels

SMALL = {"apple": 8, "berry": 4, "citron": 3}
QUICK = ("--method", "ce", "--epochs", 1, "--size", 8, "--backbone", "resnet8", "--device", "cpu")


@pytest.fixture(autouse=True)
def usual_limit():
    yield
    limit_pixels(None)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return paint(tmp_path_factory.mktemp("data") / "photos", SMALL)


@pytest.fixture(scope="module")
def finished(photos, tmp_path_factory):
    return Path(longtail("train", photos, *QUICK, "--runs", tmp_path_factory.mktemp("finished")).folder)


COMMANDS = """
import json, sys
from commands import longtail
said = [longtail(*words) for words in json.loads(sys.argv[1])]
print(json.dumps([(each.code, each.out, each.err) for each in said]))
"""


def test_a_pipe_among_the_images_is_named_and_never_waited_for(finished, tmp_path):
    root = paint(tmp_path / "photos", SMALL)
    os.mkfifo(root / "berry" / "pipe.png")
    words = [
        ("train", root, *QUICK, "--runs", tmp_path / "runs"),
        ("inspect", root),
        ("predict", finished, root, "--output", tmp_path / "out.csv"),
        ("predict", finished, root / "berry" / "pipe.png", "--output", tmp_path / "none.csv"),
    ]
    call = [sys.executable, "-c", COMMANDS, json.dumps([[str(word) for word in each] for each in words])]
    paths = os.pathsep.join(["tests", *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(call, capture_output=True, text=True, timeout=120, check=True, env={**os.environ, "PYTHONPATH": paths})
    trained, inspected, predicted, alone = json.loads(done.stdout)
    said = f"'{root / 'berry' / 'pipe.png'}' cannot be read as an image (it is a pipe)."
    assert trained[0] == 2
    assert trained[2].startswith(f"{said} Remove or repair it, or leave it out with --skip-corrupt.")
    assert inspected[0] == 0
    assert "1 file cannot be read (first 'berry/pipe.png': it is a pipe)" in " ".join(inspected[1].split())
    assert predicted[0] == 0
    assert said in predicted[1]
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 1 + 15
    assert (alone[0], alone[2]) == (2, "The file could not be read as an image.\n")


def test_a_program_called_png_is_not_run(finished, tmp_path):
    root = paint(tmp_path / "photos", SMALL)
    (root / "berry" / "x.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    said = "berry/x.png' cannot be read as an image (it has the format EPS; formats that are read: JPEG, PNG,"
    assert said in longtail("train", root, *QUICK, "--runs", tmp_path / "runs").sentence
    assert said in longtail("predict", finished, root, "--output", tmp_path / "out.csv").text
    assert "x.png (it has the format EPS;" in longtail("inspect", root).text


def test_the_largest_image_is_an_option_of_every_command_that_reads_images(finished, tmp_path):
    root = paint(tmp_path / "photos", SMALL)
    Image.fromarray(np.zeros((20, 30, 3), dtype=np.uint8)).save(root / "berry" / "large.png")
    said = "has 30 x 20 pixels, more than the limit of 599. If it is meant to be that large, have it read with --max-pixels 600."
    few, enough = ("--max-pixels", 599), ("--max-pixels", 600)
    train = ("train", root, *QUICK, "--runs", tmp_path / "runs")
    predict = ("predict", finished, root, "--output", tmp_path / "out.csv")
    assert said in longtail(*train, *few).sentence
    assert said in longtail("evaluate", finished, root, *few).sentence
    assert "(first 'berry/large.png': 600 pixels)" in longtail("inspect", root, *few).text
    assert "has 30 x 20 pixels" in longtail(*predict, *few).text
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 1 + 15
    assert longtail("evaluate", finished, root, *enough).code == 0
    assert "cannot be read" not in longtail("inspect", root, *enough).text
    assert "cannot be read" not in longtail(*predict, *enough).text
    asked, usual = (longtail(*train, *more).folder for more in (enough, ()))
    assert asked == usual
    assert "--max-pixels must be at least 1; got 0." in longtail(*train, "--max-pixels", 0).sentence
    assert "--max-pixels must be at least 1; got -1." in longtail("inspect", root, "--max-pixels", -1).sentence


def test_a_csv_that_names_files_elsewhere_needs_to_be_trusted(photos, finished, tmp_path):
    rows = [f"{file},{file.parent.name}" for file in sorted(photos.rglob("*.png"))]
    (tmp_path / "list.csv").write_text("\n".join(["path,label", *rows]) + "\n")
    said = f"'{tmp_path}/list.csv', line 2: '{photos}/apple/000.png' lies outside '{tmp_path}'; "
    said += "if you trust the list, give --outside."
    train = ("train", tmp_path / "list.csv", *QUICK, "--runs", tmp_path / "runs")
    assert longtail(*train).sentence == said
    assert longtail("inspect", tmp_path / "list.csv").sentence == said
    assert longtail("evaluate", finished, tmp_path / "list.csv").sentence == said
    assert longtail("show", "ce", tmp_path / "list.csv").sentence == said
    assert longtail("inspect", tmp_path / "list.csv", "--outside").code == 0
    assert longtail("evaluate", finished, tmp_path / "list.csv", "--outside").code == 0
    assert longtail("show", "ce", tmp_path / "list.csv", "--outside").code == 0
    split = Path(longtail(*train, "--outside").folder) / "split.csv"
    assert str(photos / "apple" / "000.png") in split.read_text()
    assert "lies outside" in longtail(*train, "--split", split).sentence
    assert longtail(*train, "--split", split, "--outside").code == 0


@pytest.mark.parametrize(
    ("where", "parts"),
    [("inside", [""]), (".", [""]), ("new/deep", [""]), ("inside", ["train", "test"]), ("train/runs", ["train", "test"])],
)
def test_runs_among_the_images_are_no_class(where, parts, tmp_path, monkeypatch):
    root = tmp_path / "photos"
    for seed, part in enumerate(parts):
        paint(root / part, SMALL, seed=seed)
    monkeypatch.chdir(root if where == "inside" else tmp_path)
    data, runs = (".", ()) if where == "inside" else (root, ("--runs", root / where))
    first = longtail("train", data, *QUICK, *runs)
    split = (Path(first.folder) / "split.csv").read_text()
    report = (Path(first.folder) / "report.json").read_bytes()
    again = longtail("train", data, *QUICK, *runs)
    assert again.folder == first.folder
    assert (Path(again.folder) / "split.csv").read_text() == split
    assert (Path(again.folder) / "report.json").read_bytes() == report
    assert "! " not in longtail("inspect", data).out
    assert longtail("train", data, *QUICK, *runs, "--seed", 1).code == 0


@pytest.mark.parametrize(("data", "runs"), [("photos", "photos/berry"), ("photos", "photos/berry/runs"), ("berry", "berry")])
def test_runs_inside_a_class_are_refused_at_once(data, runs, tmp_path):
    root = paint(tmp_path / data, SMALL)
    said = longtail("train", root, *QUICK, "--runs", tmp_path / runs).sentence
    assert said == "The runs would lie in 'berry', a class of the images; choose another folder with --runs DIR."
    assert not list(tmp_path.rglob("*.json"))
