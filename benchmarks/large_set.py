"""iNaturalist 2018 in small: all classes and the layout, few images per class; an epoch, the evaluation and the report.

python benchmarks/record.py large_set_cpu python benchmarks/large_set.py
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

import longtail
from longtail.cli.data import run_check
from longtail.cli.runs_table import run_table
from longtail.data import published
from longtail.data.published_lists import PUBLISHED
from longtail.reporting.writing import write_report_page

NAME = "inaturalist2018"
LINKS = 30_000  # of one file, below what file systems allow


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--classes", type=int, default=8142)
    options.add_argument("--most", type=int, default=5, help="training images of the largest class")
    options.add_argument("--side", type=int, default=32)
    options.add_argument("--methods", nargs="+", default=["ce"])
    asked = options.parse_args()
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        with said("writing the tree"):
            images = write_tree(root, tail(asked.classes, asked.most))
        print(f"{images['train']:,} training and {images['val']:,} test images of {asked.classes:,} classes")
        as_if_published(asked.classes, images, asked.side)
        with said("data check"):
            run_check(NAME, root, as_json=False)
        for method in asked.methods:
            train(root, method)
        with said("table"):
            run_table(NAME, root / "runs", budget=None, results=(), form="text")


def tail(classes: int, most: int) -> list[int]:
    """Training images per class, falling exponentially from `most` to 1."""
    return [max(round(most ** (1 - index / max(classes - 1, 1))), 1) for index in range(classes)]


def write_tree(root: Path, counts: Sequence[int]) -> dict[str, int]:
    """Writes lists and images of the published layout, one test image per class; the images are links to a few JPEGs."""
    rows = {"train": [(label, i) for label, count in enumerate(counts) for i in range(count)]}
    rows["val"] = [(label, 0) for label in range(len(counts))]
    folder, written = root / NAME, 0
    for part, chosen in rows.items():
        lines = [f"train_val2018/Plantae/{label}/{part}{index}.jpg {label}" for label, index in chosen]
        for line in lines:
            path = folder / line.rsplit(" ", 1)[0]
            path.parent.mkdir(parents=True, exist_ok=True)
            os.link(photo(root, written // LINKS, written % 7), path)
            written += 1
        (folder / f"{PUBLISHED[NAME].prefix}_{part}.txt").write_text("\n".join(lines) + "\n")
    return {part: len(chosen) for part, chosen in rows.items()}


def photo(root: Path, *name: int) -> Path:
    """A JPEG of 64 x 48 pixels of noise."""
    path = root / "{}_{}.jpg".format(*name)
    if not path.exists():
        pixels = np.random.default_rng(name).integers(0, 256, (48, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    return path


def as_if_published(classes: int, images: dict[str, int], side: int) -> None:
    """Has the small lists taken for the published ones, at a smaller image size."""
    known = replace(PUBLISHED[NAME], classes=classes, images=images, sha256={}, counts="")
    PUBLISHED[NAME] = known  # type: ignore[index]
    published.SIZE, published.RESIZE = side, side * 8 // 7


def train(root: Path, method: str) -> None:
    how = {"root": root, "runs": root / "runs", "device": "cpu", "precision": "32-true", "backbone": "resnet8", "epochs": 1}
    with said(f"{method}: training, evaluation"):
        result = longtail.train(NAME, method=method, **how)
    with said(f"{method}: report page"):
        write_report_page([result.folder], images=root / NAME)
    with said(f"{method}: loading, one prediction"):
        longtail.load(result.folder, device="cpu").predict(next((root / NAME).rglob("*.jpg")))
    model = (result.folder / "model" / "model.safetensors").stat().st_size
    print(f"{method}: the model has {model / 2**20:.0f} MiB, the run {used(result.folder) / 2**20:.0f} MiB")


def used(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@contextmanager
def said(what: str) -> Iterator[None]:
    """Prints how long the block took, and the highest memory so far of this process and of the largest of its workers."""
    began = time.perf_counter()
    yield
    own, workers = (resource.getrusage(who).ru_maxrss / 2**10 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    print(f"{what}: {time.perf_counter() - began:.1f} s, peak {own:.0f} MiB, workers {workers:.0f} MiB", flush=True)


if __name__ == "__main__":
    main()
