"""Cloud sizes of Gaussian clouded logits: how wide the noise on each class's logit is, from 0 (most images) to 1 (fewest).

These are the four rules of the GCL authors' Table 3 (`power` with two exponents). The sizes of each rule are divided by their
maximum, so only their ratios matter.
"""

from __future__ import annotations

import math

from longtail.weighting import Counts, Weights, as_counts, relative_rarity, scaled_to_one


def log(class_counts: Counts) -> Weights:
    """log n_max - log n_j, the paper's choice (Algorithm 1).

    >>> log([100, 10, 1]).tolist()
    [0.0, 0.5, 1.0]
    """
    return relative_rarity(as_counts(class_counts))


def cosine(class_counts: Counts) -> Weights:
    """cos(n_j / n_max * pi / 2)."""
    counts = as_counts(class_counts)
    sizes = (counts / counts.max() * (math.pi / 2)).cos()
    return scaled_to_one(sizes.where(counts < counts.max(), 0.0))


def power(class_counts: Counts, *, exponent: float = 1 / 3) -> Weights:
    """n_max ** exponent - n_j ** exponent; the table has 1/3 and 1/4."""
    counts = as_counts(class_counts)
    return scaled_to_one(counts.max() ** exponent - counts**exponent)
