"""Images per second of fine-tuning: longtail and the plain script of plain_fine_tuning.py by turns, on the same images.

    python benchmarks/fine_tuning_speed.py FOLDER --weights tf_efficientnet_lite0.safetensors --runs RUNS --images 2000 --rounds 3

Each turn is one epoch on the same images, with flips and shifts, batches of 64 and the same number of threads. The ratio is that
of the medians. Reading the images is in neither number: both hold them in memory.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from plain_fine_tuning import plain, read

import longtail
from longtail.runs.serving import load


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", type=int, default=96)
    asked = parser.parse_args()
    asked.epochs = 1
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = by_turns(asked, chosen_images(asked, Path(folder)))
    print(f"longtail {median(ours):.1f} images/s, plain {median(theirs):.1f}: ratio {median(ours) / median(theirs):.2f}")


def chosen_images(asked: Any, folder: Path) -> Path:
    """A CSV of images of the folder, evenly from the sorted list of all."""
    every = sorted(path for path in asked.folder.glob("*/*") if path.is_file())
    step = max(len(every) // asked.images, 1)
    path = folder / "images.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "label"))
        writer.writerows((image.resolve(), image.parent.name) for image in every[::step][: asked.images])
    return path


def by_turns(asked: Any, listing: Path) -> tuple[list[float], list[float]]:
    """Images per second of each turn of longtail, and of the plain script."""
    how: dict[str, Any] = {"symmetry": "mirror", "views": 1, "size": asked.size, "epochs": 1, "device": "cpu", "outside": True}
    ours, theirs = [], []
    for number in range(asked.rounds):
        run = longtail.train(listing, method="ce", weights=asked.weights, runs=asked.runs, fresh=True, val=0, **how)
        images = read(Path("/"), run.folder / "split.csv", load(run.folder, device="cpu").classes, asked.size)
        rate = run.report.stages[0].images_per_second
        assert rate is not None
        ours.append(rate)
        theirs.append(plain(images, asked)[3])
        print(f"round {number + 1}: longtail {ours[-1]:.1f} images/s, plain {theirs[-1]:.1f}", flush=True)
    return ours, theirs


if __name__ == "__main__":
    main()
