"""Mistakes with a finished run, with images to predict or to evaluate, with a prior: one sentence, and the run stays as it is."""

import pytest
from small_runs import SMALL, contents, train

from commands import longtail, paint, truncated
from longtail.runs.seals import read_json, write_json


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("gone.safetensors", None, "There are no weights at '"),
        ("text.safetensors", b"no tensors", "is not a safetensors file"),
        ("text.pth", b"no tensors", "holds more than tensors, or is damaged"),
        ("model.safetensors", "deeper", "does not hold the weights of the backbone CifarResNet"),
    ],
    ids=["missing", "text", "pickle", "another network"],
)
def test_weights_that_do_not_fit(name, content, said, photos, finished, tmp_path):
    file = tmp_path / name
    if content == "deeper":
        file.write_bytes((finished / "model" / name).read_bytes())
    elif content is not None:
        file.write_bytes(content)
    before = contents(finished)
    assert said in train(photos, finished.parents[2], "--weights", file, "--backbone", "resnet14").sentence
    assert contents(finished) == before


def test_pretrained_without_a_network(photos, tmp_path, monkeypatch):
    def offline(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr("timm.create_model", offline)
    sentence = train(photos, tmp_path, "--backbone", "resnet10t", "--pretrained").sentence
    assert "The pretrained weights of 'resnet10t' could not be fetched" in sentence
    assert "--weights FILE instead of --pretrained" in sentence


def test_a_run_folder_of_another_experiment(photos, finished, tmp_path):
    record = finished / "record.json"
    content = record.read_text()
    write_json(finished, "record.json", read_json(finished, "record.json") | {"experiment": "another"})
    before = contents(finished)
    try:
        assert f"'{finished}' holds another experiment" in train(photos, finished.parents[2]).sentence
        assert contents(finished) == before
    finally:
        record.write_text(content)


@pytest.mark.parametrize("command", ["evaluate", "predict"])
@pytest.mark.parametrize("exists", [True, False])
def test_a_folder_that_is_no_run(command, exists, photos, tmp_path):
    folder = tmp_path if exists else tmp_path / "gone"
    assert f"'{folder}' has no " in longtail(command, folder, photos).sentence


def test_images_that_cannot_be_predicted(finished, tmp_path):
    before = contents(finished)
    assert "/gone.png' does not exist" in longtail("predict", finished, tmp_path / "gone.png").sentence
    assert "has no images." in longtail("predict", finished, tmp_path).sentence
    (tmp_path / "a.jpg").write_text("text")
    (tmp_path / "b.jpg").write_bytes(b"")
    said = longtail("predict", finished, tmp_path)
    assert said.sentence == "None of the 2 files could be read as an image."
    assert "a.jpg' cannot be read" in said.out
    assert "b.jpg' cannot be read" in said.out
    assert contents(finished) == before


def test_images_that_cannot_be_judged(finished, tmp_path):
    assert "has no labelled images" in longtail("evaluate", finished, tmp_path).sentence
    paint(tmp_path / "strange", {"apple": 1, "durian": 1})
    said = longtail("evaluate", finished, tmp_path / "strange").sentence
    assert "has the class 'durian', which the run does not know; it knows 'apple', 'berry', 'citron'. Give its folder" in said
    truncated(paint(tmp_path / "broken", SMALL) / "apple" / "000.png")
    assert "apple/000.png' cannot be read as an image" in longtail("evaluate", finished, tmp_path / "broken").sentence
    assert "There is no group rule 'x'" in longtail("evaluate", finished, "--groups", "x").sentence


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "There is no prior '"),
        ("name,share\na,1\n", "needs the header label,share"),
        ("label,share\ndurian,1\n", "names the class 'durian', which the run does not know."),
        ("label,share\napple,much\n", "'much'"),
        ("label,share\napple,-1\nberry,2\n", "'-1'"),
        ("label,share\napple,0\n", "above 0"),
    ],
)
def test_a_prior_that_is_none(content, said, finished, tmp_path):
    file = tmp_path / "prior.csv"
    if content is not None:
        file.write_text(content)
    sentence = longtail("evaluate", finished, "--prior", file).sentence
    assert said in sentence
    assert str(file) in sentence


def test_images_that_are_not_where_they_are_said_to_be(finished, tmp_path):
    said = longtail("report", finished, "--images", tmp_path / "nowhere", "-o", tmp_path / "page.html").sentence
    assert said.startswith(f"There are no images at '{tmp_path / 'nowhere'}'.")
    assert not (tmp_path / "page.html").exists()
    assert "does not exist; give the folder or CSV" in longtail("tune", finished, tmp_path / "nowhere").sentence
