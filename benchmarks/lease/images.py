"""CIFAR's test images, and the training images of the cut to imbalance 100, in one small file; and back again.

    python images.py pack cifar100 DATA FILE       python images.py restore cifar100 FILE DATA

Restored files have the official form; training images outside the cut are black, so torchvision's md5 check fails on them
(`without_md5.py`).
"""

from __future__ import annotations

import io
import lzma
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np

from longtail.data.imbalance import cut_counts, long_tailed_subset

FOLDERS = {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}
TRAIN = {"cifar10": [f"data_batch_{number}" for number in range(1, 6)], "cifar100": ["train"]}
TEST = {"cifar10": "test_batch", "cifar100": "test"}
LABELS = {"cifar10": b"labels", "cifar100": b"fine_labels"}
META = {"cifar10": "batches.meta", "cifar100": "meta"}
IMBALANCE = 100


def pack(name: str, root: Path, file: Path) -> None:
    """Writes the images as differences of neighbours, which compress better, and the names of the classes."""
    folder = root / FOLDERS[name]
    parts, test = [_read(folder / part) for part in TRAIN[name]], _read(folder / TEST[name])
    pixels = np.concatenate([part[b"data"] for part in parts])
    labels = np.concatenate([part[LABELS[name]] for part in parts])
    chosen = np.sort(long_tailed_subset(labels, cut_counts(np.bincount(labels), IMBALANCE), 0))
    content = io.BytesIO()
    arrays = {"chosen": chosen, "labels": labels, "pixels": differences(pixels[chosen])}
    np.savez(content, **arrays, test_pixels=differences(test[b"data"]), test_labels=test[LABELS[name]])
    file.write_bytes(pickle.dumps((_read(folder / META[name]), lzma.compress(content.getvalue()))))


def restore(name: str, file: Path, root: Path) -> None:
    """Writes the official files again."""
    meta, compressed = pickle.loads(file.read_bytes())
    arrays, folder = np.load(io.BytesIO(lzma.decompress(compressed))), root / FOLDERS[name]
    folder.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((len(arrays["labels"]), 3072), np.uint8)
    pixels[arrays["chosen"]] = sums(arrays["pixels"])
    parts = len(TRAIN[name])
    for part, rows, labels in zip(TRAIN[name], np.split(pixels, parts), np.split(arrays["labels"], parts), strict=True):
        _write(folder / part, {"data": rows, LABELS[name].decode(): labels.tolist()})
    labels = arrays["test_labels"].tolist()
    _write(folder / TEST[name], {"data": sums(arrays["test_pixels"]), LABELS[name].decode(): labels})
    names = {key.decode(): [name.decode() for name in value] for key, value in meta.items() if key.endswith(b"names")}
    _write(folder / META[name], names)


def differences(pixels: np.ndarray) -> np.ndarray:
    """Each pixel less its left neighbour, modulo 256."""
    rows = pixels.reshape(-1, 32)
    return np.diff(rows, axis=1, prepend=np.zeros((len(rows), 1), np.uint8)).reshape(pixels.shape)


def sums(pixels: np.ndarray) -> np.ndarray:
    """What `differences` was made of."""
    return np.cumsum(pixels.reshape(-1, 32), axis=1, dtype=np.uint8).reshape(pixels.shape)


def _read(file: Path) -> Any:
    return pickle.loads(file.read_bytes(), encoding="bytes")


def _write(file: Path, content: Any) -> None:
    file.write_bytes(pickle.dumps(content))


if __name__ == "__main__":
    {"pack": pack, "restore": restore}[sys.argv[1]](sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
