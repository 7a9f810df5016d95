"""Classifier heads: features (B, D) in, logits (B, C) out, in float32 under autocast.

A head is built as `Head(in_features, num_classes, *, ...)`, or around another one as `Head(head, *, ...)`. A head of your own
derives from `Head`, whose docstring says what training does with it.
"""

from longtail.heads.base import Head
from longtail.heads.disalign import AlignedHead
from longtail.heads.experts import ExpertsHead
from longtail.heads.linear import CosineHead, LinearHead, ScaledHead
from longtail.heads.oltr import MetaHead
from longtail.heads.tde import CausalHead

__all__ = ["AlignedHead", "CausalHead", "CosineHead", "ExpertsHead", "Head", "LinearHead", "MetaHead", "ScaledHead"]
