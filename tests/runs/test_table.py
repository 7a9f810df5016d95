"""All runs of a setting as rows: one row per experiment with its seeds, and how it differs from the others."""

import csv
import io
import shutil
import statistics
from dataclasses import replace

import pytest
import torch

import longtail
from commands import longtail as command
from commands import paint
from longtail.engine.devices import deterministic, make_compute
from longtail.errors import UserError
from longtail.runs.places import take
from longtail.runs.report import read_report, write_report
from longtail.runs.table import rows_of
from made_runs import made_run


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    short = {"epochs": 2, "runs": folder, "device": "cpu"}
    for seed in (0, 1):
        longtail.train("digits_lt", method="ce", seed=seed, **short)
    longtail.train("digits_lt", method="ce", precision="32-true", val=0.1, **short)
    longtail.train("digits_lt", method="gcl", **short)
    longtail.train("digits_lt", method="gcl", variants={"sampler": "power"}, **short)
    longtail.train("digits_lt", method="focal", budget="common", **short)
    return folder


def test_seeds_are_one_row_and_experiments_several(runs):
    rows = rows_of(runs, "digits_lt")
    assert sorted((row.method, len(row.reports)) for row in rows) == [("ce", 1), ("ce", 2), ("focal", 1), ("gcl", 1), ("gcl", 1)]
    means = [row.mean("mean_recall") for row in rows]
    assert means == sorted(means)
    two = next(row for row in rows if len(row.reports) == 2)
    assert [report.seed for report in two.reports] == [0, 1]
    assert two.mean("few") == pytest.approx(sum(two.values("few")) / 2)
    assert two.mean("seconds") == pytest.approx(sum(s.seconds for r in two.reports for s in r.stages) / 2)


def test_80_columns_are_enough_for_names_and_deviations(runs):
    out = command("table", "digits_lt", "--runs", runs, columns=80).out
    lines = [line.rstrip() for line in out.splitlines() if not line.startswith(("gcl", "focal", "ce", "Next"))]
    assert max(map(len, lines)) <= 80
    assert "…" not in out
    two = next(row for row in rows_of(runs, "digits_lt") if len(row.reports) == 2)
    values = two.values("mean_recall")
    at = next(number for number, line in enumerate(lines) if line.endswith("  2"))
    assert lines[at].split()[2] == f"{50 * sum(values):.1f}"
    assert lines[at + 1].split("±")[1].split()[0] == f"{100 * statistics.stdev(values):.1f}"


def test_every_row_says_how_it_differs_from_its_method(runs):
    rows = rows_of(runs, "digits_lt")
    differs = {method: {row.differs for row in rows if row.method == method} for method in ("ce", "gcl", "focal")}
    assert differs["focal"] == {""}
    assert {"stages.1.resample.call = power"} <= {text.split(", ")[0] for text in differs["gcl"]}
    assert len(differs["gcl"]) == len(differs["ce"]) == 2
    assert {text.split(", ")[0] for text in differs["ce"]} == {"training images = 336", "training images = 302"}


def test_only_one_budget(runs):
    assert [row.method for row in rows_of(runs, "digits_lt", budget="common")] == ["focal"]


def test_no_runs_is_one_sentence(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"No finished run lies in '.*cifar100_lt'; train some with `longtail train"):
        rows_of(tmp_path, "cifar100_lt")


def test_table_prints_them(runs):
    printed = command("table", "digits_lt", "--runs", runs)
    assert printed.code == 0
    assert all(word in printed.out for word in ("gcl", "focal", "common", "paper", "Next: longtail train digits_lt"))
    assert command("table", "nothing", "--runs", runs).code == 2


def test_the_folder_that_was_trained_on_names_its_runs(tmp_path):
    photos = paint(tmp_path / "my photos", {"apple": 12, "berry": 6})
    options = ("--method", "ce", "--epochs", 1, "--size", 8, "--backbone", "resnet8", "--runs", tmp_path / "runs")
    assert command("train", photos, *options).code == 0
    printed = command("table", photos, "--runs", tmp_path / "runs")
    assert printed.code == 0
    assert f"Next: longtail train '{photos}' --method NAME" in printed.text
    for name in ("my_photos", tmp_path / "runs" / "my_photos"):
        again = command("table", name, "--runs", tmp_path / "runs")
        assert f"Next: longtail train '{photos}' --method NAME" in again.text
    none = command("table", photos, "--runs", tmp_path).sentence
    assert none == f"No finished run lies in '{tmp_path}/my_photos'; train some with `longtail train '{photos}' --method NAME`."


def test_the_next_command_names_the_place_of_the_data_as_the_runs_know_it(tmp_path):
    made_run(tmp_path / "runs" / "photos" / "ce" / "0-abcdef", [9, 3], [0, 1], [0, 1])
    (tmp_path / "moved here" / "photos").mkdir(parents=True)
    take(tmp_path / "runs", "photos", tmp_path / "moved here" / "photos", ["a", "b"])
    printed = command("table", "photos", "--runs", tmp_path / "runs").text
    assert f"Next: longtail train '{tmp_path}/moved here/photos' --method NAME" in printed
    none = command("table", "photos", "--runs", tmp_path / "runs", "--budget", "paper").sentence
    assert none.endswith(f"train some with `longtail train '{tmp_path}/moved here/photos' --method NAME`.")
    (tmp_path / "moved here").rename(tmp_path / "elsewhere")
    printed = command("table", "photos", "--runs", tmp_path / "runs").text
    gone = f"the place of the images, which are not at '{tmp_path}/moved here/photos' any more, as DATA"
    assert printed.endswith(f"Next: longtail train DATA --method NAME, with {gone}")


OWN = """
from dataclasses import replace

from longtail.settings import digits_lt


def mine():
    return replace(digits_lt(), name="my_digits")


def needy(setting):
    return setting


def nothing():
    return None
"""


def test_the_function_that_was_trained_on_names_its_runs(tmp_path):
    file = tmp_path / "my_file.py"
    file.write_text(OWN)
    longtail.train(f"{file}:mine", method="ce", epochs=1, device="cpu", runs=tmp_path / "runs")
    (row,) = rows_of(tmp_path / "runs", f"{file}:mine")
    assert (row.method, row.reports[0].setting) == ("ce", "my_digits")
    with pytest.raises(UserError, match=r"needy' cannot be called \(missing a required argument: 'setting'\)"):
        rows_of(tmp_path / "runs", f"{file}:needy")
    with pytest.raises(UserError, match="nothing' must return a Setting; got NoneType"):
        rows_of(tmp_path / "runs", f"{file}:nothing")


def test_deterministic_is_on_while_it_is_asked_for(tmp_path):
    options = {"method": "ce", "epochs": 1, "device": "cpu"}
    first = longtail.train("digits_lt", deterministic=True, runs=tmp_path / "a", **options)
    assert deterministic()
    assert first.run.record["deterministic"] is True
    again = longtail.train("digits_lt", deterministic=True, runs=tmp_path / "b", **options)
    assert again.report.test == first.report.test
    make_compute("cpu")
    assert not torch.are_deterministic_algorithms_enabled()


def test_rows_say_the_augmentation_that_was_asked_for(tmp_path):
    short = {"method": "ce", "epochs": 1, "runs": tmp_path, "device": "cpu"}
    longtail.train("digits_lt", augment="strong", symmetry="none", **short)
    assert [row.augmented for row in rows_of(tmp_path, "digits_lt")] == [["strong augmentation", "symmetry none"]]
    said = " ".join(command("table", "digits_lt", "--runs", tmp_path).text.split())
    assert "1 view · strong augmentation · symmetry none" in said
    longtail.train("digits_lt", **short)
    assert sorted(map(len, (row.augmented for row in rows_of(tmp_path, "digits_lt")))) == [0, 2]
    lines = command("table", "digits_lt", "--runs", tmp_path).out.splitlines()
    assert "strong" not in lines[0]
    assert any(line.split()[:2] == ["strong", "augmentation,"] for line in lines)
    sheet = csv.DictReader(io.StringIO(command("table", "digits_lt", "--runs", tmp_path, "--format", "csv").out))
    assert sorted(row["augmentation"] for row in sheet) == ["", "strong augmentation, symmetry none"]


def test_runs_of_different_views_are_rows_of_their_own(tmp_path):
    short = {"epochs": 1, "runs": tmp_path, "device": "cpu"}
    for seed, views in ((0, None), (1, 1), (0, 8)):
        longtail.train("digits_lt", method="ce", seed=seed, views=views, **short)
    rows = rows_of(tmp_path, "digits_lt")
    assert sorted((row.reports[0].views, len(row.reports)) for row in rows) == [(1, 2), (8, 1)]
    assert all({report.views for report in row.reports} == {row.reports[0].views} for row in rows)
    assert sorted(row.differs for row in rows) == ["setting.views = 8", "setting.views = –"]
    printed = command("table", "digits_lt", "--runs", tmp_path)
    assert "digits_lt · paper budget · clean protocol · 1 epoch · last epoch · test images, %" in printed.text


def test_a_seed_that_comes_again_and_another_rule_of_groups_are_rows_of_their_own(tmp_path):
    folder = tmp_path / "digits_lt" / "ce"
    for name, seed in {"0-aaaaaa": 0, "0-bbbbbb": 0, "1-aaaaaa": 1, "2-aaaaaa": 2}.items():
        made_run(folder / name, [9, 3], [0, 1], [0, seed % 2], seed=seed)
    write_report(folder / "2-aaaaaa", replace(read_report(folder / "2-aaaaaa"), group_rule="auto"))
    rows = {row.differs: [each.seed for each in row.reports] for row in rows_of(tmp_path, "digits_lt")}
    assert sorted(rows.values()) == [[0], [0, 1], [2]]
    assert any("trained = again" in differs for differs in rows)
    assert any("groups = auto" in differs for differs in rows)


def test_groups_hold_the_same_classes_where_a_run_keeps_images_for_validation(tmp_path):
    labels = [0, 1, 1, 2, 2, 2]
    made_run(tmp_path / "made" / "ce" / "0", (150, 102, 30), labels, [0, 1, 2, 2, 2, 0])
    held = made_run(tmp_path / "made" / "tau_norm" / "0", (135, 92, 27), labels, [0, 1, 0, 2, 2, 2], method="tau_norm")
    write_report(held, replace(read_report(held), images={"train": 254, "val": 28, "test": 6}))
    assert read_report(held).test.groups["many"].recall == 1.0
    rows = {row.method: row for row in rows_of(tmp_path, "made")}
    assert (rows["ce"].values("many"), rows["ce"].values("medium")) == ([0.75], pytest.approx([2 / 3]))
    assert (rows["tau_norm"].values("many"), rows["tau_norm"].values("medium")) == ([0.75], [1.0])
    out = command("table", "made", "--runs", tmp_path, columns=80).out
    assert "2 classes, 3 test images" in " ".join(out.split())
    assert "own training images" not in out
    command("results", held, "-o", tmp_path / "held.jsonl")
    shutil.rmtree(held)
    again = made_run(tmp_path / "made" / "ce" / "1", (150, 102, 30), labels, [0, 1, 2, 2, 2, 0], seed=1)
    command("results", again, "-o", tmp_path / "again.jsonl")
    shutil.rmtree(again)
    files = [word for name in ("held", "again") for word in ("--results", tmp_path / f"{name}.jsonl")]
    said = command("table", "made", "--runs", tmp_path, *files)
    assert "Groups by their own training images, which may hold other classes: tau_norm." in said.text
    sheet = command("table", "made", "--runs", tmp_path, *files, "--format", "csv").out
    seeds = {row["method"]: row["n"] for row in csv.DictReader(io.StringIO(sheet))}
    assert seeds == {"ce": "2", "tau_norm": "1"}
    shutil.rmtree(tmp_path / "made")
    from_files = command("table", "made", "--runs", tmp_path, *files).text
    assert "Groups by their own training images, which may hold other classes: tau_norm." in from_files
