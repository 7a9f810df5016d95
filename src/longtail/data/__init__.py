"""Data sets: reading images, splitting them, cutting long-tailed subsets, and feeding batches to a training loop.

The package exports what a training loop of your own needs: long-tailed counts, subsets that follow them, and groups of classes.
Images are read in `folder`, `cifar`, `digits` and `published`; batched augmentation is in `transforms` and `autoaugment`.
"""

from longtail.data.groups import shot_groups
from longtail.data.imbalance import cut_counts, exponential_counts, imbalance_factor, long_tailed_subset, step_counts

__all__ = ["cut_counts", "exponential_counts", "imbalance_factor", "long_tailed_subset", "shot_groups", "step_counts"]
