"""Comparing finished runs: which are one method, which images they share, the numbers against a loop, and what is printed."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import longtail
from commands import longtail as command
from longtail.errors import MissingFileError, UserError
from longtail.reporting.gathering import read_answers
from longtail.runs.report import read_report

FORMER = Path(__file__).parents[1] / "fixtures" / "runs_0_1_0" / "digits_lt" / "logit_adjusted_post_hoc" / "0-89fc7a"


@pytest.fixture
def made(tmp_path):
    """Makes a run folder of a method at a seed, whose answers on the test images are those of the stored run but for some."""

    def make(method, seed, *, wrong=(), right=(), order=None):
        folder = Path(shutil.copytree(FORMER, tmp_path / "digits_lt" / method / f"{seed}-abcdef"))
        for name in ("record.json", "report.json"):
            content = json.loads((folder / name).read_text())
            content["seed"] = seed
            if name == "record.json":
                content["recipe"]["name"] = method
            else:
                content["method"] = method
            (folder / name).write_text(json.dumps(content))
        with np.load(folder / "predictions.npz") as stored:
            arrays = dict(stored)
        scores, labels = arrays["scores"].astype(np.float32), arrays["labels"]
        scores[list(right), labels[list(right)]] = 99
        scores[list(wrong), (labels[list(wrong)] + 1) % 10] = 99
        arrays |= {"scores": scores.astype(np.float16), "predicted": scores.argmax(1)}
        if order is not None:
            arrays = {name: array[order] for name, array in arrays.items()}
            rows = list(csv.reader((folder / "split.csv").read_text().splitlines()))
            test = [row for row in rows if row[2] == "test"]
            others = [row for row in rows if row[2] != "test"]
            with (folder / "split.csv").open("w", newline="") as file:
                csv.writer(file).writerows([*others, *(test[index] for index in order)])
        np.savez(folder / "predictions.npz", **arrays)
        return folder

    return make


def hits_of(folder):
    with np.load(folder / "predictions.npz") as stored:
        return stored["predicted"] == stored["labels"], stored["labels"]


def recalls_of(folder):
    hits, labels = hits_of(folder)
    return np.array([hits[labels == label].mean() for label in range(10)])


def test_numbers_are_means_over_classes_groups_and_seeds(made):
    first = [made("ce", seed, wrong=range(seed, 90, 7)) for seed in (0, 1)]
    second = [made("gcl", seed, right=range(seed, 300, 3)) for seed in (0, 1)]
    found = longtail.compare(*first, *second, prior="train")
    (contest,) = found.contests
    assert (found.baseline, found.baseline_seeds) == ("ce", (0, 1))
    assert (contest.name, contest.seeds, contest.paired) == ("gcl", (0, 1), True)
    before, after = (np.mean([recalls_of(folder) for folder in folders], axis=0) for folders in (first, second))
    report = read_report(first[0])
    weights = {"all": np.ones(10), "prior": np.array(report.class_counts)}
    weights |= {
        name: np.array([entry.group == name for entry in report.classes], dtype=float) for name in ("many", "medium", "few")
    }
    for name, weight in weights.items():
        number = contest.numbers[name]
        assert number.before == pytest.approx(np.average(before, weights=weight))
        assert number.after == pytest.approx(np.average(after, weights=weight))
        assert number.difference.value == pytest.approx(number.after - number.before)
        assert number.difference.low <= number.difference.value <= number.difference.high
    assert contest.numbers["accuracy"].after == pytest.approx(np.mean([hits_of(folder)[0].mean() for folder in second]))
    assert [each.recall.after for each in contest.classes] == pytest.approx(after.tolist())
    assert [each.test_images for each in contest.classes] == np.bincount(hits_of(first[0])[1]).tolist()


def test_runs_of_one_experiment_are_one_method_however_they_are_given(made):
    a, b = [made("ce", seed) for seed in (0, 1)], [made("gcl", seed, right=range(50)) for seed in (0, 1)]
    mixed = longtail.compare(a[1], b[0], a[0], b[1])
    folders = longtail.compare(a[0].parent, b[0].parent)
    assert mixed == folders
    assert folders.contests[0].seeds == (0, 1)


def test_the_order_of_the_test_images_does_not_matter(made):
    first, second = made("ce", 0), made("gcl", 0, right=range(80))
    order = np.random.default_rng(0).permutation(len(hits_of(first)[0]))
    turned = made("bbn", 0, right=range(80), order=order)
    plain, other = longtail.compare(first, second, turned).contests
    assert plain.numbers == other.numbers
    assert plain.classes == other.classes


def test_the_first_run_is_the_baseline_and_turning_round_changes_the_sign(made):
    first, second = made("ce", 0), made("gcl", 0, right=range(80))
    (there,), (back,) = longtail.compare(first, second).contests, longtail.compare(second, first).contests
    for name, number in there.numbers.items():
        other = back.numbers[name].difference
        assert (other.value, other.low, other.high) == pytest.approx(
            (-number.difference.value, -number.difference.high, -number.difference.low)
        )


def test_identical_answers_are_within_noise_everywhere(made):
    (contest,) = longtail.compare(made("ce", 0), made("gcl", 0)).contests
    assert all(number.difference.value == 0 and number.difference.within_noise for number in contest.numbers.values())
    assert contest.told_apart == []


def test_what_cannot_be_compared_is_said_in_a_sentence(made, tmp_path):
    first, second = made("ce", 0), made("gcl", 0)
    assert "Give the runs of at least two methods" in command("compare", first).sentence
    assert "These are seeds of one." in command("compare", first, made("ce", 1)).sentence
    assert "is given twice" in command("compare", first, second, first).sentence
    with pytest.raises(MissingFileError, match="holds no finished run"):
        longtail.compare(first, tmp_path / "nowhere")
    assert "There is no prior 'never'" in command("compare", first, second, "--prior", "never").sentence
    rows = (second / "split.csv").read_text().splitlines()
    changed = [row.replace("digits/", "other/") if row.endswith("test") else row for row in rows]
    (second / "split.csv").write_text("\n".join(changed) + "\n")
    sentence = command("compare", first, second).sentence
    assert "were not evaluated on the same test images: 599 of 599 differ, such as digits/" in sentence
    assert "Train with --split" in sentence
    report = json.loads((second / "report.json").read_text())
    report["classes"][0]["name"] = "nought"
    (second / "report.json").write_text(json.dumps(report))
    with pytest.raises(UserError, match="have different classes"):
        longtail.compare(first, second)


def test_what_the_command_prints_and_writes(made, tmp_path):
    first, second = made("ce", 0, wrong=range(60)), made("gcl", 0, right=range(300))
    said = command("compare", first, second, "--prior", "train", "-o", tmp_path / "all.csv")
    found = longtail.compare(first, second, prior="train")
    (contest,) = found.contests
    change = contest.numbers["all"].difference
    assert f"{100 * change.value:+.1f} │ {100 * change.low:+.1f} to {100 * change.high:+.1f}" in said.out
    assert "gcl (seed 0) against ce (seed 0)" in said.out
    assert f"{len(contest.told_apart)} of 10 classes differ by more than noise" in said.out
    assert "those of single runs do not show how much another seed would change" in said.text
    several = command("compare", first, second, made("gcl", 1), made("gala", 0)).text
    assert "intervals over test images, and over seeds where a method has several" in several
    with (tmp_path / "all.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows if row["kind"] == "class"] == [each.name for each in contest.classes]
    assert [float(row["difference"]) for row in rows if row["name"] == "few"] == pytest.approx(
        [contest.numbers["few"].difference.value], abs=1e-6
    )
    content = json.loads(command("compare", first, second, "--json").out)
    assert content["methods"][0]["numbers"]["all"]["difference"]["value"] == pytest.approx(change.value)
    assert content["methods"][0]["numbers"]["all"]["within_noise"] is change.within_noise
    assert len(content["methods"][0]["classes"]) == 10


def test_other_conditions_are_said(made, tmp_path):
    first, second = made("ce", 0), made("gcl", 0)
    assert command("compare", first, second).out.startswith(
        "digits_lt · clean protocol · last epoch · 1 view · 599 test images, %\n"
    )
    assert longtail.compare(first, second).notes == ()
    record = json.loads((second / "record.json").read_text())
    record["setting"] |= {"epochs": 7, "augmentation": "strong"}
    (second / "record.json").write_text(json.dumps(record))
    report = json.loads((second / "report.json").read_text())
    (second / "report.json").write_text(json.dumps(report | {"views": 8}))
    found = longtail.compare(first, second)
    assert found.views == (1, 8)
    said = "gcl has 8 views, setting.augmentation = strong, setting.epochs = 7."
    assert found.notes[-1] == f"Conditions differ: {said}"
    assert "Conditions differ: ce has 1 view, setting.epochs = " in found.notes[0]
    assert said in command("compare", first, second).text


def test_tables_fit_into_eighty_columns(made):
    from longtail.cli.compare import _classes_table, _numbers_table
    from longtail.cli.show import console

    found = longtail.compare(made("ce", 0, wrong=range(60)), made("logit_adjusted_post_hoc", 0, right=range(300)), prior="train")
    (contest,) = found.contests
    for table in (_numbers_table(found, contest), _classes_table(contest.told_apart, whole=True)):
        lines = console.render_lines(table, console.options.update(width=80))
        shown = ["".join(segment.text for segment in line).rstrip() for line in lines]
        assert all(len(line) <= 80 and "…" not in line for line in shown)


def test_the_training_frequencies_are_those_of_the_first_run(tmp_path):
    """Runs of two imbalances: both are measured under the first one's frequencies, and adjusted to these."""
    how = {"method": "ce", "epochs": 1, "device": "cpu", "precision": "32-true", "runs": tmp_path}
    first, second = (longtail.train("digits_lt", imbalance=imbalance, **how) for imbalance in (10, 50))
    shares, own = (torch.tensor(run.report.class_counts, dtype=torch.float64) for run in (first, second))
    (contest,) = longtail.compare(first.folder, second.folder, prior="train").contests
    with np.load(second.folder / "predictions.npz") as stored:
        logits, labels = torch.from_numpy(stored["logits"].astype(np.float32)), torch.from_numpy(stored["labels"])
    shift = (shares / shares.sum()).log() - (own / own.sum()).log()
    hits = ((logits + shift).argmax(1) == labels).double()
    assert not torch.equal((logits + shift).argmax(1), logits.argmax(1)), "so that the shift is seen"
    recalls = torch.stack([hits[labels == label].mean() for label in range(10)])
    assert contest.numbers["prior, adjusted"].after == pytest.approx(float(recalls @ shares / shares.sum()))
    _, answer = read_answers([first.folder, second.folder], groups="shots", prior="train")
    assert (answer.stored == labels.numpy()).tolist() == hits.bool().tolist()


def test_runs_may_be_a_list_and_paths_may_begin_with_the_home_folder(made, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    first, second = made("ce", 0), made("gcl", 0, right=range(30))
    expected = longtail.compare(first, second)
    from_home = [f"~/{each.relative_to(tmp_path)}" for each in (first, second)]
    assert (
        longtail.compare([first, second]) == longtail.compare(*from_home) == longtail.compare(from_home[0], [second]) == expected
    )
    assert longtail.write_report_page(from_home[0], "~/one.html", pictures=False) == tmp_path / "one.html"
    with pytest.raises(UserError, match="Give the folder of at least one run"):
        longtail.write_report_page([])


def test_contents_that_one_run_did_not_look_at_tell_no_images_apart(made):
    """A run that was trained with `--check header` lists its images without the hash of their content."""
    first, other = made("ce", 0), made("gcl", 0, wrong=range(9))
    for folder, content in ((first, "ab"), (other, "")):
        rows = list(csv.reader((folder / "split.csv").read_text().splitlines()))
        with (folder / "split.csv").open("w", newline="") as file:
            csv.writer(file).writerows([["path", "label", "split", "content"], *([*row[:3], content] for row in rows[1:])])
    lost = longtail.compare(first, other).contests[0].numbers["accuracy"]
    assert lost.after < lost.before
