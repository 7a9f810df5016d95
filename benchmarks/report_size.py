"""Size of a report and seconds to write it, for a run of many synthetic classes: `python benchmarks/report_size.py [CLASSES]`.

The run is made, not trained: two test images per class, of which common classes have more right than rare ones.
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import longtail

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from made_runs import made_run

IMAGES = 2  # per class


def made(folder: Path, classes: int, *, method: str, share: float) -> Path:
    """A run on synthetic classes, whose training images fall from 1,000 to 2; `share` of the images are right."""
    generator = np.random.default_rng(len(method))
    counts = np.geomspace(1000, 2, classes).round().astype(int).tolist()
    labels = np.repeat(np.arange(classes), IMAGES)
    right = generator.random(len(labels)) < np.repeat(np.linspace(share + 0.2, share - 0.2, classes), IMAGES)
    predicted = np.where(right, labels, generator.integers(0, classes, len(labels)))
    names = [f"Genus{label % 977:03} species{label:04}" for label in range(classes)]
    return made_run(folder / method, counts, labels, predicted, names=names, method=method)


def main(classes: int) -> None:
    """Prints size and seconds for one run, and for two side by side."""
    with tempfile.TemporaryDirectory() as name:
        runs = [made(Path(name), classes, method=method, share=share) for method, share in (("ce", 0.5), ("gcl", 0.6))]
        for shown in (runs[:1], runs):
            began = time.perf_counter()
            page = longtail.write_report_page(shown)
            seconds = time.perf_counter() - began
            print(f"{classes:,} classes, {len(shown)} run(s): {page.stat().st_size / 1e6:.2f} MB, {seconds:.1f} s")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 8142)
