"""Finished runs as lines of text: short, checked, and added without copies."""

import json
from pathlib import Path
from threading import Thread

import pytest

import longtail
from commands import longtail as command
from longtail.errors import MissingFileError
from longtail.papers import read_table
from longtail.runs.locks import locked, silent
from longtail.runs.results_file import add_results, line_of, results_below, results_in, without_copies
from made_results import made

CE = read_table("table1").cells[0]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    for seed in (0, 1):
        longtail.train("digits_lt", method="ce", seed=seed, epochs=1, device="cpu", precision="32-true", runs=folder)
    return folder


def test_a_line_keeps_what_tables_need_and_leaves_out_classes_and_hosts():
    result = made(CE, 0.5, best=0.6)
    line = line_of(result)
    assert len(line) < 6000
    assert "\n" not in line
    assert "host" not in line
    content = json.loads(line)
    assert content["version"] == 1
    assert content["report"]["classes"] == content["report"]["test"]["recalls"] == []
    assert content["report"]["stages"][0]["best_test_epoch"]["recalls"] is None
    assert content["record"]["recipe"] == result.record["recipe"]


def test_runs_are_read_from_their_folders_and_from_their_lines_alike(runs, tmp_path):
    file = tmp_path / "results.jsonl"
    said = command("results", runs, "-o", file)
    assert (said.code, "2 runs added" in said.out) == (0, True)
    here, there = results_below(runs), results_in([tmp_path])
    assert [each.report.test.mean_recall for each in there] == [each.report.test.mean_recall for each in here]
    assert [each.report.test.groups for each in there] == [each.report.test.groups for each in here]
    assert all(each.since for each in there)
    assert len(without_copies([*here, *there])) == 2
    assert without_copies([*here, *there])[0].report.classes == here[0].report.classes
    again = command("results", runs, "-o", file)
    assert "0 runs added" in again.out
    assert len(file.read_text().splitlines()) == 2


def test_one_run_folder_is_enough_and_none_is_one_sentence(runs, tmp_path):
    (report, _) = sorted(runs.rglob("report.json"))
    assert len(results_below(report.parent)) == 1
    (tmp_path / "empty").mkdir()
    assert command("results", tmp_path / "empty", "-o", tmp_path / "x").sentence.startswith("There is no finished run in '")
    with pytest.raises(MissingFileError, match="There is no file or folder of results"):
        results_in([tmp_path / "none"])


def test_damaged_and_foreign_lines_are_named_and_the_others_read(tmp_path):
    good, file, notes = line_of(made(CE, 0.5)), tmp_path / "results.jsonl", []
    newer = json.dumps({"version": 2, "record": {}, "report": {}})
    wrong = good.replace('"seed": 0', '"seed": 5', 1)
    bare = json.dumps({"version": 1, "record": {}, "report": json.loads(good)["report"]})
    lines = [good, good[:100], "", '{"loss": 0.3}', newer, wrong, bare, "[1]", line_of(made(CE, 0.6, seed=1))]
    file.write_text("\n".join(lines))
    found = results_in([file], note=notes.append)
    assert [each.report.seed for each in found] == [0, 1]
    whats = [
        "cut off or not JSON",
        "no result of longtail",
        "has version 2",
        "checksum",
        "lacks experiment",
        "no result of longtail",
    ]
    assert len(notes) == len(whats)
    for note, line, what in zip(notes, (2, 4, 5, 6, 7, 8), whats, strict=True):
        assert note.startswith(f"Left out: '{file}, line {line}'")
        assert what in note
        assert "\n" not in note


def test_adding_keeps_lines_that_cannot_be_read_and_replaces_those_of_the_same_experiment(tmp_path):
    file = tmp_path / "results.jsonl"
    file.write_text("# measured by hand\n" + line_of(made(CE, 0.5, experiment="a")) + "\n")
    assert add_results(file, [made(CE, 0.7, experiment="a"), made(CE, 0.6, experiment="b"), made(CE, 0.6, experiment="b")]) == 1
    assert file.read_text().splitlines()[0] == "# measured by hand"
    assert [each.report.test.mean_recall for each in results_in([file])] == [0.7, 0.6]


def test_a_line_ends_with_a_line_feed_alone(tmp_path):
    file, own = tmp_path / "results.jsonl", "# by hand\u2028on two\u0085lines\u000b"
    raw = line_of(made(CE, 0.5, experiment="a\u2028b")).replace("\\u2028", "\u2028")
    file.write_text(f"{own}\r\n{raw}\r\n", newline="")
    assert [each.report.test.mean_recall for each in results_in([file])] == [0.5]
    assert add_results(file, [made(CE, 0.6, experiment="b")]) == 1
    assert file.read_bytes().decode().split("\n")[0] == own
    assert len(results_in([file])) == 2


def test_two_that_add_to_one_file_wait_for_each_other(tmp_path):
    file = tmp_path / "results.jsonl"
    add_results(file, [made(CE, 0.5, experiment="a")])
    with locked(file.with_name(".results.jsonl.lock"), "it", note=silent):
        other = Thread(target=add_results, args=(file, [made(CE, 0.6, experiment="b")]))
        other.start()
        other.join(0.3)
        assert other.is_alive()
        file.write_text(file.read_text() + line_of(made(CE, 0.7, experiment="c")) + "\n")
    other.join(30)
    assert [each.report.test.mean_recall for each in results_in([file])] == [0.5, 0.7, 0.6]


def test_the_table_of_a_setting_reads_them_beside_the_runs(runs, tmp_path):
    file = tmp_path / "results.jsonl"
    command("results", runs, "-o", file)
    said = command("table", "digits_lt", "--runs", tmp_path / "none", "--results", file, "--format", "csv")
    header, row = said.out.splitlines()
    assert dict(zip(header.split(","), row.split(","), strict=False))["n"] == "2"
    both = command("table", "digits_lt", "--runs", runs, "--results", file, "--format", "csv")
    assert both.out == said.out


def test_the_repository_s_results_are_small_and_whole():
    notes = []
    for file in sorted((Path(__file__).parents[2] / "benchmarks" / "results").glob("*.jsonl")):
        lines = file.read_text().splitlines()
        assert len(results_in([file], note=notes.append)) == len(lines) > 0
        assert max(map(len, lines)) < 10_000
        assert "host" not in file.read_text()
    assert notes == []
