"""A user's mistakes: one sentence that says what was expected, what came and what exists; exit code 2; nothing is lost."""

import inspect
from pathlib import Path

import pytest
import torch
from small_runs import SMALL, contents, train

from commands import longtail, paint, truncated
from longtail import losses

DIGITS = ("train", "digits_lt", "--method", "ce", "--epochs", "1")
CRT = (*DIGITS, "--method", "crt", "--with")


def empty(root):
    root.mkdir()


def empty_class(root):
    paint(root, SMALL)
    (root / "durian").mkdir()


def one_class(root):
    paint(root, {"apple": 5})


def loose(root):
    paint(root, {".": 5})


def cut_off(root):
    truncated(paint(root, SMALL, suffix="jpg") / "berry" / "002.jpg")


def a_text(root):
    (paint(root, SMALL) / "berry" / "notes.jpg").write_text("these are no pixels")


def unknown_in_test(root):
    paint(root / "train", SMALL)
    paint(root / "test", {"apple": 2, "durian": 2})


def no_test(root):
    paint(root / "train", SMALL)
    (root / "test").mkdir()


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (empty, "has no images. Expected one folder per class"),
        (empty_class, "Class folder without readable images: durian. Add images or remove the folder."),
        (one_class, "has one class only ('apple'); a classifier needs at least two class folders."),
        (loose, "has images but no class folders"),
        (cut_off, "berry/002.jpg' cannot be read as an image"),
        (a_text, "berry/notes.jpg' cannot be read as an image (it is no image)."),
        (unknown_in_test, "test has the class 'durian', which train does not have. Classes of train: apple, berry, citron."),
        (no_test, "has no images for test"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_folder_that_cannot_be_trained_on(build, said, tmp_path):
    build(tmp_path / "photos")
    before = contents(tmp_path)
    answer = train(tmp_path / "photos", tmp_path / "runs")
    assert said in answer.sentence
    assert "Run folder" not in answer.out
    assert contents(tmp_path) == before


def test_skip_corrupt_goes_on_and_names_what_it_left_out(tmp_path):
    cut_off(tmp_path / "photos")
    assert "--skip-corrupt" in train(tmp_path / "photos", tmp_path).sentence
    said = train(tmp_path / "photos", tmp_path / "runs", "--skip-corrupt")
    assert "Left out 1 file that cannot be read: berry/002.jpg" in said.out
    assert "berry/002.jpg" not in (Path(said.folder) / "split.csv").read_text()


def test_skip_corrupt_does_not_lose_a_class(tmp_path):
    for file in (paint(tmp_path / "photos", SMALL) / "citron").iterdir():
        truncated(file)
    assert "without readable images: citron" in train(tmp_path / "photos", tmp_path, "--skip-corrupt").sentence


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("train", "digits_tl"), "There is no setting or folder 'digits_tl'. Did you mean 'digits_lt'?"),
        (("train", "/no/such/place"), "'/no/such/place' does not exist."),
        ((*DIGITS, "--method", "glc"), "There is no method 'glc'. Did you mean 'gcl'?"),
        ((*DIGITS, "--method", "la"), "There is no method 'la'; as a candidate it is 'logit_adjusted'."),
        (
            (*CRT, "sampelr=power"),
            "There is no variant of crt 'sampelr'. Did you mean 'sampler'?",
        ),
        ((*CRT, "sampler=pwoer"), "'pwoer'. Did you mean 'power'?"),
        ((*CRT, "sampler"), "--with takes NAME=VALUE; got 'sampler'."),
        ((*CRT, "sampler=power(expnent=2)"), "power has no 'expnent'; it has exponent."),
        ((*DIGITS, "--with", "sampler=power"), "There is no variant of ce 'sampler'. There are: none."),
        ((*DIGITS, "--set", "stages.0.epochz=3"), "Stage has no 'epochz'. Did you mean 'epochs'?"),
        ((*DIGITS, "--set", "stages.1.epochs=3"), "There is no entry '1' in a list whose entries are 0."),
        ((*DIGITS, "--set", "stages.0.epochs=many"), "'epochs' is 1 and cannot become 'many'; give a whole number."),
        ((*DIGITS, "--set", "stages.0.epochs=0"), "'epochs' must be at least 1; got 0."),
        ((*DIGITS, "--set", "stages.0.epochs"), "--set takes PATH=VALUE; got 'stages.0.epochs'."),
        ((*DIGITS, "--set", "stages.0.resample=rare_first"), "There is no function in longtail.weighting 'rare_first'."),
        (
            ("train", "digits_lt", "--set", "stages.0.epochz=3"),
            "The candidate 'ce' cannot have the value that --set gives all candidates; leave it out of --candidates. "
            "Stage has no 'epochz'. Did you mean 'epochs'?",
        ),
        ((*DIGITS, "--device", "gpu"), "There is no device 'gpu'."),
        ((*DIGITS, "--precision", "16"), "There is no precision '16'."),
        ((*DIGITS, "--protocol", "dirty"), "There is no protocol 'dirty'."),
        ((*DIGITS, "--augment", "heavy"), "--augment must be one of none, light, standard, strong; got 'heavy'."),
        ((*DIGITS, "--symmetry", "circle"), "--symmetry must be one of none, mirror, square; got 'circle'."),
        ((*DIGITS, "--views", "4"), "--views must be 1 (each image), 2 (and its mirror image) or 8 (all symmetries"),
        ((*DIGITS, "--groups", "quarters"), "There is no group rule 'quarters'. There are: shots, auto."),
        ((*DIGITS, "--backbone", "resnet19"), "There is no backbone 'resnet19'. Similar: "),
        ((*DIGITS, "--backbone", "resnet8", "--pretrained"), "There are no pretrained weights for 'resnet8'"),
        ((*DIGITS, "--imbalance", "0.5"), "--imbalance is n_max / n_min, a finite number of at least 1; got 0.5."),
        ((*DIGITS, "--imbalance", "nan"), "a finite number of at least 1; got nan."),
        ((*DIGITS, "--imbalance", "5000"), "An imbalance of 5000 needs at least 10000 images in the largest class"),
        ((*DIGITS, "--epochs", "0"), "--epochs must be at least 1; got 0."),
        ((*DIGITS, "--epochs", "-3"), "--epochs must be at least 1; got -3."),
        ((*DIGITS, "--seed", "-1"), "--seed and --split-seed must not be negative."),
        ((*DIGITS, "--split-seed", "-1"), "--seed and --split-seed must not be negative."),
        ((*DIGITS, "--val", "1"), "--val is a share of the training images, at least 0 and below 1; got 1."),
        (("train", "digits_lt", "--candidates", "ce,glc"), "There is no method 'glc'. Did you mean 'gcl'?"),
        (("train", "digits_lt", "--candidates", ""), "--candidates names none; give a list such as ce,"),
        (
            ("train", "digits_lt", "--method", "ce", "--backbone", "inception_v3", "--no-pretrained"),
            "The network cannot take images of 8 x 8 pixels (Given input size: (64x1x1)",
        ),
        (("train", "digits_lt", "--val", "0"), "Methods are compared on validation images"),
        (("train", "cifar10_lt", "--method", "ce", "--root", "/no/such/root"), "let longtail fetch them with --download"),
        ((*DIGITS, "--seed", "5", "--seeds", "2"), "--seeds 2 trains the seeds 0 to 1, and --seed 5 names one; leave one out."),
        (("demo", "--epochs", "0"), "--epochs must be at least 1; got 0."),
        (("inspect", "/no/such/place"), "'/no/such/place' does not exist."),
        (("list", "recipes"), "There is no list 'recipes'."),
    ],
    ids=lambda value: " ".join(value[1:])[-50:] if isinstance(value, tuple) else "",
)
def test_a_word_or_number_that_means_nothing(words, said, tmp_path):
    where = ("--runs", tmp_path) if words[0] in ("train", "demo") else ()
    assert said in longtail(*words, *where).sentence
    assert not list(tmp_path.rglob("report.json"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("train", "x", "--epoch", "3"), "No such option: --epoch"),
        (("train", "x", "--epochs", "ten"), "Invalid value for '--epochs'"),
        (("train", "x", "--seeds", "0"), "Invalid value for '--seeds'"),
        (("train",), "Missing argument 'DATA'"),
        (("trian", "x"), "No such command 'trian'"),
    ],
)
def test_an_option_that_does_not_exist(words, said):
    answer = longtail(*words)
    assert (answer.code, answer.out) == (2, "")
    assert said in answer.err
    assert "Traceback" not in answer.err


@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA is here")
def test_cuda_where_there_is_none(tmp_path):
    assert "Use the CPU with --device cpu." in longtail(*DIGITS, "--runs", tmp_path, "--device", "cuda").sentence


@pytest.mark.parametrize(
    ("content", "name", "said"),
    [
        (None, "mine", "There is no file '"),
        ("def mine(setting) return 1", "mine", "line 1"),
        ("def mine(setting): ...", "yours", "yours'. There are: mine."),
    ],
    ids=["missing", "syntax", "lacks the function"],
)
def test_a_recipe_file_that_cannot_be_used(content, name, said, tmp_path):
    file = tmp_path / "recipes.py"
    if content is not None:
        file.write_text(content)
    sentence = longtail(*DIGITS, "--method", f"{file}:{name}", "--runs", tmp_path / "runs").sentence
    assert said in sentence
    assert str(file) in sentence


def test_a_split_that_is_none(photos, tmp_path):
    assert "gone.csv' does not exist" in train(photos, tmp_path, "--split", tmp_path / "gone.csv").sentence
    (tmp_path / "split.csv").write_text("path,label,split\napple/gone.png,apple,train\n")
    assert "line 2: there is no file" in train(photos, tmp_path, "--split", tmp_path / "split.csv").sentence
    given = ("--split", tmp_path / "split.csv", "--imbalance", 4)
    assert "so that --imbalance cuts nothing; leave --imbalance or --split out." in train(photos, tmp_path, *given).sentence


def test_a_folder_of_too_few_images_to_hold_one_out(tmp_path):
    photos = paint(tmp_path / "photos", {"apple": 2, "berry": 1})
    advice = "Add images, or train one method with --method NAME."
    for words, said in (((), "No class has enough training images (3)"), (("--folds", 2), "No class has two training images")):
        sentence = longtail("train", photos, "--size", 8, "--epochs", 1, *words, "--runs", tmp_path / "runs").sentence
        assert sentence.startswith(said)
        assert sentence.endswith(advice)


@pytest.mark.parametrize("counts", [{"apple": 1, "berry": 1}, {"apple": 2, "berry": 2}])
def test_too_few_images_to_judge(counts, tmp_path):
    """Nothing can be evaluated without a test image, or compared without a validation image."""
    paint(tmp_path / "photos", counts)
    said = longtail("train", tmp_path / "photos", "--epochs", 1, "--backbone", "resnet8", "--runs", tmp_path / "runs").sentence
    assert "images" in said
    assert not list(tmp_path.rglob("log.jsonl")), "it was said before training"


@pytest.mark.parametrize("name", [name for name in losses.__all__ if name.endswith("Loss")])
def test_a_class_without_images_in_a_loss(name):
    loss = getattr(losses, name)
    size = {"feature_size": 4} if "feature_size" in inspect.signature(loss).parameters else {}
    with pytest.raises(ValueError, match="2"):
        loss([5, 3, 0], **size)
