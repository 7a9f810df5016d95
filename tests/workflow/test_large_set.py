"""iNaturalist 2018 in small, from the list to the report: many classes in the published layout, most of them with one image."""

import hashlib
import json
import os
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import longtail
from commands import longtail as command
from longtail.data import published
from longtail.data.published_lists import PUBLISHED

NAME, CLASSES = "inaturalist2018", 200
COUNTS = [101, 100, 20, 19, *[1] * (CLASSES - 4)]


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Lists and a tree whose files are links to three JPEGs; the lists are taken for the published ones."""
    rows = {"train": [(label, i) for label, count in enumerate(COUNTS) for i in range(count)]}
    rows["val"] = [(label, 0) for label in range(CLASSES)]
    lists = {part: [f"train_val2018/Aves/{c}/{part}{i}.jpg {c}" for c, i in chosen] for part, chosen in rows.items()}
    for index in range(3):
        pixels = np.random.default_rng(index).integers(0, 256, (12, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{index}.jpg")
    for line in (line for lines in lists.values() for line in lines):
        path = tmp_path / NAME / line.rsplit(" ", 1)[0]
        path.parent.mkdir(parents=True, exist_ok=True)
        os.link(tmp_path / f"{len(path.name) % 3}.jpg", path)
    for part, lines in lists.items():
        (tmp_path / NAME / f"iNaturalist18_{part}.txt").write_text("\n".join(lines) + "\n")
    counts = hashlib.sha256(" ".join(map(str, COUNTS)).encode()).hexdigest()
    images = {part: len(lines) for part, lines in lists.items()}
    known = {"classes": CLASSES, "images": images, "counts": counts, "groups": (1, 2, CLASSES - 3), "sha256": {}}
    monkeypatch.setitem(PUBLISHED, NAME, replace(PUBLISHED[NAME], **known))
    monkeypatch.setattr(published, "SIZE", 8)
    monkeypatch.setattr(published, "RESIZE", 9)
    return tmp_path


def test_check_train_evaluate_table_and_report(root):
    checked = json.loads(command("data", "check", NAME, "--root", root, "--json").out)
    assert (checked["problems"], checked["groups"]) == ([], {"many": 1, "medium": 2, "few": CLASSES - 3})
    runs = root / "runs"
    how = {"root": root, "runs": runs, "backbone": "resnet8", "device": "cpu", "precision": "32-true", "epochs": 1}
    result = longtail.train(NAME, method="gala", **how)
    assert result.report.images == {"train": sum(COUNTS), "test": CLASSES}
    assert list(result.report.class_counts) == COUNTS
    assert [group.classes for group in result.report.test.groups.values()] == [1, 2, CLASSES - 3]
    assert command("evaluate", result.folder).code == 0
    assert "gala" in command("table", NAME, "--runs", runs).text
    page = root / "report.html"
    assert command("report", result.folder, "-o", page, "--images", root / NAME).code == 0
    assert f"{CLASSES} classes" in page.read_text(encoding="utf-8")
    predictor = longtail.load(result.folder, device="cpu")
    assert len(predictor.predict(root / NAME / "train_val2018/Aves/7/val0.jpg").probabilities) == CLASSES
