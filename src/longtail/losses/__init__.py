"""Losses for long-tailed data: each is built as `Loss(class_counts, *, ..., weight=None)` and called as `loss(logits, labels)`.

Losses on features are also given a `feature_size` and are called as `loss(features, labels)`; `ExpertsLoss` is called with logits
of shape (B, experts, C). A loss of your own derives from `Loss` or `FeatureLoss`, whose docstrings say what training does with
it.
"""

from longtail.losses.base import FeatureLoss, Loss
from longtail.losses.centroid import CentroidLoss
from longtail.losses.contrastive import PrototypicalContrastiveLoss, SupervisedContrastiveLoss
from longtail.losses.cross_entropy import ClassBalancedLoss, CrossEntropyLoss, FocalLoss
from longtail.losses.experts import ExpertsLoss
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
    "ExpertsLoss",
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
