"""Files that do not fit into memory are decoded before training, or their headers are read, or nothing, as is asked for."""

import os
import time

import pytest

from commands import longtail, paint, truncated
from longtail.data import folder, reading
from longtail.data.folder import folder_data
from longtail.data.splits import fingerprint
from longtail.errors import BadFolder
from longtail.runs.files import read_bytes
from longtail.runs.seals import read_json
from longtail.runs.seen import SeenFiles
from longtail.runs.siblings import changed_images

HEADERS = 14 - 6  # the files below, without the sample of training images that is decoded for its mean and deviation


@pytest.fixture
def photos(tmp_path, monkeypatch):
    monkeypatch.setattr(folder, "MEMORY_LIMIT", 0)
    monkeypatch.setattr(folder, "SAMPLE", 5)
    root = paint(tmp_path / "photos", {"apple": 8, "berry": 6}, suffix="jpg")
    for path in root.rglob("*.jpg"):
        os.utime(path, (time.time() - 100,) * 2)
    monkeypatch.setattr("longtail.runs.seen.RACY", -1)
    return root


@pytest.fixture
def looked(monkeypatch):
    """The names of the files that are decoded, and of those whose headers are read."""
    found = {"decoded": [], "headers": []}
    decode, look = reading.opened, reading.opened_header
    monkeypatch.setattr(reading, "opened", lambda path, content: found["decoded"].append(path.name) or decode(path, content))
    monkeypatch.setattr(reading, "opened_header", lambda path: found["headers"].append(path.name) or look(path))
    return found


@pytest.mark.parametrize(("check", "decoded", "headers"), [("full", 14, 0), ("header", 6, HEADERS), ("none", 6, 0)])
def test_as_much_is_read_as_is_asked_for(photos, looked, check, decoded, headers):
    told = []
    data = folder_data(photos, size=6, check=check, watch=lambda done, total: told.append((done, total)))
    assert (len(looked["decoded"]), len(looked["headers"])) == (decoded, headers)
    assert told == [(done, decoded + headers) for done in range(1, decoded + headers + 1)]
    assert len(data.train) + len(data.test) == 14


def test_without_a_full_check_images_are_known_by_name(photos):
    full, header, none = (folder_data(photos, size=6, check=check) for check in ("full", "header", "none"))
    assert (header.train.digests, none.test.digests) == ((), ())
    assert len(full.train.digests) == len(full.train)
    assert fingerprint(header) == fingerprint(none) != fingerprint(full)
    assert (full.mean, full.std) == (header.mean, header.std) == (none.mean, none.std)


def test_what_fits_into_memory_is_decoded_whatever_is_asked_for(photos, monkeypatch):
    monkeypatch.undo()
    full, none = (folder_data(photos, size=6, check=check) for check in ("full", "none"))
    assert none.train.pixels is not None
    assert fingerprint(full) == fingerprint(none)


@pytest.mark.parametrize(("check", "left"), [("full", 3), ("header", 2), ("none", 0)])
def test_broken_files_are_found_as_far_as_is_looked(photos, check, left):
    whole = folder_data(photos, size=6)
    words, short, empty = (photos / file for file in whole.test.files)
    words.write_text("these are words")
    short.write_bytes(short.read_bytes()[:-40])  # its header is whole
    empty.write_bytes(b"")
    if left:
        with pytest.raises(BadFolder, match="cannot be read as an image"):
            folder_data(photos, size=6, check=check)
    data = folder_data(photos, size=6, check=check, skip_corrupt=True)
    assert len(data.skipped) == left


def test_images_that_would_fit_without_the_broken_ones_stay_in_their_files(photos, monkeypatch):
    """What was not decoded is not held, although the rest would fit into memory."""
    for file in folder_data(photos, size=6).test.files:
        (photos / file).write_text("these are words")
    monkeypatch.setattr(folder, "MEMORY_LIMIT", 12 * 3 * 6 * 6)
    for check in ("full", "header"):
        data = folder_data(photos, size=6, check=check, skip_corrupt=True)
        assert (data.train.pixels, len(data.skipped), len(data.train) + len(data.test)) == (None, 3, 11)


def test_a_missing_file_is_found_by_its_header(photos):
    rows = "".join(f"apple/{index:03}.jpg,{'ab'[index % 2]}\n" for index in range(9))
    (photos / "list.csv").write_text("path,label\n" + rows)
    data = folder_data(photos / "list.csv", size=6, check="header", skip_corrupt=True)
    assert data.skipped == ("apple/008.jpg",)


def test_headers_are_read_once_and_stand_for_no_content(photos, tmp_path, looked):
    def read(check):
        for names in looked.values():
            names.clear()
        seen = SeenFiles(tmp_path / "seen.csv")
        data = folder_data(photos, size=6, check=check, seen=seen)
        seen.save()
        return data, len(looked["decoded"]), len(looked["headers"])

    assert read("header")[1:] == (6, HEADERS)
    assert read("header")[1:] == (6, 0)
    full, decoded, headers = read("full")
    assert (decoded, headers) == (14, 0)
    assert fingerprint(full) == fingerprint(folder_data(photos, size=6))
    assert read("header")[1:] == (6, 0)
    assert read("full")[1:] == (6, 0)


def test_content_that_is_not_known_has_not_changed():
    assert changed_images({"a": "1", "b": ""}, {"a": "", "b": "2"}) == ""
    assert changed_images({"a": "1", "b": "2"}, {"a": "3", "c": ""}) == (
        "1 changed image (a); 1 new image (c); 1 missing image (b)"
    )


@pytest.mark.slow
def test_a_broken_file_stops_training_and_finished_epochs_are_kept(photos, tmp_path, monkeypatch):
    broken = photos / folder_data(photos, size=6).train.files[0]
    whole, step = broken.read_bytes(), None

    def breaking(self, stage, progress):
        if progress.epoch == 2:
            truncated(broken)
        return step(self, stage, progress)

    command = ("train", photos, "--method", "ce", "--epochs", 4, "--size", 8, "--backbone", "resnet8", "--check", "none")
    command = (*command, "--runs", tmp_path / "runs", "--symmetry", "none", "--no-report")
    from longtail.cli.progress import Bars

    step = Bars.step
    with monkeypatch.context() as patch:
        patch.setattr(Bars, "step", breaking)
        sentence = longtail(*command).sentence
    assert str(broken) in sentence
    assert sentence.endswith("Put a readable file there and start the command again; finished epochs are kept.")
    (run,) = (tmp_path / "runs").glob("photos/ce/*/")
    before = read_bytes(run / "log.jsonl").splitlines()
    broken.write_bytes((photos / "apple" / "007.jpg").read_bytes() if broken.name != "007.jpg" else whole)
    said = longtail(*command)
    assert said.folder == str(run)
    assert "Images are known by name and class alone (--check none): one that changes is not noticed." in said.text
    assert read_bytes(run / "log.jsonl").splitlines()[: len(before)] == before
    assert 1 <= len(before) < 4
    assert read_json(run, "report.json")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("digits_lt", "--check", "none"), "--check is for folders and CSVs; leave it out for the setting 'digits_lt'."),
        (("PHOTOS", "--check", "heads"), "There is no check 'heads'. Did you mean 'header'? There are: full, header, none."),
    ],
)
def test_a_check_that_cannot_be_made_is_refused(photos, words, said):
    words = [photos if word == "PHOTOS" else word for word in words]
    assert said in longtail("train", *words).sentence
