"""Writes a small, natural long tail with a large test set: python benchmarks/small_tail.py FOLDER SEED FILE.csv.

Of 30 classes drawn at random, a twentieth of the images of each (two at least) are for training, and up to 100 others for test.
"""

from __future__ import annotations

import csv
import random
import sys
from pathlib import Path

CLASSES, SHARE, TEST = 30, 20, 100


def main() -> None:
    folder, draw, target = Path(sys.argv[1]), random.Random(int(sys.argv[2])), Path(sys.argv[3])
    classes = sorted(path.name for path in folder.iterdir() if path.is_dir())
    rows = []
    for label in sorted(draw.sample(classes, CLASSES)):
        files = sorted(path.name for path in (folder / label).iterdir())
        draw.shuffle(files)
        shown = max(len(files) // SHARE, 2)
        for split, names in (("train", files[:shown]), ("test", files[shown : shown + TEST])):
            rows += [(f"{label}/{name}", label, split) for name in names]
    with target.open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label", "split"), *rows])


if __name__ == "__main__":
    main()
