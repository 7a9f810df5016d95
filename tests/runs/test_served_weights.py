"""Weights of a finished run: timm loads them in its layout, and another training starts from them."""

import json
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from longtail import recipes, settings
from longtail.data.transforms import normalise
from longtail.engine.building import new_model
from longtail.errors import UserError
from longtail.inference import as_trained
from longtail.networks.backbones import CifarResNet
from longtail.networks.pretrained import load_backbone, read_weights
from longtail.networks.timm_backbone import TimmBackbone
from longtail.runs.model_store import write_model
from longtail.runs.run import Run
from longtail.runs.serving import load
from longtail.spec.experiment import Experiment

# --- timm ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "test_convnext"])
def test_timm_loads_what_is_timm_s(photo_run, name):
    folder, pixels = photo_run(name).folder, torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    predictor, config = load(folder), json.loads((folder / "model" / "config.json").read_text())
    network = timm.create_model(f"local-dir:{folder / 'model'}", pretrained=True).eval()
    with torch.inference_mode():
        logits = network(normalise(pixels, mean=network.pretrained_cfg["mean"], std=network.pretrained_cfg["std"]))
    torch.testing.assert_close(logits, predictor.scores(pixels), rtol=1e-4, atol=1e-5)
    assert network.pretrained_cfg["label_names"] == list(predictor.classes) == ["blue", "green", "red"]
    assert tuple(network.pretrained_cfg["input_size"]) == (3, 32, 32)
    assert config["architecture"] == name


@pytest.mark.parametrize(("name", "shape"), [("resnetv2_18", (3, 512, 1, 1)), ("deit_tiny_distilled_patch16_224", None)])
def test_odd_classifiers_of_timm(photos, tmp_path, name, shape):
    setting = settings.folder(name="photos", size=32, epochs=1, backbone=name)
    experiment, run = Experiment(recipes.ce(setting), setting, setting.data(photos)), Run(tmp_path)
    model = new_model(experiment).eval()
    write_model(run, experiment, model, as_trained)
    assert all(torch.equal(t, model.state_dict()[n]) for n, t in load(tmp_path, device="cpu").model.state_dict().items())
    if shape is not None:
        assert timm.create_model(f"local-dir:{tmp_path / 'model'}", pretrained=True).get_classifier().weight.shape == shape


@pytest.mark.parametrize("method", ["ncm", "gcl", "lws"])
def test_what_timm_cannot_hold_is_still_loaded(photo_run, method):
    run = photo_run("test_resnet", method)
    predictor = load(run.folder)
    assert predictor.model.backbone.timm_name == "test_resnet"
    assert "architecture" not in json.loads((run.folder / "model" / "config.json").read_text())


# --- Weights to start from -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["run folder", "safetensors", "pth", "wrapped pth"])
def test_a_backbone_starts_from_a_run_or_a_file(digits_run, tmp_path, form):
    folder = digits_run("ce").folder
    tensors = load_file(folder / "model" / "model.safetensors")
    paths = {"run folder": folder, "safetensors": folder / "model" / "model.safetensors"}
    paths |= {"pth": tmp_path / "a.pth", "wrapped pth": tmp_path / "b.pth"}
    torch.save(tensors, paths["pth"])
    torch.save({"epoch": 3, "state_dict": {f"module.{n}": t for n, t in tensors.items()}}, paths["wrapped pth"])
    backbone = CifarResNet(depth=8)
    assert load_backbone(backbone, paths[form]) == len(backbone.state_dict())
    assert all(torch.equal(tensor, tensors[f"backbone.{name}"]) for name, tensor in backbone.state_dict().items())


def test_timm_s_names_are_understood_both_ways(photo_run, tmp_path):
    folder, backbone = photo_run("test_convnext").folder, TimmBackbone(name="test_convnext")
    load_backbone(backbone, folder)
    tensors = load_file(folder / "model" / "model.safetensors")
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in backbone.body.state_dict().items())
    save_file(backbone.state_dict(), tmp_path / "ours.safetensors")
    assert load_backbone(TimmBackbone(name="test_convnext"), tmp_path / "ours.safetensors") == len(backbone.state_dict())


def test_training_starts_from_the_weights(digits_run, tmp_path):
    weights = digits_run("ce").folder / "model" / "model.safetensors"
    changes = {"stages.0.optimizer.lr": 0.0, "stages.0.optimizer.weight_decay": 0.0}
    started = digits_run("ce", weights=weights, changes=changes)
    before, after = load_file(weights), load_file(started.folder / "model" / "model.safetensors")
    assert all(torch.equal(before[name], after[name]) for name in before if name.startswith("backbone.groups.0.0.conv"))
    assert not torch.equal(before["head.weight"], after["head.weight"])


def test_other_weights_of_the_same_name_are_another_run(digits_run, tmp_path):
    folders = [tmp_path / name for name in ("first", "second")]
    for seed, folder in enumerate(folders):
        folder.mkdir()
        torch.manual_seed(seed)
        save_file(CifarResNet(depth=8).state_dict(), folder / "weights.safetensors")
    runs = [digits_run("ce", weights=folder / "weights.safetensors") for folder in folders]
    assert runs[0].folder != runs[1].folder


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, r"There are no weights at '.*a\.safetensors'; give a \.safetensors file or a run folder"),
        (b"words", r"a\.safetensors' is not a safetensors file"),
        (
            CifarResNet(depth=14),
            r"does not hold the weights of the backbone CifarResNet: .* of its .* are missing or have another shape "
            r"\(first: .*`backbone=NAME`",
        ),
        (CifarResNet(depth=8, width=8), r"first: conv\.weight"),
    ],
)
def test_weights_that_do_not_fit_are_refused(tmp_path, content, words):
    path = tmp_path / "a.safetensors"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        save_file(content.state_dict(), path)
    with pytest.raises(ValueError, match=words):
        load_backbone(CifarResNet(depth=20), path)


def test_weights_of_a_deeper_network_are_refused_and_not_taken_in_part(tmp_path):
    """A network of 14 layers has all names of one of 8, and further blocks."""
    save_file(CifarResNet(depth=14).state_dict(), tmp_path / "deep.safetensors")
    with pytest.raises(UserError, match=r"holds a deeper network .* \(first: groups\.0\.1\..*`backbone=NAME`"):
        load_backbone(CifarResNet(depth=8), tmp_path / "deep.safetensors")
    whole = {**CifarResNet(depth=8).state_dict(), "head.weight": torch.ones(3, 64), "head.bias": torch.ones(3)}
    save_file(whole, tmp_path / "with_head.safetensors")
    assert load_backbone(CifarResNet(depth=8), tmp_path / "with_head.safetensors") == len(whole) - 2


@pytest.mark.parametrize(
    "content", [[torch.ones(2)], torch.ones(2), {}, {"epoch": 3}], ids=["list", "tensor", "empty", "numbers"]
)
def test_a_checkpoint_without_tensors_by_name_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(UserError, match=r"a\.pt' holds no tensors by name \(a state_dict\)"):
        read_weights(tmp_path / "a.pt")


def test_a_tensor_that_is_called_model_is_no_checkpoint_of_one(tmp_path):
    torch.save({"model": torch.ones(2)}, tmp_path / "a.pt")
    assert set(read_weights(tmp_path / "a.pt")) == {"model"}


def test_weights_that_run_code_are_refused(tmp_path):
    torch.save({"model": Path("a")}, tmp_path / "a.pth")
    (tmp_path / "b.pth").write_bytes(b"words")
    (tmp_path / "c.pth").write_bytes(b"hi")
    for name in "abc":
        with pytest.raises(ValueError, match=rf"{name}\.pth' holds more than tensors, or is damaged; convert it to safetensors"):
            read_weights(tmp_path / f"{name}.pth")
