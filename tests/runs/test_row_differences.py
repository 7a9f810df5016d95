"""How the rows of one method differ: what tells most of them comes first, and values are short."""

import pytest

from longtail.runs.row_differences import differences_of, short
from longtail.runs.table import IDENTITY


def test_a_row_says_first_what_few_others_have():
    """Four rows share what only a fifth lacks; each of the four has a draw of its own."""
    common = {f"stages.1.loss.{name}": 1 for name in "abcd"}
    recipes = [{"name": "gcl", **common, "draw": draw} for draw in ("uniform", "power", "effective", "cben")] + [{"name": "gcl"}]
    said = differences_of([{**dict.fromkeys(IDENTITY, ""), "recipe": recipe} for recipe in recipes])
    assert [each.split(", ")[0] for each in said[:4]] == ["draw = uniform", "draw = power", "draw = effective", "draw = cben"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("longtail.losses.GCLLoss", "GCLLoss"),
        ("my_file@1a2b3c4d.MyLoss", "MyLoss (my_file@1a2b3c4d)"),
        ("f" * 64, "ffffff"),
        ("32-true", "32-true"),
        (0.5, "0.5"),
        (None, "None"),
        ("", "none"),
    ],
)
def test_a_part_of_ones_own_is_shown_with_the_version_of_its_file(value, shown):
    assert short("stages.0.loss.call", value) == shown


def test_the_name_of_a_network_keeps_its_dots():
    assert short("setting.backbone.name", "resnet18.a1_in1k") == "resnet18.a1_in1k"


def test_the_network_and_the_images_are_named_before_what_follows_from_them():
    def record(split, backbone, rate, size=96):
        stage = {"batch_size": rate * 10, "optimizer": {"call": "torch.optim.SGD", "lr": rate, "momentum": 0.9, "nesterov": True}}
        setting = {"learning_rate": rate, "backbone": backbone, "data": {"size": size}, "views": size // 48}
        return {"split": split, "recipe": {"name": "ce", "stages": [stage]}, "setting": setting, "precision": rate}

    small = {"call": "longtail.backbones.CifarResNet", "depth": 8}
    large = {"call": "longtail.networks.timm_backbone.TimmBackbone", "name": "resnet18.a1_in1k"}
    records = [record("a" * 64, small, 1), record("a" * 64, large, 2, 48), record("b" * 64, small, 1), record("c" * 64, small, 1)]
    images = [{"train": 220, "test": 60}] * 2 + [{"train": 191, "test": 60}, {"train": 220, "test": 60}]
    first, second, third, _ = differences_of(records, images)
    assert second.startswith(
        "training images = 220, setting.backbone.name = resnet18.a1_in1k, setting.data.size = 48, setting.views = 1"
    )
    assert third.startswith("training images = 191, setting.backbone.depth = 8, setting.data.size = 96")
    assert first.startswith("training images = 220, ")
    assert differences_of(records[::3], images[::3]) == ["images = aaaaaa", "images = cccccc"], "nothing else tells them apart"
