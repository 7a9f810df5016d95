"""The disc-centroids loss of open long-tailed recognition (OLTR).

Liu, Miao, Zhan, Wang, Gong, Yu: "Large-Scale Long-Tailed Recognition in an Open World", CVPR 2019 (arXiv 1904.05160).
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from longtail.arguments import Numbers
from longtail.losses.base import FeatureLoss, known
from longtail.losses.means import known_index, one_hot, weighted_mean
from longtail.weighting import Counts


class CentroidLoss(FeatureLoss):
    """Pulls the features of a class towards its centroid, and pushes the centroids away from the features of other classes.

    attract = mean_i |v_i - m_{y_i}|^2 / 2
    apart   = max(0, margin - mean_i sum_{j != y_i} |v_i - m_j|^2 / C)
    code:  L = attract + repel * apart,  mean_i x_i = sum_i w[y_i] x_i / sum_i w[y_i]
    paper: L = mean_i max(0, |v_i - m_{y_i}| - sum_{j != y_i} |v_i - m_j| + margin), on the meta embedding

    The gradient of `attract` with respect to the centroid m_c is divided by 1 + (images of class c in the batch), as in the code;
    all other gradients are the derivatives of the value. The centroids are parameters, which an optimizer must update. They are
    initialised from a normal distribution and are meant to be set to the class means before the stage. The loss is called as
    `loss(features, labels)`; the authors add 0.01 L to the cross-entropy, which is done by the training step.

    Source: Liu et al., CVPR 2019; code followed: zhmiao/OpenLongTailRecognition-OLTR, loss/DiscCentroidsLoss.py, which computes
    the loss on the feature before the meta embedding, whereas the paper uses the embedding. A user's log in that repository
    (issue 49) shows squared distances above 100, for which the hinge is 0.

    Args:
        class_counts: training images per class (C,); the loss uses only the number of classes C.
        feature_size: length d of a feature vector and of a centroid.
        margin: distance beyond which centroids are not pushed away; 10 in the code (a mean of squared distances), 5 in the paper.
        repel: factor of the hinge relative to the attraction in the code's form; 0.01.
        form: formula that is used, "code" or "paper".
        weight: weight per class (C,). None: all one.

    >>> loss = CentroidLoss([100, 10], feature_size=2)
    >>> loss.centroids.data = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    >>> loss(torch.tensor([[2.0, 1.0], [0.0, 1.0], [1.0, 1.0]]), torch.tensor([0, 1, 0])).item()
    0.75166...
    """

    def __init__(
        self,
        class_counts: Counts,
        *,
        feature_size: int,
        margin: float = 10.0,
        repel: float = 0.01,
        form: Literal["code", "paper"] = "code",
        weight: Counts | None = None,
    ) -> None:
        super().__init__(class_counts, feature_size=feature_size, weight=weight)
        self.margin, self.repel = self.at_least(0, "margin", margin), self.at_least(0, "repel", repel)
        self.form = known("form", form, ("code", "paper"))
        self.centroids = nn.Parameter(torch.randn(len(self.class_counts), feature_size))

    def forward(self, features: Float[Tensor, "batch features"], labels: Numbers) -> Float[Tensor, ""]:
        features, labels = self.checked(features, labels)
        centroids = self.centroids.to(features.dtype)
        if self.form == "paper":
            difference = own_minus_other_distances(features, centroids, labels)
            return weighted_mean((difference + self.margin).clamp(min=0), labels, self.weight)
        own = known_index(labels)
        attracting = with_divided_gradient(centroids[own], one_hot(labels, len(centroids)).sum(0)[own])
        attract = weighted_mean(squared_length(features - attracting) / 2, labels, self.weight)
        apart = weighted_mean(distance_to_others(features, centroids, labels), labels, self.weight)
        return attract + self.repel * (self.margin - apart).clamp(min=0)


def with_divided_gradient(
    own: Float[Tensor, "batch features"], same_class: Int[Tensor, " batch"]
) -> Float[Tensor, "batch features"]:
    """The centroid of each image's own class; its gradient is divided by 1 + the images of the class in the batch."""
    constant = own.detach()
    return constant + (own - constant) / (1 + same_class)[:, None]


def distance_to_others(
    features: Float[Tensor, "batch features"], centroids: Float[Tensor, "classes features"], labels: Int[Tensor, " batch"]
) -> Float[Tensor, " batch"]:
    """Squared distance to the centroids, averaged over all C classes; the image's own class counts as 0.

    sum_j |v - m_j|^2 = C |v - mean|^2 + sum_j |m_j - mean|^2 (parallel axis theorem), so the B x C distances are not needed.
    """
    mean = centroids.mean(0)
    to_all = squared_length(features - mean) + squared_length(centroids - mean).mean()
    return to_all - squared_length(features - centroids[known_index(labels)]) / len(centroids)


def own_minus_other_distances(
    features: Float[Tensor, "batch features"], centroids: Float[Tensor, "classes features"], labels: Int[Tensor, " batch"]
) -> Float[Tensor, " batch"]:
    """Distance to the centroid of the image's own class minus the sum of the distances to all other centroids."""
    with torch.autocast(features.device.type, enabled=False):
        distances = torch.cdist(features, centroids, compute_mode="donot_use_mm_for_euclid_dist")
    own = distances.gather(1, known_index(labels)[:, None])[:, 0]
    return 2 * own - distances.sum(1)


def squared_length(vectors: Float[Tensor, "rows features"]) -> Float[Tensor, " rows"]:
    return (vectors**2).sum(1)
