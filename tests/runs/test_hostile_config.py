"""A changed or damaged model is refused in one sentence that names the file; nothing of it is imported, run or downloaded."""

import json
import os
import shutil
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

import longtail
from commands import longtail as command
from longtail.data.digits import digits_lt
from longtail.errors import DamagedFile, UserError
from longtail.spec.parts import BACKBONE, HEAD, RULE, restore

FORMER = Path(__file__).parents[1] / "fixtures" / "runs_0_1_0" / "digits_lt"
PLAIN = FORMER / "logit_adjusted_post_hoc" / "0-89fc7a"
WRAPPED = FORMER / "oltr" / "0-197ada"
ANEW = "Start the training command again, which makes it anew from the stored stages."
CALLS = (
    "decoy.net",
    "longtail.request.recipe_function",
    "longtail.workflow.resolve.recipe_function",
    "longtail.spec.own_code.own_function",
    "longtail.data.published.listed",
    "longtail.data.lists.listed",
    "longtail.networks.pretrained.read_weights",
    "longtail.networks.backbones.TimmBackbone.__init__",
    "longtail.cli.main",
    "os.system",
    "builtins.eval",
    "subprocess.Popen",
    "torch.hub.load",
    "torch.load",
    "torch.optim.SGD",
    "timm.create_model",
    "longtail",
    "",
    ".",
)
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(params=[PLAIN, WRAPPED], ids=["plain", "wrapped"])
def run(request, tmp_path):
    """A copy of a finished run of release 0.1.0, which stored no checksums, so that only the content protects it."""
    return Path(shutil.copytree(request.param, tmp_path / "run"))


@pytest.fixture(autouse=True)
def _nothing_is_run(tmp_path, monkeypatch):
    """After each test no function was called, no module was imported and no file was made that only a file of the model names."""
    called = []
    for owner, name in ((os, "system"), (subprocess, "Popen"), (torch.hub, "load"), (torch, "load"), (socket.socket, "connect")):
        monkeypatch.setattr(owner, name, lambda *words, name=name, **more: called.append(name))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.syspath_prepend(tmp_path / "here")
    Path("decoy.py").write_text("open('made', 'w').close()\ndef net(): return None\n")
    yield
    assert called == []
    assert "decoy" not in sys.modules
    assert [path.name for path in Path().iterdir()] == ["decoy.py"]


def config_of(run):
    return json.loads((run / "model" / "config.json").read_text())


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
def test_no_other_function_is_named(run, call, place):
    description = {"call": call, "method": "decoy.py:net", "repo_or_dir": "a/b", "source": "touch made"}

    def change(config):
        if place.startswith("stage"):
            config["stages"][0][place.removeprefix("stage's ")] = description
        else:
            config[place] = description

    assert refused(run, change).startswith(f"'{run / 'model' / 'config.json'}' cannot be used. '{call}' ")


@pytest.mark.parametrize("call", CALLS[:-3])
@pytest.mark.parametrize("around", [lambda d: d, lambda d: [d], lambda d: {"a": [{"b": d}]}], ids=["argument", "list", "mapping"])
def test_nor_inside_of_arguments(run, call, around):
    if call == "torch.optim.SGD":
        return

    def change(config):
        config["backbone"]["depth"] = around({"call": call, "command": "touch made"})

    assert f"'{call}' " in refused(run, change)


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
def test_a_value_of_another_form_is_named(run, path, value, words):
    sentence = refused(run, lambda config: config.update({path: value}))
    assert words in sentence
    assert sentence.endswith(ANEW)


def test_maps_of_any_size_do_not_use_up_the_memory(tmp_path):
    run = Path(shutil.copytree(WRAPPED, tmp_path / "run"))
    assert "larger than the stored weights" in refused(run, lambda config: config.update(size=512))


@pytest.mark.parametrize(
    "name", ["classes", "class_counts", "size", "mean", "std", "backbone", "wrapper", "head", "stages", "inference"]
)
def test_a_missing_value_is_named(run, name):
    assert f"It lacks '{name}'." in refused(run, lambda config: config.pop(name))


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"3", b"null", b'{"longtail": []}', b"{}", b"[" * 100_000, b'{"longtail":' * 5000]
)
def test_what_is_no_configuration_is_named(run, content):
    (run / "model" / "config.json").write_bytes(content)
    with pytest.raises(DamagedFile, match=r"model/config\.json' (cannot be used|is damaged)"):
        longtail.load(run)


@pytest.mark.parametrize("module", ["../own@12345678", "own@12345678", "a\0@1", "/etc/own@1", "@"])
def test_a_user_s_own_code_that_the_run_did_not_keep_is_not_run(run, module):
    config = config_of(run)
    config["longtail"]["head"] = {"call": f"{module}.net"}
    (run / "model" / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="add `trust_code=True`"):
        longtail.load(run)
    with pytest.raises(UserError, match="is missing or is not the file that the run was trained with"):
        longtail.load(run, trust_code=True)


@pytest.mark.parametrize("code", [None, {}, [3], [{"file": 3}], "code"])
def test_a_record_of_another_form_trusts_no_code(run, code):
    (run / "record.json").write_text(json.dumps({"experiment": "a", "code": code}))
    config = config_of(run)
    config["longtail"]["head"] = {"call": "own@12345678.net"}
    (run / "model" / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="is missing or is not the file"):
        longtail.load(run, trust_code=True)


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


# --- The weights -----------------------------------------------------------------------------------------------------------


def header(entries):
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: b"",
        lambda content: content[:7],
        lambda content: content[: len(content) // 2],
        lambda content: content[:-1],
        lambda content: content + b"\0",
        lambda content: bytes(len(content)),
        lambda content: b"garbage " * 100,
        lambda content: struct.pack("<Q", 2**63) + content[8:],
        lambda content: header({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 4]}}) + b"1234",
        lambda content: header({"a": {"dtype": "F99", "shape": [1], "data_offsets": [0, 4]}}) + b"1234",
        lambda content: header({"a": {"dtype": "F4", "shape": [8], "data_offsets": [0, 4]}}) + b"1234",
        lambda content: header([]),
        lambda content: header({}),
    ],
)
def test_damaged_weights_are_named(run, spoil):
    path = run / "model" / "model.safetensors"
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(DamagedFile) as caught:
        longtail.load(run)
    assert f"'{path}' cannot be used. It " in str(caught.value)
    assert str(caught.value).endswith(ANEW)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.pop("head.weight"), "head.weight is missing where the network has float32 (10, 64)"),
        (lambda t: t.update(more=torch.zeros(2)), "more is float32 (2,) where the network has missing"),
        (lambda t: t.update({"head.bias": torch.zeros(9)}), "head.bias is float32 (9,) where the network has float32 (10,)"),
        (lambda t: t.update({"head.bias": torch.zeros(10).half()}), "head.bias is float16 (10,)"),
        (lambda t: t.update({"inference.tau": torch.zeros(3)}), "cannot be built"),
        (lambda t: t.update({"inference.predictions": torch.zeros(3)}), "cannot be built"),
    ],
)
def test_weights_that_do_not_fit_are_named(tmp_path, change, words):
    run = Path(shutil.copytree(PLAIN, tmp_path / "run"))
    tensors = load_file(run / "model" / "model.safetensors")
    change(tensors)
    save_file(tensors, run / "model" / "model.safetensors")
    with pytest.raises(DamagedFile) as caught:
        longtail.load(run)
    assert words in str(caught.value)
    assert str(caught.value).endswith(ANEW)


def test_a_classifier_of_timm_that_the_weights_lack_is_named(run):
    config = config_of(run)
    config["longtail"]["classifier"] = "fc"
    (run / "model" / "config.json").write_text(json.dumps(config))
    with pytest.raises(
        DamagedFile, match=r"model\.safetensors' cannot be used\. It does not fit config\.json: fc\.weight is missing"
    ):
        longtail.load(run)


# --- Any bytes -------------------------------------------------------------------------------------------------------------

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(CALLS),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5) | st.sampled_from(["call", "head", "backbone", "name"]), inner, max_size=3)
    ),
    max_leaves=6,
)


def places(value, path=()):
    """Paths of all values in a JSON document."""
    if path:
        yield path
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inside:
        yield from places(each, (*path, key))


def changed(folder, source):
    """The copy of a run to be changed: the same for every example, with the files as they were written."""
    return Path(shutil.copytree(source, folder / "run", dirs_exist_ok=True))


def loaded_or_refused(run):
    """Loads a changed run: it predicts, or is refused in one sentence."""
    try:
        predictor = longtail.load(run)
    except UserError as error:
        said = str(error)
    else:
        said = f"model/ gives scores {tuple(predictor.scores(digits_lt().test.pixels[:1]).shape)}"
    assert "model/" in said
    assert "\n" not in said


@pytest.mark.parametrize("source", [PLAIN, WRAPPED], ids=["plain", "wrapped"])
@QUICK
@given(data=st.data())
def test_a_configuration_with_any_other_value(tmp_path, source, data):
    run, config = changed(tmp_path, source), config_of(source)
    *path, key = data.draw(st.sampled_from(list(places(config))))
    owner = config
    for step in path:
        owner = owner[step]
    if data.draw(st.booleans()):
        owner[key] = data.draw(anything)
    else:
        del owner[key]
    (run / "model" / "config.json").write_text(json.dumps(config))
    loaded_or_refused(run)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
@pytest.mark.parametrize("source", [PLAIN, WRAPPED], ids=["plain", "wrapped"])
@QUICK
@given(changes=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=4), cut=st.integers(0, 10**6))
def test_files_with_any_other_bytes(tmp_path, source, name, changes, cut):
    run = changed(tmp_path, source)
    content = bytearray((source / "model" / name).read_bytes())
    beginning = min(len(content), 4000)  # where the header of the weights is
    for place, value in changes:
        content[place % beginning] = value
    (run / "model" / name).write_bytes(content[: len(content) - cut] if cut < len(content) else content)
    loaded_or_refused(run)


def test_the_command_line_says_one_sentence(run):
    (run / "model" / "model.safetensors").write_bytes(b"")
    assert "model.safetensors' cannot be used." in command("predict", run, "none.png").sentence
