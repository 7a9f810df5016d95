"""Exported models give the scores of the run: ONNX in onnxruntime, timm's folder in timm. What cannot be held is refused."""

import importlib.util
import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import timm
import torch
from PIL import Image

from commands import longtail
from longtail import recipes, settings
from longtail.data.transforms import normalise
from longtail.engine.building import enter_stage, new_model
from longtail.errors import UserError
from longtail.inference import adapted, logit_adjusted, retrained
from longtail.runs.export import export
from longtail.runs.model_store import write_model
from longtail.runs.onnx_graph import PADDING, metadata_of, onnx_bytes
from longtail.runs.run import Run
from longtail.runs.seals import sha256
from longtail.runs.serving import load
from longtail.runs.tuned import Tuned, write_tuned
from longtail.spec.experiment import Experiment

FORMER = Path(__file__).parents[1] / "fixtures" / "runs_0_1_0" / "digits_lt"
POST_HOC, OLTR = FORMER / "logit_adjusted_post_hoc" / "0-89fc7a", FORMER / "oltr" / "0-197ada"
DIGITS = settings.digits_lt()


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    root = tmp_path_factory.mktemp("photos")
    for label, name in enumerate(("blue", "green |", "rouge \u00e9")):
        (root / name).mkdir()
        for index in range(6 - label):
            pixels = np.random.default_rng((label, index)).integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{index}.png")
    return root


@pytest.fixture
def stored(tmp_path, photos):
    """Writes the model of a method, with weights as they start but class vectors and statistics drawn anew."""

    def write(method, *, backbone=None, rule=None, views=1):
        setting = settings.folder(name="photos", size=32, epochs=1, backbone=backbone) if backbone else DIGITS
        setting = replace(setting, views=views)
        recipe = getattr(recipes, method)(setting)
        experiment = Experiment(recipe, setting, setting.data(photos))
        model, generator = new_model(experiment), torch.Generator().manual_seed(1)
        for stage in range(len(recipe.stages)):
            enter_stage(model, experiment, stage)
        for name, tensor in model.state_dict().items():
            if name.endswith(("running_mean", "head.weight", "head.bias", "class_scale")):
                tensor.copy_(torch.randn(tensor.shape, generator=generator))
        model.head.scale.fill_(7.0)
        write_model(Run(tmp_path / "run"), experiment, model, rule or recipe.inference)
        return tmp_path / "run"

    return write


def pixels_for(predictor, count=5):
    size = predictor.config["size"]
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))


def session_of(path):
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def agree(path, folder):
    """The scores of the ONNX file are the run's, for one image and for several."""
    session, predictor = session_of(path), load(folder, device="cpu")
    for count in (1, 5):
        pixels = pixels_for(predictor, count)
        found, expected = torch.from_numpy(session.run(None, {"images": pixels.numpy()})[0]), predictor.scores(pixels)
        assert torch.equal(found.argmax(1), expected.argmax(1))
        assert (found - expected).abs().max() < 1e-4 * max(1, expected.abs().max())
        assert expected.std() > 0.01
    return session


# --- ONNX ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "backbone"),
    [("ce", None), ("gcl", None), ("ce", "test_resnet"), ("lws", None), ("tde", None), ("balpoe", None), ("disalign", None)],
    ids=str,
)
def test_onnx_gives_the_scores_of_the_run(stored, method, backbone):
    folder = stored(method, backbone=backbone)
    written = export(folder, "onnx")
    assert written.target == folder / "model.onnx"
    assert written.difference < 1e-3
    agree(written.target, folder)


def test_onnx_averages_the_views_of_the_run(stored):
    folder = stored("ce", views=8)
    written = export(folder, "onnx")
    agree(written.target, folder)
    pixels = pixels_for(load(folder, device="cpu"))
    scores, turned = (session_of(written.target).run(None, {"images": images.numpy()})[0] for images in (pixels, pixels.flip(3)))
    np.testing.assert_allclose(scores, turned, rtol=1e-3, atol=1e-3)


def test_onnx_of_a_trained_run_with_post_hoc_logit_adjustment(tmp_path):
    said = longtail("export", POST_HOC, "-o", tmp_path / "digits.onnx")
    assert said.code == 0, said.err
    assert said.out.startswith("Writing the graph and comparing it with the model; this takes a minute or more.")
    assert "Input images: uint8 (batch, 3, 8, 8)" in said.out
    session = agree(tmp_path / "digits.onnx", POST_HOC)
    images, scores = session.get_inputs()[0], session.get_outputs()[0]
    assert (images.name, images.type, images.shape) == ("images", "tensor(uint8)", ["batch", 3, 8, 8])
    assert (scores.name, scores.type, scores.shape) == ("scores", "tensor(float)", ["batch", 10])
    kept = session.get_modelmeta().custom_metadata_map
    assert (json.loads(kept.pop("classes")), kept.pop("input_size")) == (list("0123456789"), "8")
    assert kept == {
        "fit": "pad",
        "interpolation": "bilinear",
        "padding": PADDING,
        "views": "1",
        "rule": "logit_adjusted.",
        "weights": sha256((POST_HOC / "model" / "model.safetensors").read_bytes()),
    }
    predictor = load(POST_HOC, device="cpu")
    plain = predictor.model(normalise(pixels_for(predictor), mean=predictor.config["mean"], std=predictor.config["std"]))
    assert not torch.equal(plain.argmax(1), predictor.scores(pixels_for(predictor)).argmax(1)), "the rule changes answers"


def test_the_metadata_tell_how_images_are_cut_and_what_was_tuned():
    predictor = load(POST_HOC, device="cpu")
    predictor.config = {**predictor.config, "fit": "short_side", "resize": 10, "interpolation": "bicubic"}
    predictor.rule = partial(adapted, rule=partial(logit_adjusted, tau=0.9), temperature=1.3)
    predictor.notes, predictor.views = ("Tuned to tau 0.9, temperature 1.3.",), 8
    kept = metadata_of(predictor, "a1")
    assert (kept["fit"], kept["resize"], kept["interpolation"], kept["views"]) == ("short_side", "10", "bicubic", "8")
    assert kept["rule"] == "logit_adjusted. Tuned to tau 0.9, temperature 1.3."
    assert kept["padding"] == "none: the square in the centre is cut out"
    assert kept["weights"] == "a1"


def test_onnx_adds_logit_adjustment_to_a_head_that_is_not_linear(stored):
    folder = stored("gcl", rule=partial(logit_adjusted, tau=5.0))
    agree(export(folder, "onnx").target, folder)


@pytest.mark.parametrize("tuned", [False, True])
def test_onnx_has_a_new_classifier_with_its_frequencies_in_use(stored, tuned):
    drawn = torch.Generator().manual_seed(4)
    values = {name: torch.randn(size, generator=drawn) for name, size in {"weight": (10, 64), "bias": 10, "mean": 64}.items()}
    rule = partial(retrained, **values, deviation=torch.rand(64, generator=drawn) + 0.5)
    in_use = tuple(range(1, 11))
    folder = stored("ce", rule=rule if tuned else partial(rule, target=in_use))
    if tuned:
        write_tuned(Run(folder), Tuned("prior.csv", in_use, {}, 1.4, target=True, images=9, before={}, after={}))
    agree(export(folder, "onnx").target, folder)


def test_what_onnx_cannot_hold_is_refused_in_a_sentence(tmp_path):
    said = longtail("export", OLTR, "-o", tmp_path / "a.onnx").sentence
    assert "cannot be written as ONNX: ONNX has no operation for torch's aten._cdist_forward." in said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (lambda predictions: predictions.logits + torch.arange(len(predictions.logits))[:, None], "fixes the number of images"),
        (lambda predictions: predictions.logits * float(predictions.logits.max()), "torch cannot trace it"),
    ],
)
def test_a_rule_that_cannot_be_traced_is_refused(rule, words):
    predictor = load(POST_HOC, device="cpu")
    predictor.rule = rule
    with pytest.raises(UserError, match=rf"^This model, .* cannot be written as ONNX: .*{words}"):
        onnx_bytes(predictor, "")


def test_a_missing_package_is_named_with_the_command(tmp_path, monkeypatch):
    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxscript" else there(name))
    said = longtail("export", POST_HOC, "-o", tmp_path / "a.onnx").sentence
    assert said == "Writing ONNX needs onnxscript: install with pip install 'longtail[export]'."


# --- timm ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["ce", "lws", "logit_adjusted_post_hoc"])
@pytest.mark.parametrize("backbone", ["test_resnet", "test_convnext"])
def test_timm_gives_the_scores_of_the_run(stored, method, backbone, tmp_path):
    folder, target = stored(method, backbone=backbone), tmp_path / "deep" / "for timm"
    assert export(folder, "timm", target).target == target
    export(folder, "timm", target)
    network, predictor = timm.create_model(f"local-dir:{target}", pretrained=True).eval(), load(folder, device="cpu")
    pixels, kept = pixels_for(predictor), network.pretrained_cfg
    with torch.inference_mode():
        found = network(normalise(pixels, mean=kept["mean"], std=kept["std"]))
    torch.testing.assert_close(found, predictor.scores(pixels), rtol=1e-4, atol=1e-4)
    assert kept["label_names"] == list(predictor.classes)
    assert sorted(path.name for path in target.iterdir()) == ["config.json", "model.safetensors"]


@pytest.mark.parametrize(
    ("method", "backbone", "words"),
    [
        ("ce", None, "timm has no network such as CifarResNet, which this run uses"),
        (
            "gcl",
            "test_resnet",
            "the head CosineHead with the rule as_trained is none",
        ),
        ("ce", "deit_tiny_distilled_patch16_224", "has a classifier of more than one layer, unlike this run's"),
    ],
)
def test_what_timm_cannot_hold_is_refused_and_onnx_named(stored, method, backbone, words):
    folder = stored(method, backbone=backbone)
    with pytest.raises(UserError, match=rf"^.*{words}\. Use `longtail export RUN --format onnx`\.$"):
        export(folder, "timm")
    assert not (folder / "timm").exists()


# --- Where it is written ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--format", "onxn"), "There is no format 'onxn'. Did you mean 'onnx'?"),
        (("-o", "{run}/model/config.json"), "is a file of a run; give the name of another file with -o."),
        (("-o", "{run}/report.json"), "is a file of a run"),
        (("--format", "timm", "-o", "{run}/model"), "is a file of a run"),
        (("--format", "timm", "-o", "{run}"), "holds other files, such as "),
        (("--format", "timm", "-o", "{run}/../file"), "is a file; a model for timm is a folder"),
        (("-o", "{run}/.."), "It is a folder: give the name of a file"),
    ],
    ids=str,
)
def test_no_file_of_a_run_is_replaced(stored, tmp_path, words, said):
    run = stored("ce", backbone="test_resnet")
    (run / "report.json").write_text("{}")
    (tmp_path / "file").write_text("")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert said in longtail("export", run, *(word.format(run=run) for word in words)).sentence
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_folder_without_a_run_is_named(tmp_path):
    assert "is not a longtail run" in longtail("export", tmp_path / "none").sentence
    assert not (tmp_path / "none").exists()
