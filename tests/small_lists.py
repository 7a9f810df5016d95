"""Small versions of the published lists, with their images, and runs on them."""

from dataclasses import replace

import numpy as np
from PIL import Image

import longtail
from longtail.data import published
from longtail.data.published_lists import PUBLISHED

COUNTS = {"train": (9, 5, 3), "val": (2, 2, 2), "test": (3, 3, 3)}
FOLDERS = ("n01", "n02", "n03")


def lines_of(part, folders=FOLDERS):
    """Lines of a list, where the val images are in the training folders, as published."""
    parent = "val" if part == "test" else "train"
    counts = COUNTS[part]
    return [f"{parent}/{folder}/{part} {i}.png {label}" for label, folder in enumerate(folders) for i in range(counts[label])]


def publisher(tmp_path, monkeypatch):
    """Writes a small set's lists and images (empty files unless `paint`), as if that were the published one."""

    def written(name, *, folders=FOLDERS, paint=False, **changed):
        small = replace(PUBLISHED[name], classes=3, images={part: sum(COUNTS[part]) for part in PUBLISHED[name].images})
        monkeypatch.setitem(published.PUBLISHED, name, small)
        monkeypatch.setattr(published, "SIZE", 8)
        monkeypatch.setattr(published, "RESIZE", 9)
        for part in small.images:
            lines = lines_of(part, folders)
            for line in lines:
                path, label = line.rsplit(" ", 1)
                (tmp_path / name / path).parent.mkdir(parents=True, exist_ok=True)
                image(tmp_path / name / path, int(label)) if paint else (tmp_path / name / path).touch()
            (tmp_path / name / f"{small.prefix}_{part}.txt").write_text("\n".join(changed.get(part, lines)) + "\n")
        return tmp_path

    return written


def image(path, label):
    noise = np.random.default_rng(list(path.name.encode())).normal(0, 30, (10, 12, 3))
    Image.fromarray((noise + 60 * (label + 1)).clip(0, 255).astype(np.uint8)).save(path)


def train(root, runs, **asked):
    fixed = {"root": root, "runs": runs, "backbone": "resnet8", "device": "cpu", "precision": "32-true"}
    return longtail.train("imagenet_lt", **{**fixed, **asked})
