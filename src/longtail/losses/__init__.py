"""Losses for long-tailed data: each is built as `Loss(class_counts, *, ..., weight=None)` and called `loss(logits, labels)`."""

from longtail.losses.gcl import GCLAngularLoss, GCLLoss
from longtail.losses.plain import ClassBalancedLoss, CrossEntropyLoss, FocalLoss

__all__ = ["ClassBalancedLoss", "CrossEntropyLoss", "FocalLoss", "GCLAngularLoss", "GCLLoss"]
