"""A changed or damaged model is refused in one sentence that names the file; nothing of it is imported, run or downloaded."""

import json
import shutil
import sys
from pathlib import Path

import pytest
from hostile_runs import ANEW, CALLS, WRAPPED, config_of

import longtail
from longtail.errors import DamagedFile, UserError
from longtail.spec.parts import BACKBONE, HEAD, RULE, restore

pytestmark = pytest.mark.usefixtures("nothing_is_run")


def refused(run, change):
    """The sentence on the run after `change` was applied to its configuration."""
    config = config_of(run)
    change(config["longtail"])
    (run / "model" / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError) as caught:
        longtail.load(run)
    sentence = str(caught.value)
    assert f"'{run / 'model' / 'config.json'}'" in sentence
    assert "\n" not in sentence
    return sentence


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("place", ["backbone", "wrapper", "head", "inference", "stage's head", "stage's backbone"])
def test_no_other_function_is_named(changed_run, call, place):
    description = {"call": call, "method": "decoy.py:net", "repo_or_dir": "a/b", "source": "touch made"}

    def change(config):
        if place.startswith("stage"):
            config["stages"][0][place.removeprefix("stage's ")] = description
        else:
            config[place] = description

    assert refused(changed_run, change).startswith(f"'{changed_run / 'model' / 'config.json'}' cannot be used. '{call}' ")


@pytest.mark.parametrize("call", CALLS[:-3])
@pytest.mark.parametrize("around", [lambda d: d, lambda d: [d], lambda d: {"a": [{"b": d}]}], ids=["argument", "list", "mapping"])
def test_nor_inside_of_arguments(changed_run, call, around):
    if call == "torch.optim.SGD":
        return

    def change(config):
        config["backbone"]["depth"] = around({"call": call, "command": "touch made"})

    assert f"'{call}' " in refused(changed_run, change)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("backbone", {"call": "longtail.heads.LinearHead"}, "'longtail.heads.LinearHead' is not a backbone."),
        ("backbone", {"call": "longtail.networks.Classifier"}, "'longtail.networks.Classifier' is not a backbone."),
        ("backbone", "keep", "In place of a backbone, which is described by its name and arguments, it has 'keep'."),
        ("backbone", None, "In place of a backbone"),
        ("backbone", {"call": 3}, "In place of a backbone"),
        ("backbone", {"call": "longtail.networks.CifarResNet", "deep": 8}, "The arguments of CifarResNet do not fit"),
        ("backbone", {"call": "longtail.networks.CifarResNet", "depth": 9}, "CifarResNet has depth 6 n + 2"),
        ("backbone", {"call": "longtail.networks.CifarResNet", "depth": 8e9}, "cannot be built (TypeError"),
        ("backbone", {"call": "longtail.networks.CifarResNet", "depth": 6 * 10**9 + 2}, "larger than the stored weights"),
        ("backbone", {"call": "longtail.networks.CifarResNet", "depth": 8, "width": 10**6}, "larger than the stored weights"),
        (
            "backbone",
            {"call": "longtail.networks.TimmBackbone", "name": "hf-hub:some/body"},
            "timm has no model 'hf-hub:some/body'",
        ),
        ("backbone", {"call": "longtail.networks.TimmBackbone", "name": "local-dir:/tmp"}, "timm has no model 'local-dir:/tmp'"),
        ("backbone", {"call": "longtail.networks.TimmBackbone", "name": "../../made"}, "timm has no model '../../made'"),
        ("backbone", {"call": "longtail.networks.TimmBackbone", "name": ["resnet18"]}, "timm has no model"),
        (
            "backbone",
            {"call": "longtail.networks.TimmBackbone", "name": "test_resnet", "pretrained": True},
            "nothing is downloaded",
        ),
        ("backbone", {"call": "longtail.networks.TimmBackbone", "name": "test_resnet", "pretrained": 1}, "nothing is downloaded"),
        ("wrapper", {"call": "longtail.networks.ExpertsBackbone", "experts": 10**9}, "larger than the stored weights"),
        (
            "wrapper",
            {"call": "longtail.networks.ExpertsBackbone", "experts": 10**9, "start": "copied"},
            "larger than the stored weights",
        ),
        ("wrapper", {"call": "longtail.networks.ExpertsBackbone", "experts": "3"}, "a whole number of at least 1; got '3'"),
        ("head", {"call": "longtail.heads.ExpertsHead", "experts": 7}, "into equal parts; experts=7 is none of"),
        ("head", {"call": "longtail.heads.MetaHead"}, "'longtail.heads.MetaHead' is not a head."),
        ("head", {"call": "longtail.heads.Head"}, "'longtail.heads.Head' is not a head."),
        ("head", {"call": "longtail.heads.GoneHead"}, "does not exist in this version of longtail"),
        ("inference", {"call": "longtail.inference.fitted"}, "'longtail.inference.fitted' is not an inference rule."),
        ("inference", {"call": "longtail.inference.open_set"}, "does not give a score for each of the 10 classes"),
        ("inference", {"call": "longtail.inference.tau_normalised"}, "tau_normalised has to be fitted"),
        ("inference", {"call": "longtail.inference.logit_adjusted", "tau": "1"}, "cannot be built"),
        ("inference", {"call": "longtail.inference.logit_adjusted", "predictions": 1}, "arguments of logit_adjusted do not fit"),
        ("inference", {"call": "longtail.inference.logit_adjusted", "tau": float("nan")}, "An argument has to be a number"),
        ("stages", {}, "'stages' has to be a list of stages"),
        ("stages", [{"head": "keep", "backbone": "keep"}] * 101, "'stages' has 101 stages; at most 100 are built."),
        ("stages", [{"head": "keep"}], "'stages' has to be a list of stages"),
        ("stages", [{"head": "drop", "backbone": "keep"}], "In place of a wrapper of heads"),
        ("stages", [{"head": "keep", "backbone": {"call": "longtail.networks.CifarResNet"}}], "is not a wrapper of backbones."),
        ("classes", "0123456789", "'classes' has to be a list of texts"),
        ("classes", list(range(10)), "'classes' has to be a list of texts"),
        ("classes", [], "'classes' has to be a list of texts"),
        ("classes", ["0"] * 10, "'classes' names a class twice"),
        ("class_counts", ["7", "70", "2"], "'class_counts' has to be a list of numbers"),
        ("class_counts", [7, 70], "'class_counts' has 2 numbers for 10 classes"),
        ("class_counts", [-1] * 10, "none below 0"),
        ("class_counts", [10**400] * 10, "'class_counts' has to be a list of numbers"),
        ("class_counts", [True] * 10, "'class_counts' has to be a list of numbers"),
        ("size", "8", "'size' has to be the side of the images"),
        ("size", 8.0, "'size' has to be the side of the images"),
        ("size", 0, "'size' has to be the side of the images"),
        ("size", 10**6, "'size' has to be the side of the images"),
        ("size", True, "'size' has to be the side of the images"),
        ("views", 3, "'views' has to be the number of views of an image: 1, 2 or 8."),
        ("views", True, "'views' has to be the number of views"),
        ("views", [8], "'views' has to be the number of views"),
        ("mean", [0.3], "'mean' has to be three numbers"),
        ("mean", [-(10**400)] * 3, "'mean' has to be three numbers"),
        ("mean", [0.3, 0.3, "a"], "'mean' has to be three numbers"),
        ("std", [0.3, 0.3, 0], "'std' has to be three numbers above 0"),
        ("classifier", 3, "'classifier' has to be a text"),
    ],
)
def test_a_value_of_another_form_is_named(changed_run, path, value, words):
    sentence = refused(changed_run, lambda config: config.update({path: value}))
    assert words in sentence
    assert sentence.endswith(ANEW)


def test_maps_of_any_size_do_not_use_up_the_memory(tmp_path):
    run = Path(shutil.copytree(WRAPPED, tmp_path / "run"))
    assert "larger than the stored weights" in refused(run, lambda config: config.update(size=512))


@pytest.mark.parametrize(
    "name", ["classes", "class_counts", "size", "mean", "std", "backbone", "wrapper", "head", "stages", "inference"]
)
def test_a_missing_value_is_named(changed_run, name):
    assert f"It lacks '{name}'." in refused(changed_run, lambda config: config.pop(name))


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"3", b"null", b'{"longtail": []}', b"{}", b"[" * 100_000, b'{"longtail":' * 5000]
)
def test_what_is_no_configuration_is_named(changed_run, content):
    (changed_run / "model" / "config.json").write_bytes(content)
    with pytest.raises(DamagedFile, match=r"model/config\.json' (cannot be used|is damaged)"):
        longtail.load(changed_run)


@pytest.mark.parametrize("module", ["../own@12345678", "own@12345678", "a\0@1", "/etc/own@1", "@"])
def test_a_user_s_own_code_that_the_run_did_not_keep_is_not_run(changed_run, module):
    config = config_of(changed_run)
    config["longtail"]["head"] = {"call": f"{module}.net"}
    (changed_run / "model" / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="add `trust_code=True`"):
        longtail.load(changed_run)
    with pytest.raises(UserError, match="is missing or is not the file that the run was trained with"):
        longtail.load(changed_run, trust_code=True)


@pytest.mark.parametrize("code", [None, {}, [3], [{"file": 3}], "code"])
def test_a_record_of_another_form_trusts_no_code(changed_run, code):
    (changed_run / "record.json").write_text(json.dumps({"experiment": "a", "code": code}))
    config = config_of(changed_run)
    config["longtail"]["head"] = {"call": "own@12345678.net"}
    (changed_run / "model" / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="is missing or is not the file"):
        longtail.load(changed_run, trust_code=True)


def test_a_module_that_happens_to_be_loaded_is_not_a_user_s_own():
    sys.modules["mine@12345678"] = sys
    try:
        with pytest.raises(UserError, match="is not part of longtail"):
            restore({"call": "mine@12345678.exit"}, HEAD)
    finally:
        del sys.modules["mine@12345678"]


def test_each_place_takes_its_own_parts():
    assert restore({"call": "longtail.backbones.CifarResNet", "depth": 8}, BACKBONE)().num_features == 64
    assert restore({"call": "longtail.heads.CosineHead"}, HEAD)(4, 3).weight.shape == (3, 4)
    assert restore({"call": "longtail.inference.rebalanced", "tau": 0.5}, RULE).keywords == {"tau": 0.5}
