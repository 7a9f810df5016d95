"""The images of a report: where they are found, which are shown, and that what is missing or too much is left out and said."""

import io
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from commands import paint
from longtail import settings
from longtail.data.images import content_hash
from longtail.errors import UserError
from longtail.reporting import pictures as section
from longtail.reporting.originals import originals_of
from longtail.reporting.outlook import outlook_of_training
from longtail.reporting.pictures import pictures
from longtail.reporting.tail_gallery import heading, spread, worst_rare_classes
from longtail.reporting.thumbnails import Thumbnails, thumbnail
from longtail.runs.files import csv_text
from longtail.spec.description import describe
from shown_runs import shown_run

NAMES = ["apple", "berry", "<b>citron</b>"]
COLOURS = np.array([(200, 60, 50), (60, 60, 190), (120, 120, 120)])


class ByColour:
    """Stands for a network: features are the mean colour, scores the closeness to the colour of each class."""

    def __init__(self):
        self.config = {"size": 12, "interpolation": "bilinear", "fit": "pad", "resize": None}

    def features_and_scores(self, pixels):
        means = pixels.float().mean((2, 3))
        return means, -torch.cdist(means, torch.tensor(COLOURS).float()) / 10


def wrote_run(tmp_path, root, rows):
    """An answer for images of `root`; `rows` are path, class and split of each, in the order of split.csv."""
    folder = tmp_path / "run"
    folder.mkdir()
    lines = [(path, NAMES[label], split, content_hash((root / path).read_bytes())) for path, label, split in rows]
    (folder / "split.csv").write_text(csv_text(("path", "label", "split", "content"), lines))
    tests = [(path, label) for path, label, split in rows if split == "test"]
    pixels = torch.stack(
        [torch.from_numpy(np.array(Image.open(root / path).convert("RGB"))).permute(2, 0, 1) for path, _ in tests]
    )
    features, scores = ByColour().features_and_scores(pixels)
    labels, counts = [label for _, label in tests], [120, 30, 6]
    files = [path for path, _ in tests]
    return shown_run(counts, labels, scores, features=features, names=NAMES, folder=folder, files=files)


@pytest.fixture
def photos(tmp_path):
    """Three classes of 14 images, of which the first four are for test."""
    return paint(tmp_path / "photos", {"apple": 14, "berry": 14, "citrus": 14})


@pytest.fixture
def rows():
    place = {"apple": 0, "berry": 1, "citrus": 2}
    return [(f"{name}/{i:03}.png", place[name], "test" if i < 4 else "train") for name in place for i in range(14)]


@pytest.fixture
def by_colour(monkeypatch):
    monkeypatch.setattr(section, "load", lambda *_, **__: ByColour())


def opened(picture):
    return Image.open(io.BytesIO(picture.content))


def test_errors_are_shown_by_their_probability(tmp_path, photos, rows, by_colour):
    rows[0], rows[5] = (rows[0][0], 2, "test"), (rows[5][0], 1, "train")  # two wrong labels
    found = pictures([wrote_run(tmp_path, photos, rows)], photos)
    errors, tail, suspects = found.parts
    assert (errors.name, tail.name, suspects.name) == ("errors", "tail", "suspects")
    ((heading, (wrong,)),) = errors.rows
    assert heading == "1 of 12 test images is classified wrongly"
    assert wrong.caption.startswith("<b>citron</b>, wrong: apple (")
    assert wrong.caption.endswith("; apple/000.png")
    assert opened(wrong).size == (96, 96)
    assert [heading for heading, _ in suspects.rows] == [
        "Suspected labels, test images: 1 of 12",
        "Suspected labels, training images: 1 of 30",
    ]
    assert [row[0] for row in suspects.numbers.rows] == ["apple/000.png", "apple/005.png"]
    assert suspects.rows[1][1][0].caption.startswith("berry, looks like apple (")
    assert "learned many wrong ones by heart" in found.sentences[1]


def test_rare_classes_come_with_their_nearest_training_images(tmp_path, photos, rows, by_colour):
    answer = wrote_run(tmp_path, photos, rows)
    tail = next(part for part in pictures([answer], photos).parts if part.name == "tail")
    assert [heading.split(":")[0] for heading, _ in tail.rows] == ["<b>citron</b> (few)", "berry (medium)"]
    assert all(len(shown) == 4 * 3 for _, shown in tail.rows)
    assert all(shown[place].caption.startswith("training: ") == (place % 3 > 0) for _, shown in tail.rows for place in range(12))
    means = {path: np.array(Image.open(photos / path)).mean((0, 1)) for path, _, _ in rows}
    cosine = lambda one, other: one @ other / np.linalg.norm(one) / np.linalg.norm(other)  # noqa: E731
    for first, second in zip(tail.numbers.rows[::2], tail.numbers.rows[1::2], strict=True):
        ranked = sorted((cosine(means[first[0]], means[path]), path) for path, _, split in rows if split == "train")[::-1]
        assert [(first[4], second[4])] == [(ranked[0][1], ranked[1][1])]
        assert first[6] == pytest.approx(ranked[0][0], abs=1e-5)


def test_missing_and_changed_files_are_left_out_and_counted(tmp_path, photos, rows, by_colour):
    answer = wrote_run(tmp_path, photos, rows)
    (photos / rows[0][0]).unlink()
    (photos / rows[6][0]).write_bytes((photos / rows[20][0]).read_bytes())
    (photos / rows[7][0]).write_bytes(b"no image")
    (photos / rows[8][0]).unlink()
    os.mkfifo(photos / rows[8][0])
    found = pictures([answer], photos)
    assert "27 of 30" in found.sentences[1]
    said = "4 images that were looked for are missing or changed, or cannot be opened, and left out."
    assert said in found.sentences


def test_a_path_that_leaves_the_folder_is_not_opened(tmp_path, photos, rows):
    rows[0] = ("../elsewhere.png", 0, "test")
    Image.new("RGB", (12, 12)).save(tmp_path / "elsewhere.png")
    answer = wrote_run(tmp_path, photos, rows)
    inside, outside = originals_of(answer, photos), originals_of(answer, photos, outside=True)
    assert inside.image(inside.rows[0]) is None
    assert inside.unread == {"../elsewhere.png"}
    assert outside.image(outside.rows[0]).size == (12, 12)
    assert outside.unread == set()


def test_no_pictures_without_images(tmp_path, photos, rows, by_colour):
    answer = wrote_run(tmp_path, photos, rows)
    for found in (pictures([answer]), pictures([replace(answer, files=())], photos)):
        assert not found.sentences
        assert not found.parts
    assert not pictures([answer], tmp_path / "nowhere").parts


def test_a_network_that_cannot_be_loaded_leaves_the_test_images(tmp_path, photos, rows, monkeypatch):
    def refuses(*_, **__):
        raise UserError("The model needs code of your own.")

    monkeypatch.setattr(section, "load", refuses)
    found = pictures([wrote_run(tmp_path, photos, rows)], photos)
    assert [part.name for part in found.parts] == ["tail"]
    assert all(len(shown) == 4 for _, shown in found.parts[0].rows)
    assert found.sentences[-1] == "The training images were not looked at. The model needs code of your own."


def test_images_in_memory_are_found_by_their_names(tmp_path):
    data = settings.digits_lt().data(Path())
    lines = [
        (f, data.classes[label], name, "") for name, s in data.splits.items() for f, label in zip(s.files, s.labels, strict=True)
    ]
    (tmp_path / "split.csv").write_text(csv_text(("path", "label", "split", "content"), lines))
    scores = np.eye(10)[data.test.labels]
    described = describe(settings.digits_lt().data)
    more = {"names": list(data.classes), "folder": tmp_path, "files": data.test.files}
    bundled = originals_of(shown_run(data.class_counts, data.test.labels, scores, data=described, **more), None)
    given = originals_of(shown_run(data.class_counts, data.test.labels, scores, **more), None, data=data)
    for originals in (bundled, given):
        row = originals.rows[7]
        np.testing.assert_array_equal(np.array(originals.image(row)), data.train.pixels[7].permute(1, 2, 0))
        (square,) = originals.squares([row], size=8)
        assert torch.equal(square, data.train.pixels[7])


@pytest.mark.parametrize("call", ["os.system", "longtail.data.folder.folder_data", "longtail.data.cifar.cifar_lt"])
def test_a_record_decides_neither_what_runs_nor_what_is_fetched(tmp_path, photos, rows, call):
    answer = wrote_run(tmp_path, photos, rows)
    described = {"call": call, **({"name": "cifar10", "download": True} if "cifar" in call else {})}
    assert originals_of(replace(answer, record={"setting": {"data": described}}), None) is None


def test_thumbnails_keep_to_their_bytes(tmp_path, photos, rows):
    answer = wrote_run(tmp_path, photos, rows)
    originals = originals_of(answer, photos)
    size = len(Thumbnails(originals).picture(originals.rows[0], "").content)
    few = Thumbnails(originals, budget=2 * size + size // 2)
    made = [few.picture(row, "a\nb\u202e") for row in originals.rows[:5]]
    assert sum(len(picture.content) for picture in made if picture) <= 2.5 * size
    assert few.refused == sum(picture is None for picture in made) > 0
    assert made[0].caption == r"a\nb\u202e"


@pytest.mark.parametrize(
    ("size", "expected"), [((8, 8), (96, 96)), ((32, 20), (96, 60)), ((640, 320), (96, 48)), ((50, 1), (50, 1))]
)
def test_the_size_of_a_thumbnail(size, expected):
    content = thumbnail(Image.new("RGB", size, "red"))
    image = Image.open(io.BytesIO(content))
    assert (image.format, image.size) == ("JPEG", expected)


def test_a_copy_in_another_format_is_found(tmp_path, photos, rows, by_colour):
    smooth = Image.fromarray(np.random.default_rng(5).integers(0, 255, (3, 4, 3), dtype=np.uint8)).resize((48, 48))
    smooth.save(photos / "apple/000.png")
    smooth.save(photos / "berry/009.jpg", quality=85)
    rows[23] = ("berry/009.jpg", 1, "train")
    Image.open(photos / "berry/009.jpg").load()
    answer = wrote_run_of_sizes(tmp_path, photos, rows)
    copies = next(part for part in pictures([answer], photos).parts if part.name == "copies")
    assert [row[2] for row in copies.numbers.rows] == ["apple/000.png", "berry/009.jpg"]
    assert len(copies.rows[0][1]) == 2


def wrote_run_of_sizes(tmp_path, root, rows):
    small = tmp_path / "small"
    for path, _, _ in rows:
        (small / path).parent.mkdir(parents=True, exist_ok=True)
        Image.open(root / path).resize((12, 12)).save(small / path)
    answer = wrote_run(tmp_path, small, rows)
    lines = [(path, NAMES[label], split, content_hash((root / path).read_bytes())) for path, label, split in rows]
    (answer.folder / "split.csv").write_text(csv_text(("path", "label", "split", "content"), lines))
    return answer


def test_the_heading_of_a_class_with_one_image_is_in_the_singular():
    answer = shown_run([200, 1], [0, 1], [[1, 0], [1, 0]], names=["apple", "berry"])
    assert heading(answer, 1) == "berry (few): 1 training image, 0 of 1 test image right"
    assert heading(answer, 0) == "apple (many): 200 training images, 1 of 1 test image right"


def test_the_worst_rare_classes_and_the_images_that_stand_for_them():
    labels = [0, 0, 1, 1, 2, 2, 3]
    answer = shown_run([200, 50, 10, 5, 3], labels, np.eye(5)[[1, 1, 1, 0, 2, 0, 0]])
    assert worst_rare_classes(answer) == [3, 2, 1], "few before medium; the last class has no test images"
    own = np.array([0.9, 0.1, 0.5, 0.3, 0.7, 0.2])
    assert spread(np.arange(6), own) == [1, 3, 2, 0]
    assert spread(np.array([2]), own) == [2]


def test_the_outlook_on_training_images_says_how_far_it_is(tmp_path, photos, rows):
    originals = originals_of(wrote_run(tmp_path, photos, rows), photos)
    seen = []
    found = outlook_of_training(ByColour(), originals, limit=20, watch=lambda done, of: seen.append((done, of)))
    assert seen[-1] == (len(found.rows), len(found.rows))
    assert len(found.rows) == 18, "six of each class"
    assert (found.predicted == found.labels).all()
    assert found.of_split("val").features.shape == (0, 3)


@pytest.mark.slow
def test_a_finished_run_is_pictured_by_its_own_network(tmp_path):
    import longtail
    from longtail.reporting.answer import read_answer

    run = longtail.train("digits_lt", method="gcl", epochs=1, runs=tmp_path, device="cpu", precision="32-true")
    pixels, predictor = settings.digits_lt().data(Path()).test.pixels, longtail.load(run.folder, device="cpu")
    features, scores = predictor.features_and_scores(pixels)
    answer = read_answer(run.folder, "gcl", groups="shots")
    np.testing.assert_allclose(features, answer.features, rtol=2e-3, atol=1e-3)
    assert torch.equal(scores, predictor.scores(pixels))
    found = pictures([answer], device="cpu")
    assert {part.name for part in found.parts} >= {"errors", "tail"}
    assert "(each in one view)" in found.sentences[1]
    ((_, shown),) = found.parts[0].rows
    assert opened(shown[0]).size == (96, 96)
