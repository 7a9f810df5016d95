"""Changed or damaged weights are refused in one sentence that names the file; nothing of it is imported, run or downloaded."""

import json
import shutil
import struct
from pathlib import Path

import pytest
import torch
from hostile_runs import ANEW, PLAIN, config_of
from safetensors.torch import load_file, save_file

import longtail
from commands import longtail as command
from longtail.errors import DamagedFile

pytestmark = pytest.mark.usefixtures("nothing_is_run")


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
def test_damaged_weights_are_named(changed_run, spoil):
    path = changed_run / "model" / "model.safetensors"
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(DamagedFile) as caught:
        longtail.load(changed_run)
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


def test_a_classifier_of_timm_that_the_weights_lack_is_named(changed_run):
    config = config_of(changed_run)
    config["longtail"]["classifier"] = "fc"
    (changed_run / "model" / "config.json").write_text(json.dumps(config))
    with pytest.raises(
        DamagedFile, match=r"model\.safetensors' cannot be used\. It does not fit config\.json: fc\.weight is missing"
    ):
        longtail.load(changed_run)


def test_the_command_line_says_one_sentence(changed_run):
    (changed_run / "model" / "model.safetensors").write_bytes(b"")
    assert "model.safetensors' cannot be used." in command("predict", changed_run, "none.png").sentence
