"""Where predictions are written: through links and pipes, to standard output, and refused before anything is computed."""

import csv
import io
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from commands import longtail
from longtail.data.digits import digits_lt
from longtail.errors import UnwritableFile
from longtail.runs import output

FORMER = Path(__file__).parents[1] / "fixtures" / "runs_0_1_0" / "digits_lt" / "logit_adjusted_post_hoc" / "0-89fc7a"
HEADER = "path,label,probability,top5"
COUNT = 3


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    from torchvision.io import write_png

    folder = tmp_path_factory.mktemp("images")
    for index in range(COUNT):
        write_png(digits_lt().test.pixels[index], str(folder / f"{index}.png"))
    return folder


def rows_of(text):
    assert text.splitlines()[0] == HEADER
    return list(csv.DictReader(io.StringIO(text)))


def predicted(images, target):
    said = longtail("predict", FORMER, images, "-o", target)
    assert said.code == 0, said.err
    return said


@pytest.mark.parametrize("target", ["-", "/dev/stdout"])
def test_standard_output_is_the_csv_alone(images, target):
    said = predicted(images, target)
    assert len(rows_of(said.out)) == COUNT
    assert f"{COUNT} images: standard output" in said.err
    assert "Next: longtail evaluate" in said.err
    assert not Path("-").exists()
    assert longtail("predict", FORMER, images, "-o", os.devnull).out, "the next command prints where it did before"


def test_the_file_behind_a_link_is_replaced_and_the_link_stays(images, tmp_path):
    (tmp_path / "deep").mkdir()
    file, link, way = tmp_path / "deep" / "real.csv", tmp_path / "link.csv", tmp_path / "way.csv"
    file.write_text("before")
    link.symlink_to(file)
    way.symlink_to("link.csv")
    inode = file.stat().st_ino
    predicted(images, way)
    assert (link.is_symlink(), way.is_symlink()) == (True, True)
    assert len(rows_of(file.read_text())) == COUNT
    assert file.stat().st_ino != inode, "it was replaced in one step"
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["real.csv"]


def test_a_link_to_nothing_yet_makes_the_file(images, tmp_path):
    (tmp_path / "link.csv").symlink_to(tmp_path / "new" / "real.csv")
    predicted(images, tmp_path / "link.csv")
    assert len(rows_of((tmp_path / "new" / "real.csv").read_text())) == COUNT
    assert (tmp_path / "link.csv").is_symlink()


def test_a_named_pipe_is_written(images, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    got = []
    reader = threading.Thread(target=lambda: got.append((tmp_path / "pipe").read_text()))
    reader.start()
    predicted(images, tmp_path / "pipe")
    reader.join(10)
    assert len(rows_of(got[0])) == COUNT
    assert (tmp_path / "pipe").is_fifo()


def test_a_device_is_written(images):
    predicted(images, "/dev/null")
    assert Path("/dev/null").is_char_device()


def test_a_file_that_is_open_elsewhere_is_written_and_not_replaced(tmp_path):
    with (tmp_path / "open.csv").open("w+") as file:
        inode = os.fstat(file.fileno()).st_ino
        output.write_output(Path(f"/dev/fd/{file.fileno()}"), "a,b\n")
        assert file.read() == "a,b\n"
    assert (tmp_path / "open.csv").stat().st_ino == inode


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("folder", "folder' cannot be written (Is a directory). It is a folder: give the name of a file"),
        ("to_folder", "to_folder' cannot be written (Is a directory)"),
        ("file/out.csv", "out.csv' cannot be written (Not a directory). Part of the path is a file"),
        ("file/more/out.csv", "out.csv' cannot be written (Not a directory). Part of the path is a file"),
        ("circle", "circle' cannot be written (Too many levels of symbolic links). Its links lead in a circle: mend them"),
        ("circle/out.csv", "Its links lead in a circle: mend them"),
        ("n" * 300, "The name is too long: choose a shorter one"),
    ],
)
def test_a_target_that_cannot_be_written_is_refused_before_the_model_is_loaded(images, tmp_path, monkeypatch, target, words):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("kept")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    (tmp_path / "to_folder").symlink_to(tmp_path / "folder")
    monkeypatch.setattr("longtail.cli.predict.load", lambda *words, **more: pytest.fail("the model was loaded"))
    before = sorted(tmp_path.rglob("*"))
    assert words in longtail("predict", FORMER, images, "-o", tmp_path / target).sentence
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("denied", ["out.csv", "."])
def test_a_file_or_folder_without_permission_is_refused(tmp_path, monkeypatch, denied):
    (tmp_path / "out.csv").write_text("kept")
    allowed = os.access
    monkeypatch.setattr(os, "access", lambda path, how: Path(path) != tmp_path / denied and allowed(path, how))
    with pytest.raises(UnwritableFile, match=r"out\.csv' cannot be written \(Permission denied\)\. Allow this user to write it"):
        output.check_output(tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text() == "kept"


def test_a_folder_that_cannot_be_made_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, how: False)
    with pytest.raises(UnwritableFile, match="Permission denied"):
        output.check_output(tmp_path / "new" / "out.csv")
    assert not (tmp_path / "new").exists()


def test_a_disk_that_fails_while_a_pipe_is_written_is_a_sentence(monkeypatch):
    monkeypatch.setattr(os, "write", lambda handle, content: (_ for _ in ()).throw(OSError(5, "Input/output error")))
    with pytest.raises(UnwritableFile, match="The disk or the connection to it fails"):
        output.write_output(Path("/dev/null"), "a\n")


@pytest.mark.parametrize("target", ["-", "/dev/stdout"])
def test_a_reader_that_stops_ends_the_command_quietly(images, target):
    code = "import sys; from longtail.cli import main; sys.argv[0] = 'longtail'; main()"
    command = [sys.executable, "-c", code, "predict", FORMER, images, "-o", target]
    process = subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.close()
    said = process.stderr.read()
    process.stderr.close()
    assert process.wait() == 1
    assert said == ""


def test_an_image_or_a_file_of_the_run_is_not_replaced(images, tmp_path):
    run = Path(shutil.copytree(FORMER, tmp_path / "run"))
    image, split = tmp_path / "image.png", run / "split.csv"
    shutil.copy(next(images.rglob("*.png")), image)
    before = image.read_bytes(), split.read_bytes()
    said = longtail("predict", run, image, "-o", image).sentence
    assert said == f"The output '{image}' is one of the images; give the name of another file with -o."
    said = longtail("predict", run, image, "-o", split).sentence
    assert said == f"The output '{split}' is a file of the run; give the name of another file with -o."
    assert (image.read_bytes(), split.read_bytes()) == before
    assert longtail("predict", run, image).code == longtail("predict", run, image).code == 0


# --- Devices ---------------------------------------------------------------------------------------------------------------


def test_predict_and_evaluate_compute_on_the_device_that_is_asked_for(images, tmp_path, monkeypatch):
    asked = []
    for module in ("runs.serving", "cli.evaluate"):
        monkeypatch.setattr(f"longtail.{module}.chosen_device", lambda device: asked.append(device) or "cpu")
    predicted(images, tmp_path / "a.csv")
    assert longtail("predict", FORMER, images, "-o", tmp_path / "b.csv", "--device", "cuda").code == 0
    assert asked == ["auto", "cuda"]
    assert (tmp_path / "a.csv").read_text() == (tmp_path / "b.csv").read_text()
    assert longtail("evaluate", FORMER, "--device", "cuda").code == 0
    assert asked == ["auto", "cuda", "cuda"]


@pytest.mark.parametrize("words", [("predict", FORMER, FORMER), ("evaluate", FORMER), ("evaluate", FORMER, FORMER)], ids=str)
def test_a_device_that_does_not_exist_is_refused(words):
    assert (
        longtail(*words, "--device", "gpu").sentence
        == "There is no device 'gpu'. Did you mean 'cpu'? There are: auto, cpu, cuda."
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA is here")
@pytest.mark.parametrize("words", [("predict", FORMER, FORMER), ("evaluate", FORMER)], ids=str)
def test_cuda_where_there_is_none_is_refused_as_in_training(words):
    sentence = longtail(*words, "--device", "cuda").sentence
    assert sentence.startswith("CUDA is not available: ")
    assert sentence.endswith("Use the CPU with --device cpu.")
