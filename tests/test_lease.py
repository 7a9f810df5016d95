"""What travels to a lent machine arrives as it was, and its queue of runs ends in time."""

import pickle
import runpy
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from longtail import recipes, settings
from longtail.papers import read_table
from made_results import made

LEASE = Path(__file__).resolve().parents[1] / "benchmarks" / "lease"


def script(name):
    return runpy.run_path(str(LEASE / f"{name}.py"), run_name=name)


def official(folder, name, images):
    """Files in CIFAR's form with so many random images of two classes."""
    random = np.random.default_rng(0)
    parts = {"cifar10": [f"data_batch_{number}" for number in range(1, 6)], "cifar100": ["train"]}[name]
    labels = "labels" if name == "cifar10" else "fine_labels"
    names = {("label_names" if name == "cifar10" else "fine_label_names").encode(): [b"ant", b"bee"]}
    folder.mkdir(parents=True)
    for part in (*parts, "test_batch" if name == "cifar10" else "test"):
        pixels = random.integers(1, 256, size=(images, 3072), dtype=np.uint8)
        own = {b"data": pixels, labels.encode(): [index % 2 for index in range(images)]}
        (folder / part).write_bytes(pickle.dumps(own))
    (folder / ("batches.meta" if name == "cifar10" else "meta")).write_bytes(pickle.dumps(names))
    return {part.name: pickle.loads(part.read_bytes()) for part in folder.iterdir()}


@pytest.mark.parametrize(("name", "folder"), [("cifar10", "cifar-10-batches-py"), ("cifar100", "cifar-100-python")])
def test_images_of_the_cut_arrive_and_the_others_are_black(name, folder, tmp_path):
    images, before = script("images"), official(tmp_path / "data" / folder, name, 400)
    images["pack"](name, tmp_path / "data", tmp_path / "packed")
    images["restore"](name, tmp_path / "packed", tmp_path / "again")
    for part, own in before.items():
        again = pickle.loads((tmp_path / "again" / folder / part).read_bytes())
        if b"data" in own:
            kept = again["data"].any(1)
            assert np.array_equal(again["data"][kept], own[b"data"][kept])
            assert kept.all() == part.startswith("test")
            assert again.get("labels", again.get("fine_labels")) == own.get(b"labels", own.get(b"fine_labels"))
        else:
            assert list(again.values()) == [["ant", "bee"]]


def test_the_missing_runs_share_their_first_stage_in_one_line(monkeypatch):
    missing = script("missing")
    monkeypatch.setattr(recipes, "ALL", [recipes.gcl, recipes.crt, recipes.ce])
    lines = missing["chains"](settings.digits_lt(), 2, [])
    own = "digits_lt --budget paper --seed {} --method {}".format
    assert [line.split(" ; ") for line in lines] == [
        [own(seed, name) for name in names] for seed in (0, 1) for names in (["crt", "ce"], ["gcl"])
    ]


def test_runs_of_another_augmentation_are_not_those_of_the_fair_table(monkeypatch):
    missing = script("missing")
    monkeypatch.setattr(recipes, "ALL", [recipes.ce, recipes.gcl])
    cells = [cell for cell in read_table("table1").cells if cell.column.setting == "cifar100_lt" and cell.column.imbalance == 100]
    ce, gcl = (next(cell for cell in cells if cell.method == name) for name in ("ce", "gcl"))
    setting = settings.cifar100_lt()
    strong = [made(cell, 0.5, augment="strong") for cell in (ce, gcl)]
    assert len(missing["chains"](setting, 1, strong)) == 2
    assert missing["chains"](setting, 1, [*strong, made(gcl, 0.5)]) == ["cifar100_lt --budget paper --seed 0 --method ce"]


def test_a_chain_runs_in_order_and_all_ends_in_time(monkeypatch, tmp_path, capfd):
    jobs = script("run_jobs")
    code = "import sys, time, pathlib; pathlib.Path(sys.argv[1]).touch(); time.sleep(float(sys.argv[2]))"
    listed = tmp_path / "jobs.txt"
    listed.write_text(f"# a comment\n{tmp_path / 'a'} 0 ; {tmp_path / 'b'} 60 ; {tmp_path / 'c'} 0\n{tmp_path / 'd'} 0\n")
    monkeypatch.setattr(sys, "argv", ["run_jobs.py", "3", "1", str(listed), sys.executable, "-c", code])
    began = time.monotonic()
    jobs["main"]()
    assert time.monotonic() - began < 30
    assert [(tmp_path / name).exists() for name in "abcd"] == [True, True, False, False]
    said = capfd.readouterr().out
    assert f"{tmp_path / 'a'} 0: exit 0" in said
    assert "not begun: 1" in said
