"""Memory that the names of many images take, in all processes that read them, and the seconds before training on many files.

python benchmarks/record.py many_files python benchmarks/many_files.py
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from PIL import Image

from longtail.data import folder, readers
from longtail.data.checking import CHECKS
from longtail.data.folder import folder_data
from longtail.data.loaders import Feed
from longtail.data.splits import Data, Split
from longtail.runs.seen import SeenFiles

CLASSES = 1000
LINKS = 60_000  # hard links that a file may have


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--images", type=int, default=1_300_000)
    options.add_argument("--workers", type=int, default=8)
    options.add_argument("--reads", type=int, default=100_000, help="images that are read before memory is measured")
    options.add_argument("--files", type=int, default=5_000, help="files of 500 x 375 pixels that are looked at before training")
    options.add_argument("--part", choices=("memory", "start", "both"), default="both")
    asked = options.parse_args()
    with tempfile.TemporaryDirectory() as place:
        if asked.part != "start":
            memory(Path(place), asked)
        if asked.part != "memory":
            start_up(Path(place) / "photos", asked)


def memory(root: Path, asked: argparse.Namespace) -> None:
    """Prints the memory of this process and its readers after `reads` images, beside that of a thousandth of the names."""
    per_class = -(-asked.images // CLASSES)
    tree(root, per_class)
    print(f"Memory (PSS) of a process and its {asked.workers} readers, in MB, after {asked.reads:,} images; n=1.")
    print(f"{'names':>10} {'in':>12} {'process':>8} {'readers':>8} {'all':>7} {'more than of few names':>23}")
    few = 0.0
    for kind, images in (("one buffer", per_class), ("one buffer", asked.images), ("tuple", asked.images)):
        own, others = apart(used, root, images, per_class, kind, asked.workers, asked.reads)
        few = few or own + others
        print(f"{images:10,} {kind:>12} {own:8.0f} {others:8.0f} {own + others:7.0f} {own + others - few:23.0f}", flush=True)


def tree(root: Path, per_class: int) -> None:
    """One folder of small images under the names of all classes."""
    (root / "all").mkdir()
    Image.fromarray(np.zeros((8, 8, 3), dtype=np.uint8)).save(root / "all" / "first.jpg")
    for number in range(per_class):
        (root / "all" / f"n01440764_{number:05}.JPEG").hardlink_to(root / "all" / "first.jpg")
    for label in range(CLASSES):
        (root / f"n{label:08}").symlink_to(root / "all")


def used(root: Path, images: int, per_class: int, kind: str, workers: int, reads: int) -> tuple[float, float]:
    """MB of this process and of its readers."""
    names = (f"n{index % CLASSES:08}/n01440764_{index // CLASSES % per_class:05}.JPEG" for index in range(images))
    split = Split(names, np.arange(images) % CLASSES, root=root)
    if kind == "tuple":
        object.__setattr__(split, "files", tuple(split.files))
    data = Data(split, split, tuple(map(str, range(CLASSES))), 8, (0.5,) * 3, (0.5,) * 3)
    order = torch.randint(images, (reads,), generator=torch.Generator().manual_seed(0))
    with mock.patch.object(readers, "processors", return_value=workers), warnings.catch_warnings(action="ignore"):
        feed = Feed(split, data, torch.device("cpu"), workers=workers)
        for batch in feed.batches(order, 512):
            assert len(batch.images)
    return pss(os.getpid()), sum(pss(child.pid or 0) for child in multiprocessing.active_children())


def pss(process: int) -> float:
    """The memory of a process in MB, a page that several share divided among them."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1000


def start_up(root: Path, asked: argparse.Namespace) -> None:
    """Prints the CPU seconds in which a folder is read before training, and those of a second start that knows the files."""
    photos(root, asked.files)
    print(f"\nBefore training on {asked.files:,} files of 500 x 375 pixels, too many for memory: CPU seconds; n=1.")
    print(f"{'check':>8} {'first':>7} {'second':>7} {'a file, ms':>11} {'1.3 million files, minutes of a core':>38}")
    found = {check: [apart(seconds, root, check, root.parent / f"{check}.csv") for _ in range(2)] for check in CHECKS}
    for check, (first, second) in found.items():
        each = (first - found["none"][0]) / asked.files
        print(f"{check:>8} {first:7.1f} {second:7.1f} {1000 * each:11.2f} {1_300_000 * each / 60:38.1f}")
    print(
        "A file: more than without a check. In any case a sample of training images is decoded for their mean and deviation, here"
    )
    print("it has 100 images, else 2,000. Names are listed in any case, too.")


def seconds(root: Path, check: str, listed: Path) -> float:
    """CPU seconds of reading the folder, whose images do not fit into memory."""
    seen, began = SeenFiles(listed), time.process_time()
    large = {"MEMORY_LIMIT": 0, "SAMPLE": 100}
    with mock.patch.multiple(folder, **large), mock.patch("longtail.runs.seen.RACY", -(10**12)):
        folder_data(root, size=224, check=check, seen=seen)  # type: ignore[arg-type]
    seen.save()
    return time.process_time() - began


def photos(root: Path, count: int) -> None:
    """Files of ten classes that are one photograph of noise and waves, by hard links."""
    root.mkdir()
    waves = np.sin(np.arange(500 * 375 * 3).reshape(375, 500, 3) / 900) * 90 + 128
    for number in range(count):
        (root / f"class {number % 10}").mkdir(exist_ok=True)
        path = root / f"class {number % 10}" / f"{number:06}.jpg"
        if number % LINKS == 0:
            first = path
            noise = np.random.default_rng(number).normal(0, 20, waves.shape)
            Image.fromarray((waves + noise).clip(0, 255).astype(np.uint8)).save(path, quality=90)
        else:
            path.hardlink_to(first)


def apart(function, *arguments):  # noqa: ANN001, ANN002, ANN201
    """What a function returns in a process of its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


if __name__ == "__main__":
    main()
