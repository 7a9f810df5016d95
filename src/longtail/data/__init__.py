"""Which images, how are they cut, and how are they fed?

What a training loop of one's own needs is here: long-tailed counts, subsets that follow them, and groups of classes. Reading images
is in `folder`, `cifar`, `digits` and `published`, batched augmentation in `transforms` and `autoaugment`.
"""

from longtail.data.groups import shot_groups
from longtail.data.imbalance import cut_counts, exponential_counts, imbalance_factor, long_tailed_subset, step_counts

__all__ = ["cut_counts", "exponential_counts", "imbalance_factor", "long_tailed_subset", "shot_groups", "step_counts"]
