"""Reports at the end of commands, and `longtail report`."""

import csv
import json
import os
import shlex
from pathlib import Path

import pytest

from commands import longtail, paint
from made_runs import made_run

COUNTS = {"apple": 30, "berry": 8, "citron": 5}
QUICK = ("--epochs", 1, "--size", 8, "--backbone", "resnet8", "--device", "cpu", "--symmetry", "none")


@pytest.fixture(autouse=True)
def _reports(monkeypatch):
    monkeypatch.delenv("LONGTAIL_REPORT")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """What `longtail train` said at two seeds, with its folder of runs."""
    root = tmp_path_factory.mktemp("trained")
    photos = paint(root / "my photos", COUNTS)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("LONGTAIL_REPORT")
        words = ("train", photos, "--method", "ce", "--seeds", 2, "--jobs", 1, "--runs", root / "runs", *QUICK)
        return longtail(*words), root


def reported(said):
    """The page that a command named."""
    assert said.code == 0, said.err
    (line,) = [line for line in said.out.splitlines() if line.startswith("Report: ")]
    return Path(line.removeprefix("Report: "))


def test_train_writes_one_report_of_all_its_seeds(trained):
    said, _ = trained
    page = reported(said)
    assert page == Path(said.folder) / "report.html"
    assert "ce at 2 seeds, mean recall in %" in page.read_text()
    with (page.with_suffix("") / "facts.csv").open(newline="") as file:
        (command,) = [row for row in csv.DictReader(file) if row["fact"] == "command"]
    assert command["ce, seed 1"].startswith("longtail train '")
    assert command["ce, seed 1"].endswith(
        "/my photos' --method ce --size 8 --backbone resnet8 --symmetry none --epochs 1 --seed 1 --device cpu"
    )


def test_the_recorded_command_finds_the_run_again(trained):
    said, root = trained
    record = json.loads((Path(said.folder) / "record.json").read_text())
    again = longtail(*shlex.split(record["command"])[1:], "--runs", root / "runs", "--no-report")
    assert again.folder == said.folder
    assert "is read back" in again.text
    assert "Report:" not in again.out


def test_images_are_shown_where_they_are_known_and_wanted(trained, tmp_path):
    said, root = trained
    of_training = reported(said).read_text()
    asked = ("report", said.folder, "-o", tmp_path / "page.html", "--device", "cpu")
    with_images, without = (
        reported(longtail(*asked, "--images", root / "my photos", *more)).read_text() for more in ((), ("--no-images",))
    )
    assert [page.count("data:image/jpeg") > 0 for page in (of_training, with_images, without)] == [True, True, False]
    assert "t-SNE" in reported(longtail(*asked, "--tsne", "auto")).read_text()


def test_a_prior_adjusts_the_scores_and_is_said(trained, tmp_path):
    said, _ = trained
    page = reported(longtail("report", said.folder, "--prior", "uniform", "-o", tmp_path / "page.html")).read_text()
    assert "ce: Scores are adjusted to the class prior &#39;uniform&#39;" in page
    assert "adjusted to the class prior" not in reported(said).read_text()
    again = reported(longtail("evaluate", said.folder, "--prior", "uniform")).read_text()
    assert "ce: Scores are adjusted to the class prior &#39;uniform&#39;" in again
    assert "adjusted to the class prior" not in reported(longtail("evaluate", said.folder)).read_text()


def test_evaluate_writes_a_page_with_its_groups_beside_that_of_the_training(trained):
    said, root = trained
    before = reported(said).read_text()
    page = reported(longtail("evaluate", said.folder, "--groups", "auto"))
    assert page == Path(said.folder) / "evaluation.html"
    assert (Path(said.folder) / "report.html").read_text() == before
    assert "many (a third of the classes)" in page.read_text()
    assert "Report:" not in longtail("evaluate", said.folder, root / "my photos").out, "of other images nothing is stored"


def test_a_page_of_other_images_is_refused_where_it_is_asked_for(trained, monkeypatch):
    said, root = trained
    photos = root / "my photos"
    sentence = longtail("evaluate", said.folder, photos, "--report").sentence
    assert sentence == f"A page is written of the run's own test images only; leave out --report, or '{photos}'."
    monkeypatch.setenv("LONGTAIL_REPORT", "1")
    assert longtail("evaluate", said.folder, photos).code == 0, "a wish for all commands is none for this one"
    assert "RUN/evaluation.html" in longtail("evaluate", "--help").out


def test_the_environment_turns_reports_off(trained, monkeypatch):
    said, _ = trained
    monkeypatch.setenv("LONGTAIL_REPORT", "0")
    assert "Report:" not in longtail("evaluate", said.folder).out
    assert "Report:" in longtail("evaluate", said.folder, "--report").out


def test_a_report_that_cannot_be_written_is_one_sentence_and_no_error(trained, tmp_path):
    """A file lies where the folder of the figures would be; permissions would not stop the superuser."""
    run = made_run(tmp_path / "run", [500, 5], [0, 1], [0, 1])
    (run / "evaluation").write_text("mine")
    said = longtail("evaluate", run)
    assert said.code == 0
    assert "No report: " in said.text
    assert "The results are stored." in said.text
    assert "Run folder: " in said.out
    assert (run / "evaluation").read_text() == "mine"


def test_report_shows_runs_side_by_side_where_it_is_told(tmp_path):
    runs = [made_run(tmp_path / method, [500, 50, 5], [0, 1, 2], [0, 1, 0], method=method) for method in ("ce", "gcl")]
    page = reported(longtail("report", *runs, "-o", tmp_path / "both.html", "--groups", "auto"))
    assert page == tmp_path / "both.html"
    assert (tmp_path / "both" / "gains.png").exists()
    assert "made: ce, gcl" in page.read_text()
    assert reported(longtail("report", runs[1])) == runs[1] / "report.html"
    both = reported(longtail("report", tmp_path, "-o", tmp_path / "all.html"))
    assert "made: ce, gcl" in both.read_text()


def test_mistakes_are_one_sentence(tmp_path):
    run = made_run(tmp_path / "run", [500, 5], [0, 1], [0, 1])
    other = made_run(tmp_path / "other", [500, 5], [1, 1], [0, 1])
    made_run(tmp_path / "all" / "made" / "ce" / "0", [500, 5], [0, 1], [0, 1])
    assert "it is a folder of runs; give one of them, such as" in longtail("report", tmp_path / "all" / "made").sentence
    (tmp_path / "empty").mkdir()
    assert "is not a longtail run" in longtail("report", tmp_path / "empty").sentence
    assert "were evaluated on other test images" in longtail("report", run, other).sentence
    assert "give it a name that ends in .html" in longtail("report", run, "-o", tmp_path / "page.pdf").sentence
    assert "no group rule" in longtail("report", run, "--groups", "halves").sentence
    if os.geteuid():
        tmp_path.chmod(0o500)
        assert "cannot be written" in longtail("report", run, "-o", tmp_path / "page.html").sentence
        tmp_path.chmod(0o700)
