"""The files of a report: the page, PNG and CSV beside it, and what is refused."""

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import longtail
from longtail.errors import DamagedFile, MissingFileError, UnwritableFile, UserError
from longtail.reporting.gathering import read_answers, read_choice
from made_runs import made_run

COUNTS, LABELS, PREDICTED = [500, 50, 5], [0, 0, 1, 1, 2, 2], [0, 0, 1, 0, 2, 0]
NAMES = ["<script>x</script>", "=1+1", "plain"]
FORMER = Path(__file__).parents[1] / "fixtures" / "runs_0_1_0" / "digits_lt"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return made_run(tmp_path_factory.mktemp("runs") / "0-abcdef", COUNTS, LABELS, PREDICTED, names=NAMES)


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_page_and_every_figure_and_table_are_written(run):
    page = longtail.write_report_page([run])
    assert page == run / "report.html"
    beside = sorted(path.name for path in (run / "report").iterdir())
    drawings = ["confusion-1", "coverage", "groups-figure", "recall", "reliability", "reliability-few"]
    drawings += ["saturation", "tau", "test-priors", "training", "training-images"]
    tables = ["accuracy", "calibration", "classes", "confused-pairs", "confused-shares", "confusions", "facts", "groups"]
    expected = [*(f"{d}.{e}" for d in drawings for e in ("csv", "png")), *(f"{t}.csv" for t in tables), "contents.txt"]
    assert beside == sorted(expected)
    for name in drawings:
        with Image.open(run / "report" / f"{name}.png") as image:
            assert image.size[0] > 800
    assert page.stat().st_size < 600_000
    assert not list(run.rglob("*.partial"))


def test_numbers_beside_the_page_are_exact_and_safe_for_spreadsheets(run, tmp_path):
    longtail.write_report_page([run], tmp_path / "page.html")
    classes = rows(tmp_path / "page" / "classes.csv")
    assert [row["class"] for row in classes] == ["<script>x</script>", "'=1+1", "plain"]
    assert [float(row["recall"]) for row in classes] == [1.0, 0.5, 0.5]
    assert float(classes[0]["precision"]) == 0.5
    assert classes[1]["most confused with"] == "<script>x</script>"
    counts = rows(tmp_path / "page" / "training-images.csv")
    assert [int(row["training images"]) for row in counts] == COUNTS


def test_what_a_former_report_had_and_this_one_has_not_is_deleted(run, tmp_path):
    other = made_run(tmp_path / "other", COUNTS, LABELS, LABELS, names=NAMES, method="gcl")
    page, beside = tmp_path / "page.html", tmp_path / "page"
    longtail.write_report_page([run, other], page)
    assert (beside / "gains.png").exists()
    assert (beside / "classes-1.csv").exists()
    (beside / "notes.png").write_text("mine")
    longtail.write_report_page([run], page)
    assert not (beside / "gains.png").exists()
    assert (beside / "notes.png").exists(), "only what a report wrote is its to delete"


def test_a_listing_that_names_files_elsewhere_deletes_none(run, tmp_path):
    (tmp_path / "mine.csv").write_text("mine")
    (tmp_path / "page").mkdir()
    (tmp_path / "page" / "contents.txt").write_text("../mine.csv\n/etc/x.csv\n")
    longtail.write_report_page([run], tmp_path / "page.html")
    assert (tmp_path / "mine.csv").exists()


def test_a_folder_of_something_else_is_not_filled(run, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_text("mine")
    with pytest.raises(UserError, match=r"photos' would hold the figures of the report and is something else"):
        longtail.write_report_page([run], tmp_path / "photos.html")
    with pytest.raises(UserError, match=r"give it a name that ends in \.html"):
        longtail.write_report_page([run], tmp_path / "photos")
    assert sorted(tmp_path.iterdir()) == [tmp_path / "photos"]


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_said(run, tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UnwritableFile):
        longtail.write_report_page([run], tmp_path / "page.html")
    tmp_path.chmod(0o700)


def test_runs_of_other_images_or_classes_are_not_shown_side_by_side(run, tmp_path):
    images = made_run(tmp_path / "images", COUNTS, LABELS[1:], PREDICTED[1:], names=NAMES)
    classes = made_run(tmp_path / "classes", COUNTS, LABELS, PREDICTED)
    for other, what in ((images, "test images"), (classes, "classes")):
        with pytest.raises(UserError, match=f"were evaluated on other {what}; a report shows runs side by side that share"):
            longtail.write_report_page([run, other], tmp_path / "page.html")


def test_runs_whose_test_images_have_other_contents_are_not_shown_side_by_side(tmp_path):
    def made(name, contents):
        return made_run(tmp_path / name, COUNTS, LABELS, PREDICTED, names=NAMES, contents=contents)

    first, same, other, unknown = (made(*each) for each in (("a", "uvwxyz"), ("b", "uvwxyz"), ("c", "uvwxyq"), ("d", None)))
    assert len(read_answers([first, same], groups="shots")) == 2
    assert len(read_answers([first, unknown], groups="shots")) == 2, "nothing is known of their contents"
    said = f"other test images; .* 1 of 6 differ, such as plain/5.png; train with `split={first / 'split.csv'}` to have the same"
    with pytest.raises(UserError, match=said):
        read_answers([first, other], groups="shots")


def test_names_are_as_short_as_they_may_be(tmp_path):
    made = {
        "a": {"method": "ce"},
        "b": {"method": "gcl", "seed": 0},
        "c": {"method": "gcl", "seed": 1},
        "d": {"method": "gcl", "seed": 1, "experiment": "123456789"},
    }
    runs = [made_run(tmp_path / name, COUNTS, LABELS, PREDICTED, **how) for name, how in made.items()]
    ce, gcl, *others = [each.name for each in read_answers(runs, groups="shots")]
    assert (ce, gcl) == ("ce", "gcl, seed 0")
    assert others[1] == "gcl, seed 1 (123456)"
    assert others[0].startswith("gcl, seed 1 (")
    assert len(read_answers([runs[0], runs[0]], groups="shots")) == 1, "a run that is given twice is shown once"


def test_a_comparison_is_shown_with_what_it_chose_among(run, tmp_path):
    folder = tmp_path / "answers"
    folder.mkdir()
    row = {"variant": "", "value": None, "cost": 2.0, "interval": [0.6, 0.8], "standard_error": 0.01}
    former = [f"On the 9 test images{of}, which nothing was chosen on: 90.0 %." for of in ("", " of 3 of the 4 classes")]
    content = {
        "chosen": "GCL",
        "chosen_run": os.path.relpath(run, folder),
        "candidates": [
            {"name": "GCL", "recall": 0.7, "behind": 0.0, **row},
            {"name": "<ce>", "recall": 0.6, "behind": 0.1, **row},
        ],
        "verdict": ["Chosen: GCL.", "More (`val`) would tell.", *former],
    }
    (folder / "answers.json").write_text(json.dumps(content))
    page = longtail.write_report_page([folder], wording=lambda sentence: sentence.replace("`val`", "--val"))
    assert page == folder / "report.html"
    text = page.read_text()
    assert "<p>Chosen: GCL.</p>" in text
    assert "More (--val) would tell." in text
    assert "which nothing was chosen on" not in text, "a former version's result, of weights that may be gone"
    assert "<p>ce has a mean recall of 66.7 % [" in text
    assert "&lt;ce&gt;" in text
    assert [row["behind the best"] for row in rows(folder / "report" / "candidates.csv")] == ["0.0", "0.1"]
    (folder / "answers.json").write_text(json.dumps({"chosen_run": content["chosen_run"]}))
    with pytest.raises(DamagedFile, match="is not a whole comparison"):
        read_choice(folder)


def test_a_folder_without_a_finished_run_is_said(tmp_path):
    with pytest.raises(MissingFileError, match="is not a longtail run"):
        longtail.write_report_page([tmp_path])


def test_runs_of_the_first_release_are_shown(tmp_path):
    page = longtail.write_report_page([FORMER / "logit_adjusted_post_hoc" / "0-89fc7a"], tmp_path / "page.html", groups="auto")
    assert "a third of the classes" in page.read_text()
    groups = rows(tmp_path / "page" / "groups.csv")
    assert np.isfinite([float(row["recall"]) for row in groups]).all()
