"""`longtail show` of the digits, of a folder and of a recipe of one's own: what is shown is what is trained."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from test_show import as_json, shown

from commands import longtail, paint, truncated

SMALL = {"apple": 30, "berry": 12, "citron": 6}
HEAVY = ("torchvision", "timm", "sklearn", "matplotlib")
OWN = '''
from functools import partial

from torch.optim import AdamW

from longtail.losses import FocalLoss
from longtail.recipes import Recipe, first_stage


def softer(setting, *, gamma: float = 2.0):
    """Focal loss with a name of its own."""
    optimizer = partial(AdamW, lr=0.01, betas=(0.9, 0.99))
    stage = first_stage(setting, loss=partial(FocalLoss, gamma=gamma), optimizer=optimizer, departures=("[Ours] alone.",))
    return Recipe("softer", (stage,))
'''


def trained(path, runs, *words):
    said = longtail("train", path, *words, "--runs", runs, "--device", "cpu")
    return json.loads((Path(said.folder) / "record.json").read_text())


@pytest.mark.parametrize("asked", [("--imbalance", 10), ()])
def test_the_digits_are_shown_as_they_are_trained(asked, tmp_path):
    words = ("--epochs", 1, *asked)
    record = trained("digits_lt", tmp_path, "--method", "balanced_softmax", *words)
    page = as_json("balanced_softmax", "digits_lt", *words)
    assert record["recipe"] == page["recipe"]
    assert record["setting"] == page["setting"]
    assert record["recipe"]["stages"][0]["batch_size"] == page["setting"]["largest_batch"], (
        "it has 512 images where data are larger"
    )


@pytest.mark.parametrize("asked", [("--imbalance", 3), ("--budget", "common"), ()])
def test_a_folder_is_shown_as_it_is_trained(asked, tmp_path):
    path = paint(tmp_path / "photos", SMALL)
    words = ("--epochs", 1, "--size", 8, "--backbone", "resnet8", "--device", "cpu", "--symmetry", "none", *asked)
    record = trained(path, tmp_path / "runs", "--method", "crt", *words)
    page = as_json("crt", path, *words)
    assert record["recipe"] == page["recipe"]
    assert record["setting"] == page["setting"]
    found = shown("crt", path, "--size", 8).text
    assert "symmetry as found --symmetry training images are looked at" in found
    assert "views in evaluation those of the symmetry --views" in found
    assert "views in evaluation 2 --views" in shown("crt", path, "--size", 8, "--views", 2).text
    assert "symmetry as found" not in shown("crt", "digits_lt", "--augment", "strong").text
    departures = page["departures"]
    assert record["departures"] == [*departures["recipe"], *departures["stages"][0], *departures["stages"][1]]


def test_the_choice_for_a_folder_is_said_and_no_image_is_decoded(tmp_path):
    path = paint(tmp_path / "photos", SMALL, size=40)
    truncated(path / "apple" / "003.png")
    said = shown("ce", path, "--device", "cpu").text
    assert "32x32 pixels (--size); resnet32 (--backbone); 200 epochs (--epochs)" in said
    assert "size 32 --size" in said
    assert longtail("train", path, "--method", "ce", "--runs", tmp_path / "runs", "--device", "cpu").code == 2, "it is corrupt"


def test_a_recipe_of_one_s_own(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(OWN)
    said = shown(f"{file}:softer", "cifar10_lt", "--with", "gamma=3")
    assert said.out.startswith("softer · no source\nFocal loss with a name of its own.\nVariants (--with): gamma=2\n")
    for words in (
        "gamma 3 stages.0.loss.gamma",
        "optimizer AdamW stages.0.optimizer",
        "betas [0.9, 0.99] stages.0.optimizer.betas",
    ):
        assert words in said.text
    assert "departure [Ours] alone." in said.text


@pytest.mark.parametrize("more", [(), ("--json",)])
def test_nothing_of_training_is_loaded(more):
    code = f"""
import sys
from longtail.cli import main
sys.argv = ["longtail", "show", "oltr", "cifar100_lt", *{more!r}]
try:
    main()
except SystemExit:
    pass
print(set(sys.modules) & set({HEAVY!r}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()", done.stdout


def test_fine_tuning_is_shown_with_the_paths_of_its_values(tmp_path):
    photos = paint(tmp_path / "photos", {"apple": 6, "berry": 4}, size=40)
    run = ("--pretrained", "--backbone", "test_vit", "--device", "cpu", "--set", "stages.0.average=0.05")
    said = longtail("show", "ce", photos, *run, "--set", "stages.0.learning_rates.backbone.*=0.2")
    assert said.code == 0, said.err
    for line in (
        "AdamW",
        "lr 0.0003 stages.0.optimizer.lr",
        "rate of earlier blocks 0.75 stages.0.layer_decay",
        "average of weights 0.05 stages.0.average",
        "smoothing 0.1 stages.0.loss.smoothing",
        "backbone.* 0.2",
        "wanted false stages.0.start.wanted",
    ):
        assert line in said.text
