"""An interrupted run continues to the same bits, and what is stored is used again."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from digits_runs import SETTING, InterruptedRun, cut_off, equal, log_of, two_stages, with_val, without_clock
from torch import nn

from commands import paint
from longtail import recipes
from longtail.data import folder
from longtail.engine.devices import make_compute
from longtail.engine.training import train_stages
from longtail.networks.backbones import CifarResNet
from longtail.runs.run import Run
from longtail.spec.experiment import Experiment
from longtail.spec.recipe import with_augmentation
from longtail.weighting import power
from longtail.workflow.one_run import train_one
from longtail.workflow.request import Request
from longtail.workflow.watcher import Silent


class Watched(Silent):
    """Notes which stages are trained."""

    def __init__(self):
        self.seen = set()

    def step(self, stage, progress):
        self.seen.add(stage)


@pytest.fixture(scope="session")
def shared_runs(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture
def run_one(data, shared_runs):
    """Trains and evaluates a method in the runs folder that all tests share, and notes which stages it trained."""

    def run(method, **options):
        watched = Watched()
        request = Request("digits_lt", method, runs=shared_runs, device="cpu", precision="32-true", **options)
        return train_one(request, SETTING, data, watcher=watched), watched.seen

    return run


@pytest.mark.parametrize("build", [recipes.gcl, recipes.crt, recipes.lws])
@pytest.mark.parametrize("index_and_epoch", [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2)])
def test_an_interrupted_run_continues_to_the_same_bits(trained, build, index_and_epoch):
    recipe = two_stages(build)
    model, history = trained(recipe, "whole")
    with pytest.raises(InterruptedRun):
        trained(recipe, "cut", cut_off(*index_and_epoch))
    torch.rand(7)
    continued, entries = trained(recipe, "cut")
    assert equal(model.state_dict(), continued.state_dict())
    assert without_clock(history) == without_clock(entries)


@pytest.mark.parametrize("symmetry", ["mirror", "square"])
def test_a_strong_augmentation_continues_to_the_same_bits(data, compute, tmp_path, symmetry):
    setting = with_augmentation(SETTING, "strong", symmetry)
    experiment = Experiment(recipes.ce(setting), setting, data)
    model, history = train_stages(experiment, Run(tmp_path / "whole"), compute)
    with pytest.raises(InterruptedRun):
        train_stages(experiment, Run(tmp_path / "cut"), compute, watch=cut_off(0, 1))
    torch.rand(7)
    continued, entries = train_stages(experiment, Run(tmp_path / "cut"), compute)
    assert equal(model.state_dict(), continued.state_dict())
    assert without_clock(history) == without_clock(entries)
    plain, _ = train_stages(Experiment(recipes.ce(SETTING), SETTING, data), Run(tmp_path / "plain"), compute)
    assert not equal(model.state_dict(), plain.state_dict())


def test_the_scale_of_float16_gradients_continues(data, tmp_path, monkeypatch):
    """The scale grows every second step, until gradients overflow and a step is left out."""
    monkeypatch.setattr(torch.amp, "GradScaler", partial(torch.amp.GradScaler, growth_interval=2))
    compute, experiment = make_compute("cpu", "16-mixed"), Experiment(two_stages(recipes.crt), SETTING, data)
    model, history = train_stages(experiment, Run(tmp_path / "whole"), compute)
    for place in [(0, 1), (1, 1)]:
        with pytest.raises(InterruptedRun):
            train_stages(experiment, Run(tmp_path / "cut"), make_compute("cpu", "16-mixed"), watch=cut_off(*place))
    again = make_compute("cpu", "16-mixed")
    continued, entries = train_stages(experiment, Run(tmp_path / "cut"), again)
    assert again.scaler.get_scale() == compute.scaler.get_scale()
    assert equal(model.state_dict(), continued.state_dict())
    assert without_clock(history) == without_clock(entries)


def test_a_run_may_be_interrupted_again_and_again(trained):
    recipe = two_stages(recipes.gcl)
    for index, epoch in [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2)]:
        with pytest.raises(InterruptedRun):
            trained(recipe, "cut", cut_off(index, epoch))
    assert equal(trained(recipe, "cut")[0].state_dict(), trained(recipe, "whole")[0].state_dict())


def test_finished_epochs_are_not_trained_again(trained):
    recipe, seen = two_stages(recipes.gcl), set()
    with pytest.raises(InterruptedRun):
        trained(recipe, "cut", cut_off(1, 1))
    trained(recipe, "cut", lambda stage, progress: seen.add((stage, progress.epoch)))
    assert seen == {(1, 1), (1, 2)}


def test_the_validation_recall_is_equal_in_a_continued_run(trained, data):
    recipe, held_out = two_stages(recipes.crt, 2, 2), with_val(data)
    _, history = trained(recipe, "whole", data=held_out)
    with pytest.raises(InterruptedRun):
        trained(recipe, "cut", cut_off(1, 1), data=held_out)
    trained(recipe, "cut", data=held_out)
    assert without_clock(log_of(trained.folder / "cut")) == without_clock(history)


def first_stage_of(result):
    return [entry for entry in log_of(result.folder) if entry["stage"] == 0]


def test_recipes_with_the_same_first_stage_share_it(run_one):
    first, _ = run_one("ce")
    for method in ("ncm", "logit_adjusted_post_hoc"):
        result, seen = run_one(method)
        assert seen == set()
        assert result.report.stages[0].seconds == first.report.stages[0].seconds
        assert log_of(result.folder) == log_of(first.folder) != []


def test_only_the_stage_that_differs_is_trained(run_one):
    first, _ = run_one("gcl")
    second, seen = run_one("gcl", variants={"sampler": power})
    assert seen == {1}
    assert second.folder != first.folder
    assert first_stage_of(first) == first_stage_of(second) != []


def test_a_finished_run_is_read_and_a_fresh_one_trained(run_one):
    first, _ = run_one("mixup")
    again, seen = run_one("mixup")
    assert (seen, again.report) == (set(), first.report)
    anew, seen = run_one("mixup", fresh=True)
    assert (seen, anew.report.test) == ({0}, first.report.test)


@pytest.mark.parametrize("build", recipes.ALL)
def test_every_recipe_trains_and_is_judged(run_one, build):
    result, _ = run_one(build.__name__)
    test, names = result.report.test, {path.name for path in result.folder.iterdir()} - {"log.jsonl"}
    assert names == {
        ".lock",
        "checksums.json",
        "record.json",
        "classes.json",
        "split.csv",
        "report.json",
        "predictions.npz",
        "README.md",
        "model",
    }
    assert 0 < test.mean_recall <= 1
    assert all(isinstance(value, float) for value in (test.accuracy, test.calibration_error, *test.recalls))
    assert [stage.epochs for stage in result.report.stages] == [stage.epochs for stage in build(SETTING).stages]


class Dropped(CifarResNet):
    """A backbone that draws from torch's global generator, as dropout and stochastic depth do."""

    def forward(self, images):
        return nn.functional.dropout(super().forward(images), training=self.training)


@pytest.mark.parametrize("read", ["in memory", "from files"])
def test_what_layers_draw_depends_on_the_seed_alone_and_continues(read, data, compute, tmp_path, monkeypatch):
    if read == "from files":
        monkeypatch.setattr(folder, "MEMORY_LIMIT", 0)
        data = folder.folder_data(paint(tmp_path / "photos", {"apple": 90, "berry": 60}), size=12)
        assert data.train.pixels is None
    setting = replace(SETTING, backbone=partial(Dropped, depth=8, width=4))

    def end(name, seed=0, watch=None):
        torch.rand(len(name))  # the program draws numbers of its own
        before = torch.get_rng_state()
        experiment = Experiment(recipes.ce(setting), setting, data, seed=seed)
        try:
            return train_stages(experiment, Run(tmp_path / name), compute, watch=watch)[0].state_dict()
        finally:
            assert torch.equal(torch.get_rng_state(), before)

    whole = end("whole")
    with pytest.raises(InterruptedRun):
        end("cut", watch=cut_off(0, 1))
    assert equal(end("cut"), whole)
    assert not equal(end("other seed", seed=1), whole)
