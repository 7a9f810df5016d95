"""From a request to a finished run: what `longtail.train` and the command line share."""

import re
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

import longtail
from commands import paint
from longtail import recipes, settings, weighting
from longtail.data.digits import digits_lt as digits_data
from longtail.errors import UserError
from longtail.losses import GCLLoss, clouds
from longtail.spec.changing import look_up
from longtail.spec.description import describe, digest
from longtail.spec.recipe import with_augmentation
from longtail.workflow import one_run as workflow
from longtail.workflow.checks import check
from longtail.workflow.one_run import prepared, train_one
from longtail.workflow.request import Request
from longtail.workflow.resolve import chosen_recipe, chosen_setting, recipe_function
from longtail.workflow.watcher import Silent

SETTING = settings.digits_lt()
MODEL = "model/model.safetensors"


class Notebook(Silent):
    """A watcher that keeps what a run reports."""

    def __init__(self):
        self.notes, self.read, self.begun, self.steps = [], [], [], []

    def note(self, text):
        self.notes.append(text)

    def reading(self, done, total):
        self.read.append((done, total))

    def begin(self, experiment):
        self.begun.append(experiment.recipe.name)

    def step(self, stage, progress):
        self.steps.append((stage, progress.epoch, progress.step))


@pytest.fixture(scope="module")
def digits():
    return prepared(Request("digits_lt", epochs=2), Silent())


def run(tmp_path, digits, **asked):
    watcher = Notebook()
    return train_one(Request("digits_lt", runs=tmp_path, device="cpu", **asked), *digits, watcher=watcher), watcher


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"epochs": 0}, "`epochs` must be at least 1; got 0"),
        ({"imbalance": 0.99}, "a finite number of at least 1; got 0.99"),
        ({"imbalance": float("inf")}, "a finite number of at least 1; got inf"),
        ({"val": -0.1}, "at least 0 and below 1; got -0.1"),
        ({"val": 1.0}, "at least 0 and below 1; got 1"),
        ({"seed": -1}, "must not be negative"),
        ({"split_seed": -1}, "must not be negative"),
        ({"protocol": "papre"}, "Did you mean 'paper'"),
        ({"size": 7}, "at least 8 pixels; got 7"),
        ({"views": 4}, r"`views` must be 1 .* got 4\.$"),
        ({"augment": "storng"}, r"`augment` must be one of none, light, standard, strong; got 'storng'\."),
        ({"symmetry": "cube"}, r"`symmetry` must be one of none, mirror, square; got 'cube'\."),
    ],
    ids=str,
)
def test_numbers_that_mean_nothing(asked, said):
    with pytest.raises(ValueError, match=said):
        check(Request("photos" if "size" in asked else "digits_lt", **asked))


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"epochs": "two"}, "`epochs` must be int or None; got 'two' (str)"),
        ({"epochs": 1.5}, "`epochs` must be int or None; got 1.5 (float)"),
        ({"epochs": True}, "`epochs` must be int or None; got True (bool)"),
        ({"seed": None}, "`seed` must be int; got None (NoneType)"),
        ({"val": "a tenth"}, "`val` must be float or None; got 'a tenth' (str)"),
        ({"method": None}, "`method` must be str; got None (NoneType)"),
        ({"variants": ["a=b"]}, "`variants` must be Mapping; got ['a=b'] (list)"),
        ({"runs": 3}, "`runs` must be Path; got 3 (int)"),
        ({"fresh": "no"}, "`fresh` must be bool; got 'no' (str)"),
        ({"data": 3}, "`data` must be str or Path; got 3 (int)"),
        ({"data": " "}, "`data` is empty; give a folder of images, a CSV, or the name of a setting."),
    ],
    ids=str,
)
def test_values_of_another_type_are_refused(asked, said):
    with pytest.raises(UserError, match=re.escape(said)):
        check(Request(**{"data": "digits_lt", **asked}))


def test_the_limits_themselves_are_allowed():
    check(Request("photos", epochs=1, imbalance=1, val=0, seed=0, split_seed=0, size=8, protocol="paper"))


@pytest.mark.parametrize("asked", [{"size": 16}, {"split": "split.csv"}, {"skip_corrupt": True}, {"pretrained": True}], ids=str)
def test_named_data_refuse_what_they_would_ignore(asked):
    with pytest.raises(ValueError, match=r"`(size|split|skip_corrupt|pretrained)`"):
        check(Request("digits_lt", **asked))


def test_a_choice_on_validation_images_needs_some(tmp_path, digits):
    with pytest.raises(ValueError, match="give `val` above 0"):
        run(tmp_path, digits, method="tau_norm", val=0)


def test_other_groups_are_read_from_a_finished_run(tmp_path, digits):
    run(tmp_path, digits, method="ce")
    again, _ = run(tmp_path, digits, method="ce", groups="auto")
    assert again.report.group_rule == "auto"
    assert [group.classes for group in again.report.test.groups.values()] == [4, 3, 3]


def test_an_imbalance_is_the_same_however_it_is_written(tmp_path):
    for data in ("digits_lt", "cifar10_lt"):
        assert digest(chosen_setting(Request(data, imbalance=50.0))[0]) == digest(chosen_setting(Request(data, imbalance=50))[0])
    assert digest(chosen_setting(Request("digits_lt", imbalance=50.0))[0]) == digest(chosen_setting(Request("digits_lt"))[0])


def test_where_named_data_lie(tmp_path, monkeypatch):
    monkeypatch.delenv("LONGTAIL_DATA", raising=False)
    assert str(chosen_setting(Request("cifar10_lt"))[1]) == "data"
    monkeypatch.setenv("LONGTAIL_DATA", "elsewhere")
    assert str(chosen_setting(Request("cifar10_lt"))[1]) == "elsewhere"
    assert chosen_setting(Request("cifar10_lt", root=tmp_path))[1] == tmp_path


@pytest.mark.parametrize(
    ("asked", "name"), [({}, "digits_lt"), ({"imbalance": 50}, "digits_lt"), ({"imbalance": 10}, "digits_lt_10")], ids=str
)
def test_another_cut_is_another_setting(asked, name):
    assert chosen_setting(Request("digits_lt", **asked))[0].name == name


def test_a_named_setting_takes_another_network_and_budget():
    setting, data = prepared(Request("digits_lt", backbone="resnet14", epochs=3, split_seed=2), Silent())
    assert setting.backbone.keywords == {"depth": 14}
    assert (setting.epochs, setting.data.keywords["split_seed"]) == (3, 2)
    assert data.classes == tuple("0123456789")


@pytest.mark.parametrize("function", recipes.ALL, ids=lambda function: function.__name__)
def test_every_method_by_its_name(function):
    assert recipe_function(function.__name__) is function
    assert describe(chosen_recipe(Request("digits_lt", function.__name__), SETTING)) == describe(function(SETTING))


def test_variants_and_changes_as_text_and_as_values():
    texts = Request(
        "x",
        "gcl",
        variants={"sampler": "effective_number", "cloud": "power(exponent=1/4)"},
        changes={"stages.0.loss.scale": "20"},
    )
    values = replace(
        texts,
        variants={"sampler": weighting.effective_number, "cloud": partial(clouds.power, exponent=0.25)},
        changes={"stages.0.loss.scale": 20},
    )
    recipe = chosen_recipe(texts, SETTING)
    assert describe(recipe) == describe(chosen_recipe(values, SETTING))
    assert look_up(recipe, "stages.0.loss.scale") == 20.0
    assert recipe.stages[0].loss.func is GCLLoss
    assert recipe.stages[1].resample is weighting.effective_number


def test_a_recipe_from_a_file(tmp_path):
    (tmp_path / "mine.py").write_text("from longtail.recipes import ce\n\ndef mine(setting, *, b: int = 8): return ce(setting)\n")
    assert chosen_recipe(Request("x", f"{tmp_path}/mine.py:mine", variants={"b": "4"}), SETTING).name == "ce"
    with pytest.raises(ValueError, match=r"There is no variant of .*mine\.py:mine 'c'"):
        chosen_recipe(Request("x", f"{tmp_path}/mine.py:mine", variants={"c": "4"}), SETTING)


def test_train_from_python(tmp_path):
    path, watcher = paint(tmp_path / "photos", {"apple": 6, "berry": 4}), Notebook()
    options = {"epochs": 1, "size": 8, "backbone": "resnet8", "runs": str(tmp_path / "runs"), "device": "cpu"}
    result = longtail.train(str(path), method="ce", watcher=watcher, **options)
    assert result.folder.parent == tmp_path / "runs" / "photos" / "ce"
    assert result.report.images == {"train": 8, "test": 2}
    assert (watcher.read[-1], len(watcher.read)) == ((10, 10), 10)
    assert watcher.begun == ["ce"]
    assert watcher.steps == [(0, 0, 0)]
    assert "8x8 pixels" in watcher.notes[0]
    assert longtail.train(path, method="ce", **options).report == result.report


def test_an_option_that_does_not_exist():
    with pytest.raises(TypeError, match=r"There is no option 'epoch'\. Did you mean 'epochs'"):
        longtail.train("digits_lt", epoch=3)


def test_a_finished_run_is_not_begun_again(tmp_path, digits):
    first, watcher = run(tmp_path, digits, method="ce")
    assert (watcher.begun, len(watcher.steps)) == (["ce"], 2 * 11)
    again, watcher = run(tmp_path, digits, method="ce")
    assert (again.folder, again.report, watcher.begun) == (first.folder, first.report, [])


def test_a_stage_in_common_is_trained_once(tmp_path, digits):
    run(tmp_path, digits, method="ce")
    result, watcher = run(tmp_path, digits, method="crt")
    assert {stage for stage, _, _ in watcher.steps} == {1}
    assert [stage.epochs for stage in result.report.stages] == [2, 1]
    _, watcher = run(tmp_path, digits, method="crt", seed=1)
    assert {stage for stage, _, _ in watcher.steps} == {0, 1}
    _, watcher = run(tmp_path, digits, method="crt", fresh=True)
    assert {stage for stage, _, _ in watcher.steps} == {0, 1}


def test_validation_images_are_held_out_only_where_something_is_chosen(tmp_path, digits):
    plain, _ = run(tmp_path, digits, method="ce")
    chosen, _ = run(tmp_path, digits, method="tau_norm")
    asked, _ = run(tmp_path, digits, method="ce", val=0.2)
    assert "val" not in plain.report.images
    assert plain.report.val_mean_recall is None
    assert sum(chosen.report.images.values()) == sum(plain.report.images.values()) == sum(asked.report.images.values())
    assert 0 < chosen.report.images["val"] < asked.report.images["val"]
    assert set(chosen.report.chosen) == {"tau"}


@pytest.mark.parametrize(
    "asked", [{"seed": 1}, {"protocol": "paper"}, {"precision": "bf16-mixed"}, {"changes": {"stages.0.epochs": "1"}}], ids=str
)
def test_another_experiment_has_another_folder(asked, tmp_path, digits, monkeypatch):
    class Stop(Exception):  # noqa: N818
        pass

    opened = []

    def stop(run, record):
        opened.append((run.folder, record["experiment"]))
        raise Stop

    monkeypatch.setattr(workflow.Run, "open", stop)
    for options in ({}, asked):
        with pytest.raises(Stop):
            run(tmp_path, digits, method="ce", **{"precision": "32-true", **options})
    assert opened[0] != opened[1]
    assert opened[0][0].parent == opened[1][0].parent


def test_other_views_evaluate_the_trained_network_again(tmp_path):
    def views(number, **more):
        how = {"epochs": 2, "runs": tmp_path, "device": "cpu", "precision": "32-true", **more}
        request = Request("digits_lt", method="crt", views=number, **how)
        watcher = Notebook()
        return train_one(request, *prepared(request, watcher), watcher=watcher), watcher.steps

    (one, trained), (eight, again) = views(None), views(8)
    assert (bool(trained), again) == (True, [])
    assert one.folder != eight.folder
    assert (one.report.views, eight.report.views) == (1, 8)
    assert [stage.epochs for stage in eight.report.stages] == [2, 1]
    with safe_open(one.folder / MODEL, "pt") as first, safe_open(eight.folder / MODEL, "pt") as second:
        assert all(torch.equal(first.get_tensor(name), second.get_tensor(name)) for name in first.keys())  # noqa: SIM118
    pixels, labels = digits_data(Path()).test.pixels, digits_data(Path()).test.labels
    for result in (one, eight):
        predictor, stored = longtail.load(result.folder), np.load(result.folder / "predictions.npz")
        assert predictor.views == result.report.views, "the model is used as it was evaluated"
        scores = torch.cat([predictor.scores(some) for some in pixels.split(256)])
        assert torch.equal(scores.half(), torch.from_numpy(stored["scores" if "scores" in stored else "logits"]))
        assert (scores.argmax(1).numpy() == labels).mean() == pytest.approx(result.report.test.accuracy)
    as_one = longtail.load(eight.folder).scores(pixels[:9], views=1)
    assert torch.equal(as_one, longtail.load(one.folder).scores(pixels[:9]))
    assert not torch.allclose(as_one, longtail.load(eight.folder).scores(pixels[:9]), atol=0.01)
    judged, _ = views(8, protocol="paper")
    assert judged.report.stages[0].best_test_epoch is not None
    _, trained = views(1, protocol="paper")
    assert trained, "its epochs are judged with one view, so they are trained again"


@pytest.mark.parametrize("asked", [{"augment": "strong"}, {"symmetry": "square"}, {"augment": "none", "symmetry": "none"}])
def test_an_augmentation_that_is_asked_for_is_part_of_the_experiment(asked):
    usual, setting = (chosen_setting(Request("cifar10_lt", **more))[0] for more in ({}, asked))
    assert digest(usual) == digest(settings.cifar10_lt())
    assert digest(setting) == digest(with_augmentation(usual, asked.get("augment"), asked.get("symmetry"))) != digest(usual)
    assert {name: describe(setting)[name] for name in ("augmentation", "symmetry") if name in describe(setting)} == {
        {"augment": "augmentation"}.get(name, name): value for name, value in asked.items()
    }
