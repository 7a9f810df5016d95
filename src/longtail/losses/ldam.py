"""Label-distribution-aware margin loss (LDAM).

Cao, Wei, Gaidon, Arechiga, Ma: "Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss", NeurIPS 2019
(arXiv 1906.07413).
"""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float, Int
from torch import Tensor

from longtail.arguments import Numbers
from longtail.heads import CosineHead, Head
from longtail.losses.base import Loss
from longtail.losses.means import one_hot, weighted_mean
from longtail.weighting import Counts


class LDAMLoss(Loss):
    """Requires the true class to win by a margin, wider for rarer classes, so that these keep a larger distance from others.

    z_ij = scale (cos_ij - m_j [j = y_i]),  m_j = max_margin n_j^(-1/4) / max_k n_k^(-1/4)
    L    = sum_i w[y_i] CE(z_i, y_i) / sum_i w[y_i]

    LDAM-DRW weights the classes from 80 % of the training on; the stage's `reweight` does so by setting `weight`.
    Without a cosine head the loss can be lowered by growing the logits, and users of the authors' code have met NaN.

    Source: Cao et al., NeurIPS 2019; code followed: kaidic/LDAM-DRW@2536330. The paper writes m_j = C / n_j^(1/4); the code sets
    C so that the rarest class has max_margin.

    Args:
        class_counts: training images per class (C,).
        max_margin: margin of the rarest class, on the cosine; 0.5, or 0.3 for iNaturalist.
        scale: s, factor on the cosines; 30.
        weight: weight per class (C,). None: all one.

    >>> import torch
    >>> loss = LDAMLoss([100, 10, 1])
    >>> [round(value, 4) for value in loss.margin.tolist()]
    [0.1581, 0.2812, 0.5]
    >>> loss(torch.tensor([[0.5, 0.2, -0.1]]), torch.tensor([0])).item()
    0.01407...
    """

    requires_head: ClassVar[type[Head] | None] = CosineHead
    takes_cosines: ClassVar[bool] = True
    margin: Tensor

    def __init__(
        self, class_counts: Counts, *, max_margin: float = 0.5, scale: float = 30.0, weight: Counts | None = None
    ) -> None:
        super().__init__(class_counts, weight=weight)
        self.scale = self.above_zero("scale", scale)
        rarity = self.class_counts**-0.25
        self.register_buffer("margin", self.at_least(0, "max_margin", max_margin) * rarity / rarity.max())

    def forward(self, logits: Float[Tensor, "batch classes"], labels: Numbers) -> Float[Tensor, ""]:
        logits, labels = self.checked(logits, labels)
        per_sample = F.cross_entropy(self.adjusted(logits, labels), labels, reduction="none")
        return weighted_mean(per_sample, labels, self.weight)

    def adjusted(self, cosines: Float[Tensor, "batch classes"], labels: Int[Tensor, " batch"]) -> Float[Tensor, "batch classes"]:
        """The scaled logits (B, C) that enter the cross-entropy, the true class's lowered by its margin."""
        return self.scale * (cosines - one_hot(labels, cosines.shape[1]) * self.margin.to(cosines.dtype))
