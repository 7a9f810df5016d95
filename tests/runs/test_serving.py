"""Prediction with a finished run: every kind of image gets the run's own scores, whatever the rule, device and views."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch._subclasses.fake_tensor import FakeTensorMode

import longtail
from longtail import settings
from longtail.data import transforms
from longtail.errors import CorruptImage, MissingFileError, UnreadableFile, UserError, WrongTypeError
from longtail.runs.inputs import read_input
from longtail.runs.model_reading import scores_of
from longtail.runs.serving import Prediction, Probabilities, load

DIGITS = tuple("0123456789")


@pytest.fixture(scope="session")
def data():
    return settings.digits_lt().data(Path())


@pytest.fixture(scope="session")
def predictor(digits_run):
    return load(digits_run("gcl").folder)


def stored(run, name):
    with np.load(run.folder / "predictions.npz") as arrays:
        name = "logits" if name == "scores" and name not in arrays else name  # scores that are the logits are stored once
        return torch.from_numpy(arrays[name])


def as_file(pixels, path):
    Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(path)
    return path


# --- Images in, names out --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind", ["pil", "grey pil", "path", "text", "uint8", "int64", "float", "one channel", "float64", "array", "grey array"]
)
def test_every_kind_of_image_gets_the_same_answer(predictor, data, tmp_path, kind):
    pixels = data.test.pixels[3]
    path = as_file(pixels, tmp_path / "a.png")
    with Image.open(path) as opened:
        image = opened.copy()
    kinds = {"pil": image, "grey pil": image.convert("L"), "path": path, "text": str(path)}
    kinds |= {"uint8": pixels, "int64": pixels.long(), "float": pixels / 255, "one channel": pixels[:1]}
    kinds |= {"float64": pixels.double() / 255, "array": np.asarray(image), "grey array": np.asarray(image)[..., 0]}
    expected = predictor.scores(pixels[None]).softmax(1)[0]
    prediction = predictor.predict(kinds[kind])
    assert isinstance(prediction, Prediction)
    assert torch.equal(torch.tensor(list(prediction.probabilities.values())), expected)


def test_probabilities_are_of_every_class_by_name(predictor, data):
    prediction = predictor.predict(data.test.pixels[0])
    assert tuple(prediction.probabilities) == predictor.classes == DIGITS
    assert sum(prediction.probabilities.values()) == pytest.approx(1, abs=1e-5)
    assert prediction.top(1) == [(prediction.label, prediction.probability)]
    assert [p for _, p in prediction.top(10)] == sorted(prediction.probabilities.values(), reverse=True)


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_a_list_is_answered_in_its_order(predictor, data, batch_size):
    images = [data.test.pixels[0], data.test.pixels[1] / 255, Image.fromarray(data.test.pixels[2].permute(1, 2, 0).numpy())]
    answers = predictor.predict(images, batch_size=batch_size)
    assert [answer.label for answer in answers] == [predictor.predict(image).label for image in images]
    assert predictor.predict([]) == []


def test_numbers_of_numpy_are_numbers_and_fractions_are_refused(predictor, data):
    image = data.test.pixels[0]
    answer = predictor.predict(image, views=np.int64(2), batch_size=np.int32(2))
    assert answer == predictor.predict(image, views=2)
    assert answer.top(np.int64(2)) == answer.top(2)
    for call in (
        lambda: answer.top(1.5),
        lambda: predictor.predict(image, views=2.5),
        lambda: predictor.predict([], batch_size=1.5),
    ):
        with pytest.raises(TypeError, match=r"needs a whole number as `(count|views|batch_size)`"):
            call()


def test_images_of_any_size_are_made_to_fit(predictor):
    assert predictor.predict(torch.randint(0, 256, (3, 30, 50), dtype=torch.uint8)).label in DIGITS


@pytest.mark.parametrize(
    ("thing", "words"),
    [
        (3, r"Expected a PIL image, a path, a tensor \(3, H, W\) or an array \(H, W, 3\); got int"),
        (np.zeros((3, 8, 8)), r"shape \(H, W, 3\), in the order red, green, blue, or \(H, W\); got float64 of shape \(3, 8, 8\)"),
        (np.full((8, 8), "a"), r"hold numbers.*got <U1 of shape \(8, 8\)"),
        (torch.zeros(2, 3, 8, 8), r"shape \(3, H, W\) or \(1, H, W\); got \(2, 3, 8, 8\)"),
        (torch.zeros(8, 8, 3), r"got \(8, 8, 3\)"),
    ],
)
def test_what_is_no_image_is_refused(predictor, thing, words):
    with pytest.raises(TypeError, match=words):
        predictor.predict(thing)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (torch.full((3, 9, 9), 200.0), r"floating point must lie in 0..1; got values from 200 to 200.*divide one in 0..255"),
        (torch.linspace(-2, 2, 243).reshape(3, 9, 9), r"0..1; got values from -2 to 2.*before it is normalised"),
        (torch.full((3, 9, 9), torch.nan), "got values from nan to nan"),
        (torch.full((3, 9, 9), torch.inf), "got values from inf"),
        (torch.full((3, 9, 9), 1.01, dtype=torch.float16), "0..1"),
        (torch.full((3, 9, 9), 256), r"integers must lie in 0..255; got values from 256.*16 bits"),
        (torch.full((3, 9, 9), -1, dtype=torch.int8), r"0..255; got values from -1"),
        (torch.ones(3, 9, 9, dtype=torch.bool), "integer in 0..255 or floating point in 0..1; got torch.bool"),
        (torch.ones(3, 9, 9, dtype=torch.complex64), "got torch.complex64"),
        (torch.ones(2, 3, 9, 9), r"shape \(3, H, W\) or \(1, H, W\); got \(2, 3, 9, 9\). For several images, give a list"),
        (torch.ones(3, 0, 9), r"got \(3, 0, 9\)"),
    ],
)
def test_a_tensor_that_is_no_image_is_refused_and_not_cut_off(image, words):
    with pytest.raises(ValueError, match=words):
        read_input(image, size=8)


@pytest.mark.parametrize("dtype", [torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16, torch.float16, torch.float64])
def test_pixels_of_any_type_are_the_same_pixels(dtype):
    image = torch.arange(48, dtype=torch.uint8).reshape(3, 4, 4)
    given = image.to(dtype) / 255 if dtype.is_floating_point else image.to(dtype)
    assert torch.equal(read_input(given, size=8)[0], read_input(image, size=8)[0])
    assert torch.equal(
        read_input((image.double() / 255 * 1.00005 - 1e-5).requires_grad_(), size=8)[0], read_input(image, size=8)[0]
    )


def test_scores_take_pixels_of_the_network_alone(predictor):
    size = predictor.config["size"]
    for pixels in (torch.rand(1, 3, size, size), torch.zeros(1, 3, size + 1, size, dtype=torch.uint8), [[0]]):
        with pytest.raises(TypeError, match=rf"uint8 of shape \(B, 3, {size}, {size}\)"):
            predictor.scores(pixels)


def test_a_prediction_of_many_classes_is_small():
    names = [f"a class with a long name, number {n}" for n in range(5000)]
    row = torch.arange(5000).float().softmax(0)
    one = Prediction(names[-1], float(row[-1]), Probabilities({name: n for n, name in enumerate(names)}, row))
    assert len(repr(one)) < 200
    assert len(repr(one.probabilities)) < 500
    assert one.top(2) == [(names[4999], float(row[4999])), (names[4998], float(row[4998]))]
    assert dict(one.probabilities) == dict(zip(names, row.tolist(), strict=True))
    assert one.probabilities == dict(one.probabilities)
    assert pickle.loads(pickle.dumps(one)) == one


def test_predicting_leaves_the_random_numbers(predictor, digits_run):
    before = torch.get_rng_state()
    load(digits_run("gcl").folder).predict(torch.zeros(3, 8, 8))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_corrupt_file_is_named(predictor, data, tmp_path):
    path = as_file(data.test.pixels[0], tmp_path / "half.png")
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(CorruptImage, match=r"half\.png' cannot be read as an image"):
        predictor.predict([data.test.pixels[0], path])
    with pytest.raises(MissingFileError, match=r"^There is no file '.*gone\.png'\.$"):
        predictor.predict(tmp_path / "gone.png")


# --- The run's own answer --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["ce", "gcl", "lws", "ncm", "tau_norm", "logit_adjusted_post_hoc"])
def test_what_is_loaded_answers_as_the_run_did(digits_run, data, method):
    run = digits_run(method)
    scores = torch.cat([load(run.folder, device="cpu").scores(pixels) for pixels in data.test.pixels.split(256)])
    assert torch.equal(scores.half(), stored(run, "scores"))
    recall = [(scores.argmax(1) == stored(run, "labels"))[stored(run, "labels") == c].double().mean() for c in range(10)]
    assert torch.stack(recall).mean().item() == pytest.approx(run.report.test.mean_recall)


@pytest.mark.parametrize("method", ["ncm", "tau_norm", "logit_adjusted_post_hoc"])
def test_what_a_rule_has_learned_is_stored(digits_run, method):
    run = digits_run(method)
    rule = load(run.folder).rule.keywords
    assert not torch.equal(stored(run, "scores"), stored(run, "logits"))
    expected = {"ncm": {"mean", "centroids"}}.get(method, {"tau"})
    assert expected <= rule.keys()
    assert run.report.chosen == ({"tau": rule["tau"]} if method == "tau_norm" else {}), "what the recipe fixes is not chosen"


def test_the_package_loads_and_a_comparison_answers_with_its_chosen_run(digits_run, data, tmp_path):
    result = digits_run("ce")
    folder = result.folder
    (tmp_path / "answers.json").write_text(json.dumps({"chosen_run": str(folder)}))
    scores = longtail.load(folder).scores(data.test.pixels[:5])
    assert torch.equal(longtail.load(result, device=torch.device("cpu")).scores(data.test.pixels[:5]), scores)
    assert longtail.untune(result) is False
    assert torch.equal(longtail.load(str(tmp_path)).scores(data.test.pixels[:5]), scores)


def test_a_folder_without_a_run_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"has no model/config\.json: it is not a longtail run"):
        load(tmp_path)


# --- Devices ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["gcl", "ncm", "tau_norm"])
def test_the_network_computes_on_its_device_and_the_rule_on_the_cpu(digits_run, data, method):
    predictor = load(digits_run(method).folder, device="cpu")
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    try:
        with FakeTensorMode(allow_non_fake_inputs=True):  # tensors with a device but no values
            model = predictor.model.to("cuda")
            seen = []
            model.head.register_forward_hook(lambda head, inputs, logits: seen.append(logits.device.type))
            scores = scores_of(model, predictor.config, predictor.rule, data.test.pixels[:5])
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(False)
        transforms._scale_and_shift.cache_clear()
    assert (seen, scores.device.type, scores.shape) == (["cuda"], "cpu", (5, 10))


@pytest.mark.parametrize(
    ("device", "words"),
    [
        ("gpu", r"There is no device 'gpu'"),
        pytest.param(
            "cuda",
            r"^CUDA is not available: .*Use the CPU with `device=cpu`\.$",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA is here"),
        ),
    ],
)
def test_a_device_that_is_not_there_is_refused_before_anything_is_read(tmp_path, device, words):
    with pytest.raises(UserError, match=words):
        load(tmp_path / "no run", device=device)


def test_without_a_device_a_gpu_is_used_where_there_is_one(predictor):
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert predictor.model.head.scale.device.type == expected


# --- Views -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["gcl", "tau_norm", "logit_adjusted_post_hoc"])
def test_the_rule_is_applied_to_the_mean_logits_of_the_views(digits_run, data, method):
    predictor, pixels = load(digits_run(method).folder), data.test.pixels[:20]
    sides = (pixels, pixels.flip(3))
    eight = [torch.rot90(side, turns, (2, 3)) for side in sides for turns in range(4)]
    for views, pictures in ((1, sides[:1]), (2, sides), (8, eight)):
        mean = torch.stack([predictor.scores(picture) for picture in pictures]).mean(0)
        torch.testing.assert_close(predictor.scores(pixels, views=views), mean, rtol=1e-4, atol=1e-4)  # these rules are linear


def test_predictions_with_views(predictor, data, tmp_path):
    pixels = list(data.test.pixels[:3])
    expected = predictor.scores(data.test.pixels[:3], views=8).softmax(1)
    for answers in (
        predictor.predict(pixels, views=8),
        predictor.predict(pixels, views=8, batch_size=2),
        [predictor.predict(image, views=8) for image in pixels],
        [answer for _, answer in predictor.read([as_file(p, tmp_path / f"{i}.png") for i, p in enumerate(pixels)], views=8)],
    ):
        found = torch.tensor([list(answer.probabilities.values()) for answer in answers])
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert predictor.predict(pixels[0]) == predictor.predict(pixels[0], views=1)
    with pytest.raises(UserError, match=r"`views` must be 1 .* got 3\.$"):
        predictor.predict(pixels[0], views=3)


@pytest.mark.parametrize("method", ["ce", "ncm", "gcl"])
def test_files_get_the_answer_that_the_run_stored(photo_run, photos, method):
    run = photo_run("test_resnet", method)
    rows = [line.split(",") for line in (run.folder / "split.csv").read_text().splitlines()]
    answers = load(run.folder).predict([photos / path for path, _, part, _ in rows if part == "test"])
    probabilities = torch.tensor([list(answer.probabilities.values()) for answer in answers])
    torch.testing.assert_close(probabilities, stored(run, "scores").float().softmax(1), rtol=5e-3, atol=2e-3)


def test_a_file_that_the_system_refuses_does_not_end_the_others(predictor, data, tmp_path):
    good = as_file(data.test.pixels[0], tmp_path / "good.png")
    (tmp_path / "loop.png").symlink_to("loop.png")
    (_, first), (path, refused), (_, second) = predictor.read([good, tmp_path / "loop.png", good])
    assert first.label == second.label
    assert path == tmp_path / "loop.png"
    assert isinstance(refused, UnreadableFile)


def test_an_open_file_that_is_damaged_is_corrupt_and_an_image_without_pixels_none(predictor, data, tmp_path):
    good = as_file(data.test.pixels[0], tmp_path / "good.png")
    (tmp_path / "cut.png").write_bytes(good.read_bytes()[:-40])
    with Image.open(tmp_path / "cut.png") as image, pytest.raises(CorruptImage, match=r"cut\.png' cannot be read as an image"):
        predictor.predict(image)
    with pytest.raises(WrongTypeError, match="at least one pixel; got 0 x 5"):
        predictor.predict(Image.new("RGB", (0, 5)))
