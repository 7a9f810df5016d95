"""Contrastive losses on features, for the representation branch of Hybrid-SC and Hybrid-PSC; called as `loss(features, labels)`.

Wang, Han, Wei, Zhang, Wang: "Contrastive Learning based Hybrid Networks for Long-Tailed Image Classification", CVPR 2021
(arXiv 2103.14267); Khosla et al.: "Supervised Contrastive Learning", NeurIPS 2020 (arXiv 2004.11362).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float
from torch import Tensor, nn

from longtail.arguments import IGNORED, Numbers
from longtail.errors import UserError
from longtail.losses.base import FeatureLoss
from longtail.losses.means import one_hot, weighted_mean
from longtail.losses.ranges import needs_unit_vectors
from longtail.weighting import Counts


class SupervisedContrastiveLoss(FeatureLoss):
    """Pulls images of one class together and pushes all others away.

    l_i = -1 / |P(i)| sum_{j in P(i)} log (exp(q_i q_j / temperature) / sum_{k != i} exp(q_i q_k / temperature))
    L   = sum_i w[y_i] l_i / sum_i w[y_i],  P(i) = {j != i: y_j = y_i}

    The rows of `features` are all views of all images, one view after the other, with the labels repeated; they must be unit
    vectors and are not normalised here. An anchor without a positive counts as 0 in the mean; with two views every anchor has
    one.

    Source: Khosla et al., NeurIPS 2020, Eq. 2, as used by Wang et al., CVPR 2021. The paper sums over the anchors; the mean is
    taken here, so that the learning rate does not depend on the batch size. No official code of Hybrid-SC was found.

    Args:
        class_counts: training images per class (C,); the loss does not use them.
        feature_size: length d of a feature vector, only used to check the features.
        temperature: tau, divisor of the similarities; 0.1 in the paper (CIFAR).
        weight: weight of the anchors per class (C,). None: all one.

    >>> loss = SupervisedContrastiveLoss([100, 10], feature_size=2, temperature=1.0)
    >>> views = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0], [-0.6, 0.8], [-1.0, 0.0]])
    >>> loss(views, torch.tensor([0, 0, 1, 1, 1])).item()
    1.09166...
    """

    def __init__(
        self, class_counts: Counts, *, feature_size: int, temperature: float = 0.1, weight: Counts | None = None
    ) -> None:
        super().__init__(class_counts, feature_size=feature_size, weight=weight)
        self.temperature = self.above_zero("temperature", temperature)
        self.range = needs_unit_vectors(type(self).__name__)

    def forward(self, features: Float[Tensor, "rows features"], labels: Numbers) -> Float[Tensor, ""]:
        unit, labels = self.checked(features, labels)
        itself = torch.eye(len(unit), dtype=torch.bool, device=unit.device)
        absent = itself | (labels == IGNORED)
        with torch.autocast(unit.device.type, enabled=False):
            similarity = (unit @ unit.T / self.temperature).masked_fill(absent, torch.finfo(unit.dtype).min)
        log_share = similarity - similarity.logsumexp(1, keepdim=True)
        positive = (labels[:, None] == labels) & ~absent
        per_anchor = -log_share.where(positive, 0.0).sum(1) / positive.sum(1).clamp(min=1)
        return weighted_mean(per_anchor, labels, self.weight)


class PrototypicalContrastiveLoss(FeatureLoss):
    """Pulls each image to the learned prototype of its class and pushes it away from all others.

    l_i = -log (exp(q_i p_{y_i} / temperature) / sum_{c != y_i} exp(q_i p_c / temperature)),  p_c = prototypes_c / |prototypes_c|
    L   = sum_i w[y_i] l_i / sum_i w[y_i]

    The prototype of the image's own class is not in the denominator, so the loss may be negative, down to
    log(C - 1) - 2 / temperature. The features must be unit vectors and are not normalised here. The prototypes are parameters,
    which an optimizer must update.

    Source: Wang et al., CVPR 2021 (Hybrid-PSC), as restated in CENG502-Projects/CENG502-Spring2022; no official code was found.
    The initialisation and the update of the prototypes are said to be left open there; here the prototypes are initialised from
    a normal distribution and updated by the optimizer.

    Args:
        class_counts: training images per class (C,); the loss uses only the number of classes C.
        feature_size: length d of a feature vector and of a prototype.
        temperature: divisor of the similarities; 1 on CIFAR-10, 0.1 on CIFAR-100.
        weight: weight per class (C,). None: all one.

    >>> loss = PrototypicalContrastiveLoss([100, 10, 1], feature_size=2, temperature=1.0)
    >>> loss.prototypes.data = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    >>> loss(torch.tensor([[0.6, 0.8], [0.0, 1.0]]), torch.tensor([0, 1])).item()
    0.05678...
    """

    def __init__(
        self, class_counts: Counts, *, feature_size: int, temperature: float = 0.1, weight: Counts | None = None
    ) -> None:
        super().__init__(class_counts, feature_size=feature_size, weight=weight)
        if len(self.class_counts) < 2:
            raise UserError("PrototypicalContrastiveLoss needs at least 2 classes; got 1.")
        self.temperature = self.above_zero("temperature", temperature)
        self.range = needs_unit_vectors(type(self).__name__)
        self.prototypes = nn.Parameter(torch.randn(len(self.class_counts), feature_size))

    def forward(self, features: Float[Tensor, "batch features"], labels: Numbers) -> Float[Tensor, ""]:
        unit, labels = self.checked(features, labels)
        with torch.autocast(unit.device.type, enabled=False):
            prototypes = F.normalize(self.prototypes.to(unit.dtype), dim=1, eps=1e-12)
            similarity = F.linear(unit, prototypes) / self.temperature
        own = one_hot(labels, len(prototypes))
        others = similarity.masked_fill(own, -math.inf).logsumexp(1)
        return weighted_mean(others - similarity.where(own, 0.0).sum(1), labels, self.weight)
