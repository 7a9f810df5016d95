"""`longtail table` on published tables: what it shows, lists, trains and refuses."""

import csv
import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from statistics import mean, stdev

import pytest

from commands import longtail
from longtail.cli.paper_runs import chosen_cells
from longtail.papers import read_table
from longtail.papers.identities import stored_identity
from longtail.runs.measured import identity_of
from longtail.runs.results_file import line_of, results_below
from longtail.runs.seals import read_json
from made_results import made

TABLE = Path(__file__).parents[1] / "made_table.toml"
SHORT = ("--epochs", 2, "--device", "cpu", "--precision", "32-true")
CE, CRT, LDAM = (cell for cell in read_table(str(TABLE)).cells if cell.method and cell.column.setting == "digits_lt")


def records(said):
    return list(csv.DictReader(io.StringIO(said.out)))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The table at two seeds, trained side by side; CIFAR is not there."""
    runs = tmp_path_factory.mktemp("runs")
    said = longtail("table", TABLE, "--run", "--runs", runs, "--root", runs, "--seeds", 2, "--jobs", 2, *SHORT, columns=80)
    return runs, said


def test_published_numbers_are_shown_without_any_run(tmp_path):
    said = longtail("table", "table1", "--runs", tmp_path, columns=80)
    assert said.code == 0
    lines = said.out.splitlines()
    assert ["CE", "loss", "+", "mixup", "+", "cRT", "73.06", "79.15", "84.21", "41.73", "45.12", "50.86"] in map(str.split, lines)
    assert "82.18*" in said.out
    assert "* Printed as 81.18." in said.text
    assert "best epoch on the test set in both stages" in said.text
    assert max(map(len, said.out[: said.out.index("Published:")].splitlines())) <= 80


@pytest.mark.parametrize("name", ["table1", "table2", "table3", "table4", "table5", "gala"])
def test_tables_with_results_fit_80_columns_and_cut_no_name(tmp_path, name):
    cells = read_table(name).cells
    small = [cell for cell in cells if cell.column.setting.startswith("cifar")]
    lines = [line_of(made(cell, 0.5 + seed / 30, seed=seed, best=0.6)) for cell in small for seed in (0, 1)]
    (tmp_path / "results.jsonl").write_text("\n".join(lines))
    said = longtail("table", name, "--runs", tmp_path, "--results", tmp_path, columns=80)
    shown = said.out[: said.out.index("Published:")]
    assert max(map(len, shown.splitlines())) <= 80
    assert "…" not in shown
    assert all(word in shown.split() for cell in cells for word in cell.printed_method.split())
    assert shown.count("51.7") == shown.count(f"±{100 * stdev((0.5, 0.5 + 1 / 30)):.1f}") == len(small)
    assert shown.count("best") == shown.count("n=2") == len({cell.row for cell in small})


def test_the_plan_of_table_1_lists_its_50_cells_cheapest_first(tmp_path):
    said = longtail("table", "table1", "--plan", "--format", "csv", "--runs", tmp_path, "--root", tmp_path)
    rows = records(said)
    assert len(rows) == 50
    assert {row["data"] for row in rows} == {"not here"}
    costs = {(row["our_method"], row["setting"], row["imbalance"]): float(row["cost"]) for row in rows}
    assert costs["ce", "cifar10_lt", "100"] == 1
    assert costs["ce", "cifar10_lt", "50"] == pytest.approx(13996 / 12406, rel=0.01)
    assert costs["bbn", "cifar10_lt", "100"] == pytest.approx(2, rel=0.01)
    assert costs["mixup_crt", "cifar10_lt", "100"] == pytest.approx(0.05)  # 30 of 200 epochs on a frozen backbone
    assert next(iter(costs)) == ("ce", "cifar100_lt", "200")
    assert rows[0]["command"] == f"longtail train cifar100_lt --method ce --imbalance 200 --root {tmp_path}"


def test_every_cell_is_trained_and_shown_beside_what_was_published(trained):
    runs, said = trained
    assert said.code == 1
    assert (
        "2 runs failed (CE loss, cifar10_lt at 100, seed 0; CE loss, cifar10_lt at 100, seed 1): The official files" in said.text
    )
    reports = {each.report.method: [] for each in results_below(runs)}
    for each in results_below(runs):
        reports[each.report.method].append(100 * each.report.test.mean_recall)
    assert {method: len(shares) for method, shares in reports.items()} == {"ce": 2, "crt": 2, "ldam_drw": 2}
    lines = ("CE loss 50.00 – 70.25", f"2 epochs, paper, n=2 {mean(reports['ce']):.1f} – –", f"±{stdev(reports['ce']):.1f}")
    assert " ".join(lines) in said.text
    assert f"difference – {mean(reports['ldam_drw']) - 91:+.1f} –" in said.text
    assert "* Printed as 29. The digits are swapped." in said.text


def test_the_variants_and_changes_of_a_cell_are_trained(trained):
    runs, _ = trained
    for run in results_below(runs):
        if run.report.method == "ldam_drw":
            stage = run.record["recipe"]["stages"][0]
            assert (stage["loss"]["max_margin"], stage["batch_size"], run.record["setting"]["imbalance"] or 20) == (0.4, 16, 20)


def test_what_is_there_is_not_planned_again(trained):
    runs, _ = trained
    said = longtail("table", TABLE, "--plan", "--runs", runs, "--root", runs, "--seeds", 3, "--format", "csv", *SHORT)
    assert {(row["method"], row["seeds"]) for row in records(said) if row["setting"] == "digits_lt"} == {
        ("CE loss", "2"),
        ("CE loss + re-training", "2"),
        ("LDAM, strong", "2"),
    }
    longer = longtail("table", TABLE, "--plan", "--runs", runs, "--root", runs, "--epochs", 3)
    assert f"Next: longtail table {TABLE} --root {runs} --epochs 3 --runs {runs} --run" in longer.text
    assert "4 cells and 4 runs are missing" in longer.text
    assert "longtail has no method for: Theirs." in longer.text
    paper = longtail("table", TABLE, "--plan", "--runs", runs, "--root", runs, "--protocol", "paper", *SHORT)
    assert "4 cells and 4 runs are missing" in paper.text


def test_a_run_on_fewer_images_is_no_result_of_the_cell(trained):
    runs, _ = trained
    asked = ("table", TABLE, "--plan", "--runs", runs, "--root", runs, "--only", "ce,digits_lt")
    assert "0 cells and 0 runs are missing" in longtail(*asked, *SHORT).text
    assert "1 cell and 1 run are missing" in longtail(*asked, *SHORT, "--val", 0.2).text


def test_another_way_to_cut_squares_is_another_experiment(tmp_path):
    cell = next(each for each in read_table("table2").cells if each.method == "ce" and each.column.setting == "imagenet_lt")
    short, padded = made(cell, 0.4), made(cell, 0.3, fit="pad")
    assert identity_of(short.record["recipe"], short.record["setting"]) == stored_identity(cell, "paper")
    (tmp_path / "results.jsonl").write_text("\n".join(map(line_of, (short, padded))))
    for fit, recall in {"short_side": "40", "pad": "30"}.items():
        said = longtail("table", "table2", "--runs", tmp_path, "--results", tmp_path, "--fit", fit, "--format", "csv")
        assert {row["measured"] for row in records(said) if row["measured"]} == {recall}


def test_other_formats_have_the_same_numbers(trained):
    runs, said = trained
    rows = records(longtail("table", TABLE, "--runs", runs, "--format", "csv"))
    assert [(row["method"], row["budget"]) for row in rows][:2] == [("CE loss", "paper"), ("CE loss", "")]
    first = rows[0]
    assert (first["printed"], first["epochs"], first["n"], first["command"]) == (
        "50",
        "2",
        "2",
        "longtail train digits_lt --method ce --imbalance 50 --epochs 2 --precision 32-true --budget paper --seeds 2",
    )
    assert first["seeds"] == "0 1"
    assert "--epochs 2 --set" not in first["command"]
    assert all("--set stages.1.epochs=" in row["command"] for row in rows if "+" in row["epochs"])
    assert any("+" in row["epochs"] for row in rows)
    assert float(first["difference"]) == pytest.approx(float(first["measured"]) - 50, abs=1e-3)
    shown = f"{float(first['measured']):.1f}"
    assert shown in said.out
    for form, wanted in (
        ("markdown", "| CE loss | published | 50.00 |"),
        ("latex", r"CE loss & published & 50.00 &"),
        ("html", "<td"),
    ):
        printed = longtail("table", TABLE, "--runs", runs, "--format", form)
        assert wanted in printed.out
        assert shown in printed.out
        assert printed.out.count("Theirs") >= 1


def test_only_some_cells(trained):
    runs, _ = trained
    table = read_table("table1")
    assert len(chosen_cells(table, "ce, gcl,cifar10_lt")) == 6
    assert len(chosen_cells(table, "cifar10_lt,100")) == 9
    said = longtail("table", "table1", "--runs", runs, "--only", "crt").sentence
    assert said.startswith("There is no method, setting or imbalance in this table 'crt'. There are: ce, mixup, ldam_drw,")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ("digits_lt", "--plan"),
            "--plan is for published tables (table1, table2, table3, table4, table5, gala, or a TOML file)",
        ),
        (("digits_lt", "--epochs", 3), "--epochs is for published tables"),
        (("table9",), "No finished run lies in"),
        (("none.toml",), "There is no table 'none.toml'"),
        (("table1", "--format", "word"), "There is no format 'word'."),
        (("table1", "--plan", "--views", 3), "'views'"),
    ],
)
def test_mistakes_are_one_sentence(tmp_path, words, sentence):
    assert sentence in longtail("table", *words, "--runs", tmp_path).sentence.replace("`", "'").replace("--views", "'views'")


def test_a_killed_table_goes_on_where_it_was(tmp_path):
    """The run that was finished is not trained again, the one that was not goes on from its last epoch, with the same bits."""
    options = ["--run", "--root", tmp_path, "--jobs", 1, "--only", "digits_lt,ce,ldam_drw", "--epochs", 10, *SHORT[2:]]
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    code = "from longtail.cli import main; main()"
    words = [sys.executable, "-c", code, "table", TABLE, *options, "--runs", killed]
    process = subprocess.Popen([*map(str, words)], stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})
    deadline = time.monotonic() + 120
    while process.poll() is None and not half_way(killed) and time.monotonic() < deadline:
        time.sleep(0.003)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    finished = {path: path.stat().st_mtime_ns for path in killed.rglob("report.json")}
    assert len(finished) == 1
    assert longtail("table", TABLE, *options, "--runs", killed).code == 0
    assert longtail("table", TABLE, *options, "--runs", whole).code == 0
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    again, alone = (sorted(path.relative_to(runs) for path in runs.rglob("report.json")) for runs in (killed, whole))
    assert again == alone
    assert len(again) == 2
    for report in again:
        assert read_json(killed / report.parent, "classes.json") == read_json(whole / report.parent, "classes.json")
        assert (killed / report.parent / "model/model.safetensors").read_bytes() == (
            whole / report.parent / "model/model.safetensors"
        ).read_bytes()
    starts = [read_json(path.parent, "record.json")["starts"] for path in killed.rglob("report.json")]
    assert sorted(len(each) for each in starts) == [1, 2]
    assert max(each[-1]["from"]["epoch"] for each in starts) > 1


def half_way(runs):
    """Whether one run is finished and another has trained two epochs."""
    logs = [path for path in runs.glob("digits*/*/*/log.jsonl") if not (path.parent / "report.json").exists()]
    return any(runs.rglob("report.json")) and any(len(path.read_text().splitlines()) >= 2 for path in logs)
