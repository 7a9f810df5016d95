"""Parts of a classifier: backbones, wrappers of backbones, and the classifier that joins a backbone and a head."""

from longtail.networks.backbones import CifarResNet
from longtail.networks.classifier import Classifier, Projection
from longtail.networks.experts import ExpertsBackbone
from longtail.networks.timm_backbone import TimmBackbone
from longtail.networks.trunk import FrozenTrunk
from longtail.networks.wrappers import AttentiveBackbone, ModulatedAttention, TwoBranchBackbone

__all__ = [
    "AttentiveBackbone",
    "CifarResNet",
    "Classifier",
    "ExpertsBackbone",
    "FrozenTrunk",
    "ModulatedAttention",
    "Projection",
    "TimmBackbone",
    "TwoBranchBackbone",
]
