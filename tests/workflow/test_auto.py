"""`auto`: candidates on validation images, the choice, the re-fit on all labelled images, and what is said of it."""

import csv
import json
import os
import shlex
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from commands import longtail, paint
from longtail import load, train
from longtail.cli.options import in_flags
from longtail.runs.layout import VALIDATION
from longtail.runs.report import read_report
from longtail.runs.run import Run
from longtail.workflow import auto
from longtail.workflow.auto import choose_method
from longtail.workflow.one_run import prepared
from longtail.workflow.request import Request
from longtail.workflow.watcher import Silent

CLASSES = ("apple", "berry", "citron", "date")
QUICK = ("--epochs", 1, "--size", 16, "--backbone", "resnet8", "--device", "cpu", "--precision", "32-true")
SHORT = {"epochs": 1, "size": 16, "backbone": "resnet8", "device": "cpu", "precision": "32-true"}


@pytest.fixture(scope="module")
def photos(tailed):
    return tailed


@pytest.fixture(scope="module")
def said(photos):
    return longtail("train", photos, *QUICK, "--candidates", "ce,la", "--runs", photos.parent / "runs")


@pytest.fixture(scope="module")
def stored(said):
    return json.loads((Path(said.folder) / "answers.json").read_text())


def split_of(folder):
    with (Path(folder) / "split.csv").open(newline="") as file:
        return {row["path"]: (row["label"], row["split"]) for row in csv.DictReader(file)}


# --- From the command line -------------------------------------------------------------------------------------------------


def test_all_readings_of_the_candidates_are_printed_and_one_is_marked(said, stored):
    assert said.code == 0, said.err
    names = ["cross-entropy", "post hoc logit adjustment", "re-trained classifier", "logit-adjusted loss"]
    assert [each["name"] for each in stored["candidates"]] == names
    table = said.out.partition("candidates ·")[2].partition("last epoch")[0]
    assert all(name in " ".join(table.split()) for name in names)
    assert " ".join(table.split()).count("←") == 1
    assert f"{stored['chosen'].split()[-1]} ←" in " ".join(table.split())
    assert all(in_flags(sentence) in said.text for sentence in stored["verdict"])
    assert said.out.splitlines()[-1] == f"Next: longtail predict {said.folder} IMAGES  (uses {stored['chosen']})"


def test_the_table_of_candidates_names_what_it_measures(said, stored, photos):
    assert "recall" in said.out.partition("candidates ·")[2].partition("cross-entropy")[0]
    assert "±standard error" in said.out.replace("± ", "±").replace("\n", " ")
    assert f"The chosen run, with its record, split, model card and model: {Path(said.folder).parents[1]}" in said.text
    train_prior = longtail(
        "train", photos, *QUICK, "--candidates", "ce,la", "--prior", "train", "--no-refit", "--runs", photos.parent / "runs"
    )
    assert "expected accuracy under the class prior 'train'; set on these" in train_prior.text
    assert "recall" not in train_prior.out.partition("candidates ·")[2].partition("last epoch")[0]


def test_the_chosen_is_the_one_expected_ahead_within_one_standard_error(stored):
    """Trainings as short as these cost nothing."""
    close = [each for each in stored["candidates"] if each["behind"] <= each["standard_error"]]
    best = min(close, key=lambda each: (not each["variant"], -each["recall"]))
    assert best["name"] == stored["chosen"]
    assert max(each["recall"] for each in stored["candidates"]) - best["recall"] == pytest.approx(best["behind"])


def test_the_chosen_is_trained_again_on_training_and_validation_images(said, stored):
    where = Counter(split_of(Path(said.folder) / stored["chosen_run"]).values())
    assert {name: where[name, "test"] for name in CLASSES} == {"apple": 6, "berry": 2, "citron": 1, "date": 1}
    assert {name: where[name, "train"] for name in CLASSES} == {"apple": 24, "berry": 8, "citron": 3, "date": 1}
    assert not any(split == "val" for _, split in where)


def test_the_folder_of_answers_predicts_as_the_chosen_run(said, stored, photos):
    image = photos / "berry" / "003.png"
    chosen = load(Path(said.folder) / stored["chosen_run"]).predict(image)
    assert load(said.folder).predict(image) == chosen
    assert longtail("evaluate", said.folder).code == 0
    assert longtail("verify", said.folder).code == 0


def test_the_same_command_reads_everything_back(said, photos, monkeypatch):
    monkeypatch.setattr("longtail.workflow.trials.train_stages", lambda *_, **__: pytest.fail("a candidate was loaded again"))
    monkeypatch.setattr("longtail.workflow.job.stages_of", lambda *_, **__: pytest.fail("it trained again"))
    again = longtail("train", photos, *QUICK, "--candidates", "ce,la", "--runs", photos.parent / "runs")
    assert again.code == 0, again.err
    added = ("is read back; --fresh trains it anew", "as it was found on these images before (--symmetry)")
    kept = [line for line in again.out.splitlines() if not any(each in line for each in added)]
    assert kept == [line for line in said.out.splitlines() if not line.startswith("By their pixels")]


def test_of_two_at_once_the_second_waits_and_has_the_same_answer(photos, tmp_path):
    command = [sys.executable, "-m", "longtail", "train", photos, *QUICK, "--candidates", "ce,la", "--runs", tmp_path]
    how = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "env": {**os.environ, "OMP_NUM_THREADS": "1"}}
    both = [subprocess.Popen([str(word) for word in command], **how) for _ in range(2)]
    ends = [each.communicate(timeout=300)[0] for each in both]
    assert [each.returncode for each in both] == [0, 0], ends
    assert len(list(tmp_path.rglob("answers.json"))) == 1
    verdicts = [next(line for line in end.splitlines() if line.startswith("Chosen: ")) for end in ends]
    assert verdicts[0] == verdicts[1]


def test_without_a_re_fit_the_compared_network_is_used(said, stored, photos, monkeypatch):
    trained = []
    monkeypatch.setattr("longtail.engine.training.train_stage", lambda *_: trained.append(1))
    words = ("train", photos, *QUICK, "--candidates", "ce,la", "--no-refit", "--runs", photos.parent / "runs")
    again = longtail(*words)
    assert (again.code, trained) == (0, []), again.err
    where = Counter(
        split_of(Path(again.folder) / json.loads((Path(again.folder) / "answers.json").read_text())["chosen_run"]).values()
    )
    assert {name: where[name, "val"] for name in CLASSES} == {"apple": 2, "berry": 1, "citron": 1, "date": 0}


@pytest.mark.parametrize("own", [True, False], ids=["own val", "held out"])
@pytest.mark.parametrize("refit", [True, False])
def test_the_recorded_command_repeats_the_chosen_run(tmp_path, refit, own):
    for split, count in {"train": 9, "val": 4, "test": 3}.items():
        if own or split != "val":
            paint(tmp_path / "photos" / split, {"apple": count, "berry": count}, seed=count)
    changes = {"stages.0.optimizer.lr": 0.03} if own else {}
    chosen = train(tmp_path / "photos", candidates="ce", refit=refit, changes=changes, runs=tmp_path / "runs", **SHORT)
    assert chosen.run.record["recipe"]["stages"][0]["optimizer"]["lr"] == changes.get("stages.0.optimizer.lr", 0.1)
    val, every = (8, 26) if own else (2, 18)
    assert chosen.report.images == ({"train": every, "test": 6} if refit else {"train": every - val, "val": val, "test": 6})
    words = shlex.split(chosen.run.record["command"])
    again = longtail(*words[1:], "--runs", tmp_path / "again")
    assert again.code == 0, again.err
    assert Run(Path(again.folder)).record["experiment"] == chosen.run.record["experiment"]


def test_fresh_compares_anew_and_leaves_nothing_over(photos, said):
    again = longtail("train", photos, *QUICK, "--candidates", "ce", "--fresh", "--runs", photos.parent / "runs")
    assert again.code == 0, again.err
    assert sorted(path.name for path in Path(again.folder).iterdir() if path.name[0] != ".") == ["answers.json", "validation.pt"]


def test_in_python_it_is_the_default(photos, said, stored):
    result = train(photos, runs=photos.parent / "runs", candidates="ce,la", **SHORT)
    assert result.folder.resolve() == (Path(said.folder) / stored["chosen_run"]).resolve()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--val", 0), "Methods are compared on validation images: give --val above 0, or train one with --method NAME."),
        (("--folds", 0), "--folds must be at least 1; got 0."),
        (("--folds", 3, "--no-refit"), "leave out --no-refit."),
        (("--folds", 3, "--val", 0.2), "leave out --val."),
        (("--candidates", "ce,lala"), "There is no method 'lala'."),
        (("--candidates", ","), "--candidates names none; give a list such as ce,la,gcl,gala,balpoe,tau_norm."),
        (("--candidates", "auto"), "'auto' chooses among methods and is none itself; name one of them, such as ce."),
        (("--method", "ce", "--candidates", "gcl"), "--candidates is for the choice among methods (--method auto)"),
        (
            ("--method", "ce", "--folds", 0),
            "--folds is for the choice among methods (--method auto), and here the",
        ),
        (("--method", "ce", "--no-refit"), "--no-refit is for the choice among methods"),
        (
            ("--method", "ce", "--prior", "train"),
            "--prior is for auto and for methods that take class frequencies in use (ce_retrained, ",
        ),
        (("--with", "tau=1"), "A variant (--with) belongs to one method; name it with --method NAME."),
        (
            ("--set", "inference.tau=0.3"),
            "A rule (--set of inference) belongs to one method, and auto chooses it; name it with --method NAME.",
        ),
        (
            ("--candidates", "ce,gcl", "--set", "stages.1.epochs=2"),
            "The candidate 'ce' cannot have the value that --set gives all candidates; leave it out of --candidates. "
            "There is no entry '1'",
        ),
        (
            ("--method", "logit_adjusted_post_hoc", "--prior", "train", "--with", "target=1,1,1,1"),
            "--prior and the variant target both set the class frequencies in use; give one of them.",
        ),
        (
            ("--prior", "nowhere.csv"),
            "There is no prior 'nowhere.csv'; give uniform, train, or a CSV with the header label,share.",
        ),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(words, sentence, photos, tmp_path):
    assert sentence in longtail("train", photos, *QUICK, *words, "--runs", tmp_path).sentence
    assert not list(tmp_path.rglob("*.pt")), "nothing was trained"


def test_a_prior_of_classes_without_images_and_a_network_without_experts_are_refused_before_training(photos, tmp_path):
    shares = tmp_path / "prior.csv"
    shares.write_text("label,share\ndate,1\n")
    said = longtail("train", photos, *QUICK, "--prior", shares, "--runs", tmp_path / "runs")
    assert f"The class prior '{shares}' gives no share to any class that has validation images." in said.sentence
    words = (
        "train",
        photos,
        "--epochs",
        1,
        "--size",
        32,
        "--backbone",
        "test_vit",
        "--device",
        "cpu",
        "--runs",
        tmp_path / "runs",
    )
    said = longtail(*words, "--candidates", "ce,balpoe")
    assert "The candidate 'balpoe' cannot be trained here; leave it out of --candidates." in said.sentence
    assert not list((tmp_path / "runs").rglob("*.pt")), "nothing was trained"


def test_other_groups_and_other_names_of_a_prior_are_said_anew(photos, tmp_path):
    words = ("train", photos, *QUICK, "--candidates", "ce", "--runs", tmp_path)
    priors = [tmp_path / "one.csv", tmp_path / "two.csv"]
    for path in priors:
        path.write_text("label,share\napple,3\nberry,1\ncitron,1\ndate,1\n")
    said = [longtail(*words, "--prior", path) for path in priors]
    assert all(f"under the class prior '{path}'" in each.text for path, each in zip(priors, said, strict=True))
    assert said[0].folder == said[1].folder, "the choice is the same"
    spoken = {}
    for groups in ("shots", "auto"):
        folder = longtail(*words, "--groups", groups).folder
        lines = json.loads((Path(folder) / "answers.json").read_text())["verdict"]
        (spoken[groups],) = (line for line in lines if line.startswith("Mean recall on these images"))
    assert ("many" in spoken["shots"], "many" in spoken["auto"]) == (False, True)


def test_the_verdict_says_of_how_many_classes_there_were_images(said, stored):
    assert "on 4 validation images of 3 of the 4 classes" in stored["verdict"][0]
    assert "On the 10 test images, which nothing was chosen on: mean recall" in said.text


def test_the_sentence_on_the_test_images_is_that_of_the_run_as_it_is_now(photos, tmp_path, monkeypatch):
    """The chosen run may have been trained anew since the choice was written."""
    request = Request(photos, runs=tmp_path, candidates="ce", **SHORT)
    first = auto.choose_method(request, Silent())
    assert not any("nothing was chosen on" in line for line in auto.stored_verdict(first.run))
    other = replace(first.result.report, test=replace(first.result.report.test, mean_recall=0.123))
    monkeypatch.setattr(auto, "train_one", lambda *_, **__: replace(first.result, report=other))
    again = auto.choose_method(request, Silent())
    assert again.verdict[:-1] == first.verdict[:-1]
    assert "mean recall 12.3 [" in again.verdict[-1]


def test_another_folder_starts_from_the_network_that_was_chosen(said, stored, photos, tmp_path):
    quick = ("train", photos, "--epochs", 1, "--device", "cpu", "--precision", "32-true", "--method", "ce", "--runs", tmp_path)
    chosen = Path(said.folder) / stored["chosen_run"]
    of_answers, of_run = (longtail(*quick, "--weights", folder) for folder in (said.folder, chosen))
    assert (of_answers.code, of_run.code) == (0, 0), of_answers.err
    assert of_answers.folder == of_run.folder


def test_verify_of_the_answers_checks_the_chosen_run(said, stored, tmp_path):
    checked = json.loads(longtail("verify", said.folder, "--json").out)
    chosen = (Path(said.folder) / stored["chosen_run"]).resolve()
    assert str(chosen / "model" / "model.safetensors") in json.dumps(checked)


# --- Test images ---------------------------------------------------------------------------------------------------------


class Closed:
    """A split whose images must not be read."""

    root = None

    def __init__(self, split):
        self.files, self.labels, self.digests, self.contents = split.files, split.labels, split.digests, split.contents

    def __len__(self):
        return len(self.labels)

    @property
    def pixels(self):
        raise PermissionError("the test images were read")


@pytest.mark.parametrize("candidate", ["ce", "gala_rebalanced"])
def test_nothing_is_chosen_on_test_images(photos, tmp_path, monkeypatch, candidate):
    request = Request(photos, runs=tmp_path, candidates=candidate, **SHORT)
    setting, images = prepared(request, Silent())
    monkeypatch.setattr(auto, "prepared", lambda *_: (setting, replace(images, test=Closed(images.test))))
    with pytest.raises(PermissionError):  # by the chosen one alone
        choose_method(request, Silent())
    assert len(list(tmp_path.rglob(f"candidates/{candidate}/log.jsonl"))) == 1
    assert len(list(tmp_path.rglob(VALIDATION))) == 1, "kept once the choice is made"


def test_a_strength_that_its_method_would_fit_by_itself_is_chosen_as_others_are(photos, tmp_path):
    found = train(photos, candidates="tau_norm", runs=tmp_path, **SHORT)
    (answers,) = tmp_path.rglob("answers.json")
    [row] = json.loads(answers.read_text())["candidates"]
    assert (row["name"], row["variant"]) == ("tau-normalisation", "tau")
    assert found.run.record["recipe"]["inference"]["tau"] == row["value"]
    assert "val" not in found.report.images, "trained again on all images"


def test_under_the_paper_protocol_only_the_chosen_one_reads_the_test_set_in_each_epoch(photos, tmp_path):
    said = longtail("train", photos, *QUICK, "--candidates", "ce", "--protocol", "paper", "--runs", tmp_path)
    assert said.code == 0, said.err
    (candidate,) = tmp_path.rglob("candidates/ce/log.jsonl")
    assert "test_recalls" not in candidate.read_text()
    chosen = Path(said.folder) / json.loads((Path(said.folder) / "answers.json").read_text())["chosen_run"]
    assert read_report(chosen).protocol == "paper"
    assert "test_recalls" in (chosen / "log.jsonl").read_text()
