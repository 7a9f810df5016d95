"""Runs whose steps are taken together are those that each would be alone, with a folder, a lock and a record of its own."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from commands import longtail
from longtail import recipes, settings
from longtail.engine import training
from longtail.errors import TrainingFailed, UserError
from longtail.networks.backbones import CifarResNet
from longtail.spec.experiment import Experiment
from longtail.spec.recipe import with_epochs
from longtail.weighting import Progress
from longtail.workflow.checks import check
from longtail.workflow.company import _OneRun, can_go_together
from longtail.workflow.each import train_each
from longtail.workflow.one_run import train_one
from longtail.workflow.parallel import train_many
from longtail.workflow.request import Request
from longtail.workflow.several import check_several
from longtail.workflow.watcher import Silent

SETTING = replace(settings.digits_lt(), backbone=partial(CifarResNet, depth=8, width=4))
DATA = SETTING.data(Path())
WEIGHTS = "model/model.safetensors"


class Notes(Silent):
    def __init__(self, *, stop_at=None):
        self.texts, self.stop_at = [], stop_at

    def note(self, text):
        self.texts.append(text)

    def step(self, stage, progress):
        if (stage, progress.epoch) == self.stop_at:
            raise KeyboardInterrupt


def requests(runs, method="gcl", count=2, together="branches", **options):
    given = {"runs": runs, "device": "cpu", "precision": "32-true", "epochs": 2, **options}
    return [Request("digits_lt", method, seed=seed, together=together, **given) for seed in range(count)]


def seeds(asked, watcher=None):
    return train_many(asked, SETTING, DATA, watcher=watcher or Silent())


def record(result):
    return json.loads((result.folder / "record.json").read_text())


def assert_same(results, others):
    for result, other in zip(results, others, strict=True):
        weights, expected = (load_file(each.folder / WEIGHTS) for each in (result, other))
        assert all(torch.equal(tensor, expected[name]) for name, tensor in weights.items())
        assert result.folder.name == other.folder.name
        assert (result.report.test, result.report.seed) == (other.report.test, other.report.seed)


@pytest.mark.slow
def test_a_command_that_is_stopped_and_given_again_ends_in_the_bits_of_each_seed_alone(tmp_path, monkeypatch):
    """With validation images that are held out and class frequencies of the training images, which are those before that."""
    asked = requests(tmp_path / "runs", "logit_adjusted", val=0.1, prior="train", epochs=3)
    expected = [train_one(replace(each, runs=tmp_path / "alone"), SETTING, DATA, watcher=Silent()) for each in asked]
    monkeypatch.setattr(training, "Feed", lambda *_: pytest.fail("the images are in memory a second time"))
    with pytest.raises(KeyboardInterrupt):
        seeds(asked, Notes(stop_at=(0, 1)))
    results = seeds(asked)
    assert_same(results, expected)
    for result in results:
        starts = record(result)["starts"]
        assert [start["from"] for start in starts] == [{"stage": 1, "epoch": 1}, {"stage": 1, "epoch": 2}]
        assert [start["stacked"] for start in starts] == [None, None]
        assert len((result.folder / "log.jsonl").read_text().splitlines()) == 3
        assert "--together" not in record(result)["command"]
    again = Notes()
    assert_same(seeds(asked, again), expected)
    assert again.texts[0] == "logit_adjusted on digits_lt: 2 seeds (0, 1) in each step, as branches (`together`)"
    assert [text.startswith(f"seed {seed}: '{tmp_path}") for seed, text in enumerate(again.texts[1:])] == [True, True]


@pytest.mark.slow
def test_the_record_says_that_networks_were_stacked(tmp_path):
    notes, asked = Notes(), requests(tmp_path, together="stacked")
    results = seeds(asked, notes)
    assert notes.texts[0] == "gcl on digits_lt: 2 seeds (0, 1) in each step, their networks computed as one (`together`)"
    assert "In stage 2 they are branches of one step." in notes.texts[1]
    assert [(record(each)["stacked"], record(each)["starts"][0]["stacked"]) for each in results] == [(True, True)] * 2
    (tmp_path / "digits_lt" / "stages" / f"{record(results[0])['stages'][1]}.pt").unlink()
    (results[0].folder / "report.json").unlink()
    alone = Notes()
    train_one(asked[0], SETTING, DATA, watcher=alone)
    assert any("under other conditions (stacked True, now None)" in text for text in alone.texts)


def test_jobs_are_the_networks_of_one_step_and_a_failing_seed_is_named(tmp_path):
    notes, changes = Notes(), {"stages.0.optimizer.lr": "1e38"}
    with pytest.raises(TrainingFailed, match=r"The loss is not finite in stage 1, .* Seeds 1, 2 failed as well\.$"):
        seeds(requests(tmp_path, "ce", 3, jobs=2, changes=changes), notes)
    said = [text.partition(". ")[0] for text in notes.texts]
    assert said == [
        "ce on digits_lt: 2 seeds (0, 1) in each step, as branches (`together`)",
        *(f"ce on digits_lt, seed {seed}: failed" for seed in (0, 1)),
        "ce on digits_lt, seed 2: failed",
    ]


@pytest.mark.slow
def test_runs_of_several_methods_on_the_same_data_go_together_with_the_bits_of_each_alone(tmp_path):
    """Two have their own validation images, two share a stage, one is asked for twice, and two cannot be trained."""
    notes, asked = Notes(), partial(requests, tmp_path, epochs=1, backbone="resnet8")
    ce, tau, crt = asked("ce"), asked("tau_norm"), asked("crt", 1)
    many, seventh = asked("ce", 1, changes={"stages.0.batch_size": "many"}), asked("focal", 1, changes={"stages.7.epochs": 1})
    outcomes = train_each([*many, *ce, *tau, *crt, *seventh, replace(ce[0])], watcher=notes)
    assert [isinstance(each, UserError) for each in outcomes] == [True, *[False] * 5, True, False]
    assert [text for text in notes.texts if "in each step" in text] == [
        "digits_lt: 6 runs (ce, tau_norm, crt, focal) in each step, as branches (`together`)"
    ]
    assert outcomes[-1].folder == outcomes[1].folder
    alone = [replace(each, together="none", jobs=1, runs=tmp_path / "alone") for each in (*ce, *tau, *crt)]
    assert_same(outcomes[1:6], train_each(alone, watcher=Silent()))


BROKEN = """
from dataclasses import replace
from longtail import recipes

def step(network, loss, batch, progress):
    if progress.epoch:
        raise ValueError("no second epoch.\\nThe second line.")
    return loss(network(batch.images), batch.labels)

def broken(setting):
    recipe = recipes.ce(setting)
    return replace(recipe, name="broken", stages=(replace(recipe.stages[0], step=step),))
"""


@pytest.mark.slow
def test_a_recipe_whose_step_fails_ends_its_own_run_alone(tmp_path):
    (tmp_path / "own.py").write_text(BROKEN)
    notes, methods = Notes(), (f"{tmp_path / 'own.py'}:broken", "ce")
    wrong, good = (request for method in methods for request in requests(tmp_path, method, 1, backbone="resnet8"))
    with pytest.raises(ValueError, match="no second epoch"):
        train_each([wrong, good], watcher=notes)
    assert (
        "A step of 2 runs has failed (no second epoch). Each goes on from its last checkpoint, with steps of its own."
        in notes.texts
    )
    assert f"{methods[0]} on digits_lt, seed 0: failed. no second epoch." in notes.texts
    alone = replace(good, together="none", runs=tmp_path / "alone")
    (again,) = train_each([good], watcher=notes)
    assert_same([again], train_each([alone], watcher=Silent()))
    assert [start["from"]["epoch"] for start in record(again)["starts"]] == [1, 2]


@pytest.mark.slow
def test_stacked_networks_are_those_of_one_method(tmp_path):
    notes, options = Notes(), {"epochs": 1, "backbone": "resnet8", "together": "stacked"}
    ce, focal = (requests(tmp_path, method, **options) for method in ("ce", "focal"))
    outcomes = train_each([ce[0], focal[0], ce[1], focal[1]], watcher=notes)
    assert [(each.report.method, each.report.seed) for each in outcomes] == [("ce", 0), ("focal", 0), ("ce", 1), ("focal", 1)]
    assert [text for text in notes.texts if "in each step" in text] == [
        f"{method} on digits_lt: 2 seeds (0, 1) in each step, their networks computed as one (`together`)"
        for method in ("ce", "focal")
    ]


class Shown(Silent):
    def __init__(self):
        self.said = []

    def begin(self, experiment):
        self.said.append(experiment.recipe.name)

    def step(self, stage, progress):
        self.said.append((stage, progress.epoch))


def test_the_progress_of_the_longest_run_is_shown_and_after_its_end_that_of_another():
    watcher, shown = Shown(), []
    short, long = (_OneRun(watcher, name, shown) for name in ("ce", "gcl"))

    def training(run, recipe, epochs):
        run.begin(Experiment(with_epochs(recipe(SETTING), epochs), SETTING, DATA))
        for epoch in range(2):
            run.step(0, Progress(epoch, epochs))
            yield

    ce = short.until_the_end(training(short, recipes.ce, 3))
    gcl = long.until_the_end(training(long, recipes.gcl, 4))
    for each in (ce, gcl, ce, gcl):
        next(each)
    assert watcher.said == ["ce", (0, 0), "gcl", (0, 0), (0, 1)]
    gcl.close()
    short.step(0, Progress(2, 3))
    assert watcher.said[-2:] == ["ce", (0, 2)]


def test_seeds_that_are_read_from_files_take_their_own_steps(tmp_path):
    notes, asked = Notes(), requests(tmp_path)
    files = replace(DATA, test=replace(DATA.test, pixels=None))
    assert can_go_together(asked, DATA, notes)
    assert not can_go_together(asked, files, notes)
    assert not can_go_together(asked[:1], DATA, notes)
    assert not can_go_together(requests(tmp_path, together="none"), DATA, notes)
    assert notes.texts == [
        "Each run takes its own steps: `together` needs images that fit into memory, and those of 'digits_lt' are read from "
        "their files in each epoch."
    ]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"together": "both"}, "There is no way to go together 'both'. There are: none, branches, stacked"),
        ({"method": "auto", "together": "branches"}, "`together` is for runs whose method is known; name it with `method`"),
        ({"together": "stacked", "fast": "cast"}, "leave out `fast`, or take `together=branches`"),
        ({"together": "stacked", "deterministic": True}, "`together=stacked` does not give; take `together=branches`"),
    ],
)
def test_what_cannot_go_together_is_said(options, sentence):
    with pytest.raises(UserError, match=sentence):
        check(Request("digits_lt", **{"method": "ce", **options}))


def test_several_processes_or_jobs_of_a_scheduler_train_one_seed_each(tmp_path):
    with pytest.raises(UserError, match="`together` trains several runs in one process"):
        check_several(Request("digits_lt", "ce", together="branches"))
    words = ("train", "digits_lt", "--method", "ce", "--seeds", 2, "--together", "branches", "--on", "local", "--runs", tmp_path)
    assert "Each job of --on trains one run; leave out --together." in longtail(*words).sentence


def test_the_command_trains_seeds_together(tmp_path):
    words = ("--method", "ce", "--backbone", "resnet8", "--epochs", 1, "--seeds", 2, "--device", "cpu", "--no-report")
    said = longtail("train", "digits_lt", *words, "--together", "branches", "--runs", tmp_path)
    assert said.code == 0, said.err
    assert said.out.startswith("ce on digits_lt: 2 seeds (0, 1) in each step, as branches (--together)\n")
    assert "n=2" in said.out
