"""A recipe and a setting in a file of the user's own: trained, kept with the run, run again only when trusted."""

import json
import sys
from pathlib import Path

import pytest
import torch

import longtail as package
from commands import longtail, paint, resealed
from longtail.errors import UserError
from longtail.runs.seals import read_json, write_json
from longtail.spec.own_code import read_own

RECIPE = '''
"""A recipe whose loss, head, wrapper and rule are its own."""

from dataclasses import replace
from pathlib import Path

import torch
from longtail.heads import Head
from longtail.inference import fitted_on, not_fitted
from longtail.losses import Loss
from longtail.recipes import Recipe, Setting, first_stage
from longtail.settings import digits_lt
from torch import nn

Path("ran").write_text(Path("ran").read_text() + "x" if Path("ran").exists() else "x")


class Halved(Head):
    def __init__(self, in_features, num_classes, *, share=0.5):
        super().__init__()
        self.linear, self.share = nn.Linear(in_features, num_classes), share

    def forward(self, features):
        return self.share * self.linear(features.float()) * self.scale


class Smoothed(Loss):
    def __init__(self, class_counts, *, smoothing=0.1, weight=None):
        super().__init__(class_counts, weight=weight)
        self.smoothing = smoothing

    def forward(self, logits, labels):
        return nn.functional.cross_entropy(logits.float(), labels, label_smoothing=self.smoothing)


class Doubled(nn.Module):
    timm_name = None

    def __init__(self, backbone, *, image_size):
        super().__init__()
        self.inner, self.num_features = backbone, 2 * backbone.num_features

    def forward(self, images):
        features = self.inner(images)
        return torch.cat([features, features.square()], dim=1)


@fitted_on("val", keyword="offset", learn=lambda rule, val: {"offset": val.logits.mean(0)})
def centred(predictions, *, offset=None):
    if offset is None:
        raise not_fitted(centred)
    return predictions.logits - offset


def mine(setting: Setting) -> Recipe:
    """My recipe."""
    stage = first_stage(setting, loss=Smoothed)
    return Recipe("mine", (stage,), head=Halved, backbone_wrapper=Doubled, inference=centred)


def whole(setting: Setting) -> Setting:
    return setting


def nothing_taken() -> Recipe:
    return mine(digits_lt())


def inner(setting: Setting) -> Recipe:
    return replace(mine(setting), inference=lambda predictions: predictions.logits)


def small(*, imbalance: float = 20) -> Setting:
    """My setting."""
    return replace(digits_lt(imbalance=imbalance), name="small", epochs=1)
'''


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_file.py").write_text(RECIPE)
    monkeypatch.delitem(sys.modules, read_own(tmp_path / "my_file.py").module, raising=False)
    return tmp_path


@pytest.fixture
def run(path):
    said = longtail("train", "digits_lt", "--method", "my_file.py:mine", "--epochs", 2, "--device", "cpu")
    return Path(said.folder)


def images(path):
    return paint(path / "new", {"a": 3}, size=8)


def test_the_run_keeps_the_file_with_its_hash(run, path):
    kept = json.loads((run / "record.json").read_text())["code"]
    assert [entry["file"] for entry in kept] == [f"code/{read_own(path / 'my_file.py').module}.py"]
    assert (run / kept[0]["file"]).read_text() == RECIPE


def test_an_untrusted_run_is_refused_and_its_code_not_run(run, path):
    before = (path / "ran").read_text()
    for said in (longtail("predict", run, images(path)), longtail("evaluate", run, paint(path / "labelled", {"3": 2, "4": 2}))):
        assert said.sentence == (
            f"'{run}' was trained with a user's own code (code/{read_own(path / 'my_file.py').module}.py), which "
            "would be run now. "
            "Read that code; if you trust it, add --trust-code."
        )
    with pytest.raises(UserError, match="add `trust_code=True`"):
        package.load(run)
    assert (path / "ran").read_text() == before


def test_a_trusted_run_predicts_what_was_judged(run, path):
    assert longtail("predict", run, images(path), "--trust-code").code == 0
    assert longtail("evaluate", run, paint(path / "labelled", {"3": 2, "4": 2}), "--trust-code").code == 0
    from longtail.data.digits import digits_lt

    test, predictor = digits_lt().test, package.load(run, trust_code=True)
    right = (predictor.scores(test.pixels).argmax(1) == torch.from_numpy(test.labels)).double().mean().item()
    assert right == pytest.approx(json.loads((run / "report.json").read_text())["test"]["accuracy"], abs=0.01)


def test_the_next_command_is_one_that_works(run, path):
    assert f"Next: longtail predict {run} IMAGES --trust-code" in longtail("evaluate", run).text
    again = longtail("train", "digits_lt", "--method", "my_file.py:mine", "--epochs", 2, "--device", "cpu")
    assert f"Next: longtail predict {run} IMAGES --trust-code" in again.text
    predicted = longtail("predict", run, images(path), "--trust-code")
    assert f"Next: longtail evaluate {run} FOLDER --trust-code" in predicted.text


def test_versions_of_a_file_are_told_apart_in_the_table(run, path):
    (path / "my_file.py").write_text(RECIPE.replace("share=0.5", "share=0.25"))
    longtail("train", "digits_lt", "--method", "my_file.py:mine", "--epochs", 2, "--device", "cpu")
    lines = [line for line in longtail("table", "digits_lt").out.splitlines() if line.startswith("mine ")]
    assert len({line.partition("Smoothed (")[2] for line in lines}) == len(lines) == 2


def test_stored_predictions_need_no_code(run):
    assert longtail("evaluate", run, "--groups", "auto").code == 0


def test_a_copy_that_was_changed_is_refused(run):
    copy = next((run / "code").iterdir())
    copy.write_text(copy.read_text() + "\nraise RuntimeError('the changed copy was run')\n")
    with pytest.raises(UserError, match=r"code/my_file@\w+\.py' is missing or is not the file that the run was trained with"):
        package.load(run, trust_code=True)


def test_changed_code_is_another_experiment(run, path):
    file = path / "my_file.py"
    assert longtail("train", "digits_lt", "--method", "my_file.py:mine", "--epochs", 2, "--device", "cpu").folder == str(run)
    file.write_text(RECIPE.replace("smoothing=0.1", "smoothing=0.2"))
    assert longtail("train", "digits_lt", "--method", "my_file.py:mine", "--epochs", 2, "--device", "cpu").folder != str(run)


def test_a_setting_of_ones_own(path):
    said = longtail("train", "my_file.py:small", "--method", "ce", "--imbalance", 5, "--device", "cpu")
    record = json.loads((Path(said.folder) / "record.json").read_text())
    assert (record["setting"]["name"], record["setting"]["data"]["imbalance"]) == ("small", 5)
    assert record["code"][0]["file"].startswith("code/my_file@")
    assert longtail("predict", said.folder, images(path)).code == 0  # nothing of the file's own is in the model
    assert "small" in longtail("table", "small").text
    assert longtail("table", "my_file.py:small").out == longtail("table", "small").out.replace(
        "train small", "train my_file.py:small"
    )
    assert longtail("train", "my_file.py:small", "--size", 9).sentence.startswith("--size is for folders and CSVs")


def test_several_seeds_of_a_recipe_of_ones_own_train_side_by_side(path):
    many = longtail("train", "my_file.py:small", "--method", "my_file.py:mine", "--seeds", 2, "--jobs", 2, "--device", "cpu")
    assert "seed 1" in many.text


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("gone.py:mine", "There is no file 'gone.py'; name a function as path/to/file.py:function."),
        ("my_file.py:mime", "There is no function in my_file.py 'mime'. Did you mean 'mine'?"),
        ("my_file.py:whole", "'my_file.py:whole' must return a Recipe; got Setting."),
        ("needy.py:f", "'needy.py' cannot be imported (No module named 'not_installed_anywhere'). It must stand alone"),
        ("relative.py:f", "'relative.py' cannot be imported (attempted relative import"),
        ("my_file.py:nothing_taken", "'my_file.py:nothing_taken' cannot be called (too many positional arguments)"),
        ("broken.py:f", "broken.py', line 1, is not Python (invalid syntax)."),
    ],
)
def test_what_is_wrong_with_a_file_is_one_sentence(path, text, sentence):
    (path / "relative.py").write_text("from .my_file import mine\n")
    (path / "needy.py").write_text("import not_installed_anywhere\n")
    (path / "broken.py").write_text("def f(:\n")
    said = longtail("train", "digits_lt", "--method", text)
    assert sentence in said.sentence


def test_a_part_without_a_name_of_its_own_is_refused_before_training(path):
    said = longtail("train", "digits_lt", "--method", "my_file.py:inner", "--epochs", 1, "--device", "cpu")
    assert "<lambda>' is defined inside a function, so that its name does not say what it does" in said.sentence
    assert not list(path.glob("runs/*/*/*"))


def test_what_is_edited_while_a_command_runs_changes_nothing_of_it(path):
    edits = "\n\ndef reading(root, **asked):\n    file = Path(__file__)\n    file.write_text(file.read_text() + '# edited\\n')\n"
    edits += "    return digits_lt().data(root)\n\n\ndef edited() -> Setting:\n"
    edits += "    return replace(small(), name='edited', data=reading)\n"
    (path / "my_file.py").write_text(RECIPE + edits)
    options = ("--method", "my_file.py:mine", "--epochs", 1, "--device", "cpu", "--seeds", 2, "--jobs", 1)
    run = Path(longtail("train", "my_file.py:edited", *options).folder)
    kept = [entry["file"] for entry in json.loads((run / "record.json").read_text())["code"]]
    assert (run / kept[0]).read_text() == RECIPE + edits != (path / "my_file.py").read_text()
    assert {kept_file.name for kept_file in (run / "code").iterdir()} == {Path(kept[0]).name}
    assert longtail("predict", run, images(path), "--trust-code").code == 0


def test_a_description_runs_nothing_but_parts(run, path):
    (path / "evil.py").write_text("from pathlib import Path\nPath('evil_ran').touch()\n\n\ndef f():\n    pass\n")
    config = read_json(run, "model/config.json")
    for call in ("longtail.spec.own_code.own_function", "longtail.request.recipe_function", "longtail.cli.main", "os.system"):
        config["longtail"]["backbone"] = {"call": call, "text": "evil.py:f"}
        write_json(run, "model/config.json", config)
        resealed(run)
        with pytest.raises(UserError, match=f"'{call}' is not part of longtail's networks, losses and rules"):
            package.load(run, trust_code=True)
    assert not (path / "evil_ran").exists()
