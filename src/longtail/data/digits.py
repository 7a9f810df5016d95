"""The handwritten digits that are part of scikit-learn: 1,797 real 8x8 images, which need no download."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from longtail.data.imbalance import cut_counts, long_tailed_subset
from longtail.data.splits import Data, Split, counts_of, pixel_statistics, stratified


def digits_lt(root: Path | None = None, *, imbalance: float | None = 50, split_seed: int = 0, test_share: float = 1 / 3) -> Data:
    """Digits with a long-tailed training set; a third of each class is the test set. `root` is not used."""
    from sklearn.datasets import load_digits

    bundle = load_digits()
    grey = torch.from_numpy((bundle.images * (255 / 16)).round().astype(np.uint8))
    pixels = grey[:, None].expand(-1, 3, -1, -1).contiguous()
    labels = bundle.target.astype(np.int64)
    whole = Split(tuple(f"digits/{index}" for index in range(len(labels))), labels, pixels)
    chosen = stratified(labels, 10, test_share, seed=split_seed, at_least_one_of=2)
    train, test = whole.take(np.setdiff1d(np.arange(len(labels)), chosen)), whole.take(chosen)
    if imbalance is not None:
        train = train.take(long_tailed_subset(train.labels, cut_counts(counts_of(train.labels, 10), imbalance), split_seed))
    assert train.pixels is not None
    mean, std = pixel_statistics(train.pixels)
    return Data(train, test, tuple("0123456789"), size=8, mean=mean, std=std)
