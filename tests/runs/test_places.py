"""Two collections of one name have folders of runs of their own; a setting's name is not taken by a folder, nor hides one."""

from pathlib import Path

import pytest

from commands import longtail, paint
from longtail.errors import UserError
from longtail.runs.places import name_of_runs, name_of_trained, owner_of, take
from longtail.workflow.request import Request
from longtail.workflow.resolve import has_own_data

SMALL = ("--method", "ce", "--epochs", 1, "--size", 8, "--backbone", "resnet8", "--device", "cpu")


def place(root):
    root.mkdir(parents=True)
    return root


def test_names_of_runs(tmp_path):
    runs, one, two, three = tmp_path / "runs", *(place(tmp_path / name / "photos") for name in "abc")
    assert name_of_runs(runs, one) == "photos"
    take(runs, "photos", one, ["x"])
    assert name_of_runs(runs, two) == "photos-2"
    take(runs, "photos-2", two, ["x"])
    assert [name_of_runs(runs, data) for data in (one, two, three)] == ["photos", "photos-2", "photos-3"]
    with pytest.raises(UserError, match=r"photos' was taken for the runs on '.*/a/photos' just now"):
        take(runs, "photos", three, ["x"])


def test_a_csv_and_a_folder_of_one_name(tmp_path):
    folder, listed = place(tmp_path / "photos"), tmp_path / "photos.csv"
    listed.write_text("")
    take(tmp_path / "runs", "photos", folder, ["x"])
    assert name_of_runs(tmp_path / "runs", listed) == "photos-2"


def test_a_folder_that_was_moved_keeps_its_runs_and_another_does_not_get_them(tmp_path):
    runs, one, two = tmp_path / "runs", place(tmp_path / "a" / "photos"), place(tmp_path / "b" / "photos")
    take(runs, "photos", one, ["x", "y"])
    one.rename(tmp_path / "c")
    assert name_of_runs(runs, two, classes=["x", "y"]) == "photos"
    assert name_of_runs(runs, two, classes=["x", "z"]) == "photos-2"


def test_runs_from_before_belong_to_the_folder_of_their_name(tmp_path):
    place(tmp_path / "runs" / "photos")
    assert name_of_runs(tmp_path / "runs", place(tmp_path / "photos")) == "photos"


def test_a_damaged_note_of_the_owner_is_none(tmp_path):
    (place(tmp_path / "photos") / "data.json").write_text("[3]")
    assert owner_of(tmp_path, "photos") is None


@pytest.mark.parametrize("name", ["digits_lt", "digits_lt_50"])
def test_a_folder_called_as_a_setting_has_runs_of_its_own(tmp_path, name):
    data = place(tmp_path / name)
    assert name_of_runs(tmp_path / "runs", data, reserved=["digits_lt"]) == f"{name}-folder"
    assert name_of_trained(tmp_path / "runs", data) == name
    take(tmp_path / "runs", f"{name}-folder", data, ["x"])
    assert name_of_trained(tmp_path / "runs", data) == f"{name}-folder"


def test_a_folder_called_as_a_setting_is_taken_and_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert has_own_data(Request("digits_lt"))
    place(tmp_path / "digits_lt")
    assert has_own_data(Request("digits_lt")), "a folder without images is no data set"
    paint(tmp_path / "digits_lt", {"x": 6, "y": 4})
    assert not has_own_data(Request("digits_lt"))
    assert has_own_data(Request("digits_lt", root="."))
    assert not has_own_data(Request(Path("digits_lt")))
    said = longtail("train", "digits_lt", *SMALL)
    assert said.code == 0, said.err
    assert "'digits_lt' is a folder of images here, which is taken; for the setting of that name give --root DIR." in said.text
    assert Path(said.folder).parts[:2] == ("runs", "digits_lt-folder")
    assert "10 images" in longtail("inspect", "digits_lt").text
    table = longtail("table", "digits_lt")
    assert table.code == 0, table.err
    assert "digits_lt-folder" in table.text


def test_two_folders_of_one_name_share_no_table(tmp_path):
    one, two = (paint(tmp_path / which / "photos", {"x": 6, "y": 4}, seed=seed) for seed, which in enumerate("ab"))
    folders = {longtail("train", data, *SMALL, "--runs", tmp_path / "runs").folder for data in (one, two)}
    assert {Path(folder).parts[-3] for folder in folders} == {"photos", "photos-2"}
    for data, name in ((one, "photos "), (two, "photos-2 ")):
        table = longtail("table", data, "--runs", tmp_path / "runs")
        assert table.text.startswith(name), table.out
        assert sum(line.strip().startswith("ce ") for line in table.out.splitlines()) == 1, table.out
