"""Losses for long-tailed data: each is built as `Loss(class_counts, *, ..., weight=None)` and called `loss(logits, labels)`.

Losses on representations are built with a `feature_size` as well and called `loss(features, labels)`. A loss of your own derives
from `Loss` or `FeatureLoss`, whose texts say what training does with it.
"""

from longtail.losses.base import FeatureLoss, Loss
from longtail.losses.centroid import CentroidLoss
from longtail.losses.contrastive import PrototypicalContrastiveLoss, SupervisedContrastiveLoss
from longtail.losses.cross_entropy import ClassBalancedLoss, CrossEntropyLoss, FocalLoss
from longtail.losses.gala import GALALoss
from longtail.losses.gcl import GCLAngularLoss, GCLLoss
from longtail.losses.ldam import LDAMLoss
from longtail.losses.logit_adjustment import BalancedSoftmaxLoss, LogitAdjustedLoss
from longtail.losses.smoothing import LabelAwareSmoothingLoss

__all__ = [
    "BalancedSoftmaxLoss",
    "CentroidLoss",
    "ClassBalancedLoss",
    "CrossEntropyLoss",
    "FeatureLoss",
    "FocalLoss",
    "GALALoss",
    "GCLAngularLoss",
    "GCLLoss",
    "LDAMLoss",
    "LabelAwareSmoothingLoss",
    "LogitAdjustedLoss",
    "Loss",
    "PrototypicalContrastiveLoss",
    "SupervisedContrastiveLoss",
]
