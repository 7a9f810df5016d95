"""Fine-tuning as a budget of its own: what a folder with pretrained weights gets, and how a stage is trained with it."""

import json
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from torch.optim import AdamW

from commands import longtail, paint
from longtail import recipes, settings
from longtail.data.squares import as_tensor
from longtail.engine.averaging import WeightAverage
from longtail.engine.optimizers import layer_factors, parameter_groups
from longtail.errors import NoConnectionError, UserError
from longtail.heads import LinearHead
from longtail.losses import BalancedSoftmaxLoss, CrossEntropyLoss, GCLLoss, LogitAdjustedLoss
from longtail.networks import Classifier, TimmBackbone
from longtail.networks.pretrained import content_hash
from longtail.schedules import half_cosine
from longtail.spec.description import describe, parameters_of
from longtail.spec.recipe import FineTuning
from longtail.weighting import Progress
from longtail.workflow import choices, fine_tuning
from longtail.workflow.choices import choose
from longtail.workflow.fine_tuning import epochs_of_fine_tuning, pretrained_of
from longtail.workflow.one_run import prepared
from longtail.workflow.precision import HALF, SINGLE, seconds_of_a_step, settled_precision
from longtail.workflow.request import Request
from longtail.workflow.watcher import Silent

NETWORK = "test_efficientnet.r160_in1k"  # one of the smallest of timm, with the mean and standard deviation of ImageNet, bicubic
SETTING = replace(settings.digits_lt(), budget="fine-tuning", fine_tuning=FineTuning())


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return paint(tmp_path_factory.mktemp("data") / "photos", {"apple": 20, "berry": 9, "citron": 5}, size=40)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / f"{NETWORK}.safetensors"
    save_file(timm.create_model(NETWORK).state_dict(), path)
    return path


# --- What a folder gets -----------------------------------------------------------------------------------------------------


def test_a_folder_with_weights_gets_the_network_s_own_pixels(photos, weights):
    choice = choose(Request(photos, weights=weights, device="cpu"), photos)
    known = timm.get_pretrained_cfg(NETWORK)
    data = parameters_of(choice.setting.data)
    assert (data["statistics"], data["interpolation"]) == ((known.mean, known.std), "bicubic")
    assert choice.setting.budget == "fine-tuning"
    own = {"name": NETWORK, "pretrained": False, "image_size": 0, "zero_init_last": True}
    assert parameters_of(choice.setting.backbone) | {"image_size": 0} == own
    assert data["size"] == 96
    assert choice.setting.epochs == 30, "of 34 images"
    for words in (
        "starts from 'test_efficientnet.r160_in1k.safetensors'",
        "AdamW at 0.001",
        "label smoothing 0.1",
        "light augmentation",
    ):
        assert words in choice.sentence


def test_the_sentence_on_what_was_chosen_excepts_what_the_user_set(photos, weights):
    asked = Request(photos, "ce", weights=weights, device="cpu")
    assert "label smoothing 0.1 (`changes={'stages.0.optimizer.lr': 0.0005}`);" in choose(asked, photos).sentence
    asked = replace(asked, changes={"stages.0.optimizer.lr": "0.002"})
    assert "label smoothing 0.1 (but for `changes={'stages.0.optimizer.lr': '0.002'}`);" in choose(asked, photos).sentence


def test_data_are_normalised_and_resized_as_the_network_knows_them(photos, weights, tmp_path):
    setting, data = prepared(Request(photos, weights=weights, size=20, device="cpu", runs=tmp_path), Silent())
    known = timm.get_pretrained_cfg(NETWORK)
    assert (data.mean, data.std, data.interpolation) == (known.mean, known.std, "bicubic")
    assert setting.weights == content_hash(weights)
    with Image.open(photos / data.test.files[0]) as image:
        expected = as_tensor(image.convert("RGB").resize((20, 20), Image.Resampling.BICUBIC))
    assert torch.equal(data.test.pixels[0], expected)


@pytest.mark.parametrize(("images", "on_cpu", "on_cuda"), [(24_265, 5, 25), (6_534, 18, 30), (500, 30, 30), (1_000_000, 5, 5)])
def test_fewer_epochs_for_more_images(images, on_cpu, on_cuda):
    assert (epochs_of_fine_tuning(images, "cpu"), epochs_of_fine_tuning(images, "cuda")) == (on_cpu, on_cuda)


def test_a_transformer_keeps_its_size_and_learns_slower_in_early_blocks(photos):
    found = pretrained_of(Request(photos, pretrained=True, backbone="vit_tiny_patch16_224"), "cpu")
    assert (found.size_on("cpu"), found.size_on("cuda"), found.budget.layer_decay) == (224, 224, 0.75)


def test_the_network_of_a_run_is_known_with_its_pixels(photos, weights, tmp_path):
    words = ("train", photos, "--method", "ce", "--epochs", 1, "--device", "cpu", "--runs", tmp_path)
    first = longtail(*words, "--weights", weights, "--size", 24)
    assert first.code == 0, first.err
    found = pretrained_of(Request(photos, weights=tmp_path / first.folder), "cpu")
    known = timm.get_pretrained_cfg(NETWORK)
    assert (found.backbone, found.size, found.interpolation) == (NETWORK, 24, "bicubic")
    assert found.statistics == (known.mean, known.std)
    again = longtail(*words, "--weights", first.folder)
    assert again.code == 0, again.err
    assert f"24x24 pixels (--size); {NETWORK} (--backbone), which starts from the run" in again.out


def test_a_file_that_names_no_network(photos, weights, tmp_path):
    nameless = tmp_path / "model.safetensors"
    nameless.write_bytes(weights.read_bytes())
    with pytest.raises(UserError, match=r"does not say which network it belongs to; name it with `backbone=NAME`"):
        choose(Request(photos, weights=nameless), photos)
    with pytest.raises(UserError, match=r"There are no weights at '.*gone\.safetensors'; .* let timm fetch some"):
        choose(Request(photos, weights=tmp_path / "gone.safetensors"), photos)
    assert choose(Request(photos, weights=nameless, backbone=NETWORK), photos).setting.budget == "fine-tuning"


def test_the_papers_budget_is_used_where_it_is_asked_for(photos, weights):
    setting = choose(Request(photos, weights=weights, budget="paper", device="cpu"), photos).setting
    assert (setting.budget, setting.epochs) == ("paper", 200)
    assert recipes.ce(setting).stages[0].optimizer.func is torch.optim.SGD


@pytest.mark.parametrize("data", ["digits_lt", "photos"])
def test_fine_tuning_needs_weights(data, photos, tmp_path):
    asked = data if data == "digits_lt" else photos
    said = longtail("train", asked, "--method", "ce", "--budget", "fine-tuning", "--runs", tmp_path)
    assert "--budget fine-tuning is for pretrained weights; give --weights FILE" in said.sentence


def test_on_a_gpu_a_folder_starts_from_pretrained_weights_where_they_can_be_fetched(photos, monkeypatch):
    monkeypatch.setattr(choices, "chosen_device", lambda _: "cuda")
    monkeypatch.setattr(fine_tuning, "TimmBackbone", lambda **_: None)
    choice = choose(Request(photos), photos)
    assert (choice.setting.budget, parameters_of(choice.setting.backbone)["pretrained"]) == ("fine-tuning", True)
    assert choose(Request(photos, pretrained=False), photos).setting.budget == "paper"

    def refuse(**_):
        raise NoConnectionError("The weights could not be fetched. Give `weights`.")

    monkeypatch.setattr(fine_tuning, "TimmBackbone", refuse)
    choice = choose(Request(photos), photos)
    assert choice.setting.budget == "paper"
    assert choice.sentence.endswith("The weights could not be fetched, so that training starts from random weights.")


# --- How a stage is trained -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", recipes.ALL, ids=lambda function: function.__name__)
def test_every_recipe_s_first_stage_has_the_budget_of_fine_tuning(function):
    recipe = function(SETTING)
    stage, tuning = recipe.stages[0], SETTING.fine_tuning
    assert (stage.optimizer, stage.schedule, stage.average) == (tuning.optimizer, tuning.schedule, tuning.average)
    assert any("Fine-tuning" in note for note in recipe.all_departures)


def test_losses_that_take_it_are_smoothed():
    smoothed = {
        recipe.name: parameters_of(recipe.stages[0].loss).get("smoothing") for recipe in (f(SETTING) for f in recipes.ALL)
    }
    assert {name for name, eps in smoothed.items() if eps == 0.1} >= {"ce", "logit_adjusted", "balanced_softmax", "crt"}
    assert smoothed["gcl"] is None


def test_a_smoothed_loss_by_hand():
    logits, label = torch.tensor([[2.0, 1.0, 0.0]], dtype=torch.float64), torch.tensor([0])
    log_p = logits.log_softmax(1)[0]
    expected = -(0.9 * log_p[0] + 0.1 * log_p.mean())
    assert CrossEntropyLoss([100, 10, 1], smoothing=0.1)(logits, label).item() == pytest.approx(expected.item())
    shares = torch.tensor([[1.0, 0.0, 0.0]])
    assert CrossEntropyLoss([100, 10, 1], smoothing=0.1)(logits, shares).item() == pytest.approx(expected.item())
    adjusted = (logits + torch.tensor([100.0, 10.0, 1.0]).log().double()).log_softmax(1)[0]
    expected = -(0.9 * adjusted[0] + 0.1 * adjusted.mean())
    for loss in (LogitAdjustedLoss, BalancedSoftmaxLoss):
        assert loss([100, 10, 1], smoothing=0.1)(logits, label).item() == pytest.approx(expected.item())
    with pytest.raises(UserError, match=r"`smoothing` is a share, at least 0 and below 1; got 1\.0"):
        CrossEntropyLoss([1, 1], smoothing=1.0)
    assert "smoothing" not in parameters_of(GCLLoss)


def test_the_rate_changes_with_every_step():
    rates = [half_cosine(Progress(epoch, 4, step, 25), warm=0.1) for epoch in range(4) for step in range(25)]
    assert max(range(100), key=rates.__getitem__) in (9, 10)
    assert rates[0] == pytest.approx(0.05, rel=1e-3)
    assert rates[50] == pytest.approx(0.5, abs=0.01)
    assert rates[-1] < 1e-3
    assert len(set(rates)) == 100


def test_the_average_follows_the_weights():
    model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1))
    average = WeightAverage(model, steps=4)
    start, expected = model[0].weight.item(), model[0].weight.item()
    for step in range(1, 6):
        with torch.no_grad():
            model[0].weight.fill_(float(step))
            model[1].running_mean.fill_(float(step))
        model[1].num_batches_tracked += 1
        average.update()
        expected += (step - expected) / 4
    with average.in_use():
        assert model[0].weight.item() == pytest.approx(expected)
        assert model[1].num_batches_tracked.item() == 5
    assert (model[0].weight.item(), model[1].running_mean.item()) == (5.0, 5.0)
    assert expected < 5
    assert start != expected


def test_a_run_ends_with_the_averaged_weights_and_resumes_to_the_same_bits(photos, weights, tmp_path):
    words = ("train", photos, "--method", "ce", "--weights", weights, "--size", 24, "--device", "cpu", "--precision", "32-true")
    whole = longtail(*words, "--epochs", 3, "--runs", tmp_path / "whole")
    assert whole.code == 0, whole.err
    with pytest.MonkeyPatch.context() as patch:
        real, calls = torch.optim.AdamW.step, []

        def stop(self, *args, **kwargs):
            calls.append(1)
            if len(calls) > 8:
                raise KeyboardInterrupt
            return real(self, *args, **kwargs)

        patch.setattr(torch.optim.AdamW, "step", stop)
        assert longtail(*words, "--epochs", 3, "--runs", tmp_path / "cut").code == 130
    cut = longtail(*words, "--epochs", 3, "--runs", tmp_path / "cut")
    models = [next((tmp_path / name).rglob("model.safetensors")).read_bytes() for name in ("whole", "cut")]
    assert cut.code == 0
    assert models[0] == models[1]


def test_blocks_nearer_to_the_image_learn_slower():
    backbone = TimmBackbone(name="test_vit", image_size=160)
    factors = layer_factors(backbone, 0.5)
    first, last = backbone.body.blocks[0].mlp.fc1.weight, backbone.body.blocks[-1].mlp.fc1.weight
    blocks = len(backbone.body.blocks)
    assert factors[last] / factors[first] == pytest.approx(2 ** (blocks - 1))
    assert layer_factors(backbone, 1.0) == {}
    model = Classifier(backbone, LinearHead(backbone.num_features, 3))
    stage = replace(
        recipes.ce(SETTING).stages[0],
        layer_decay=0.5,
        learning_rates={"backbone.*": 0.1, "*": 1.0},
        optimizer=partial(AdamW, lr=1.0),
    )
    groups = parameter_groups(model, CrossEntropyLoss([3, 2, 1]), stage)
    rate = {parameter: group["lr"] for group in groups for parameter in group["params"]}
    assert rate[model.head.weight] == 1.0
    assert rate[first] == pytest.approx(0.1 * factors[first])
    assert len(rate) == len(list(model.parameters()))


def test_the_head_may_start_at_the_class_means(photos, weights, tmp_path):
    setting, data = prepared(Request(photos, weights=weights, size=24, device="cpu", runs=tmp_path), Silent())
    tuned = replace(setting, fine_tuning=FineTuning(class_means=True))
    start = recipes.ce(tuned).stages[0].start
    plain = recipes.ce(setting).stages[0].start
    backbone = setting.backbone().eval()
    model = Classifier(backbone, LinearHead(backbone.num_features, 3))
    before = model.head.weight.clone()
    lengths = before.norm(dim=1)
    plain(model, CrossEntropyLoss(data.class_counts), data)
    assert torch.equal(model.head.weight, before), "only where it is wanted"
    start(model, CrossEntropyLoss(data.class_counts), data)
    backbone.eval()
    with torch.no_grad():
        shown = (data.train.pixels.float() / 255 - torch.tensor(data.mean)[:, None, None]) / torch.tensor(data.std)[:, None, None]
        unit = nn.functional.normalize(backbone(shown), dim=1)
    labels = torch.from_numpy(data.train.labels)
    means = torch.stack([unit[labels == label].mean(0) for label in range(3)])
    cosines = nn.functional.cosine_similarity(model.head.weight, means)
    torch.testing.assert_close(cosines, torch.ones(3), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(model.head.weight.norm(dim=1), lengths)


# --- Precision --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("half", "chosen"), [(0.5, HALF), (1.05, HALF), (1.2, SINGLE)])
def test_the_faster_precision_is_chosen_once(half, chosen, monkeypatch, tmp_path):
    monkeypatch.setattr("longtail.workflow.precision.has_bfloat16", lambda _: True)
    timed = []
    monkeypatch.setattr("longtail.workflow.precision.seconds_of_a_step", lambda *_: timed.append(1) or {SINGLE: 1.0, HALF: half})
    setting, data = settings.digits_lt(), settings.digits_lt().data(tmp_path)
    request = Request("digits_lt", runs=tmp_path, device="cpu")
    said = []
    listening = SimpleNamespace(note=said.append)
    assert [settled_precision(request, setting, data, listening) for _ in range(2)] == [chosen, chosen]
    assert len(timed) == len(said) == 1
    words = f"bfloat16, which takes {half:.1f} times as long as float32" if chosen == HALF else "float32, since bfloat16 takes"
    assert said[0].startswith(f"Computing in {words}")
    assert json.loads((tmp_path / "digits_lt" / "settled.json").read_text())["sealed"] is True
    assert settled_precision(replace(request, precision="16-mixed"), setting, data, Silent()) == "16-mixed"
    (tmp_path / "digits_lt" / "settled.json").write_text("{")
    assert settled_precision(request, setting, data, Silent()) == chosen
    assert len(timed) == 2, "what is damaged is measured anew"


def test_steps_are_timed_without_a_trace():
    state = torch.random.get_rng_state()
    seconds = seconds_of_a_step(partial(TimmBackbone, name=NETWORK, pretrained=True), 32)
    assert set(seconds) == {SINGLE, HALF}
    assert all(0 < value < 60 for value in seconds.values())
    assert torch.equal(state, torch.random.get_rng_state())


def test_the_budget_is_described():
    tuning = describe(replace(SETTING, fine_tuning=FineTuning(smoothing=0.2)))["fine_tuning"]
    assert (tuning["smoothing"], tuning["optimizer"]["lr"], tuning["schedule"]["call"]) == (
        0.2,
        1e-3,
        "longtail.schedules.half_cosine",
    )
