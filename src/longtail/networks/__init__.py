"""Parts of a classifier: backbones, wrappers of backbones, and the classifier that joins a backbone and a head."""

from longtail.networks.backbones import CifarResNet
from longtail.networks.classifier import Classifier, Projection
from longtail.networks.experts import ExpertsBackbone
from longtail.networks.timm_backbone import TimmBackbone
from longtail.networks.wrappers import AttentiveBackbone, ModulatedAttention, TwoBranchBackbone

__all__ = [
    "AttentiveBackbone",
    "CifarResNet",
    "Classifier",
    "ExpertsBackbone",
    "ModulatedAttention",
    "Projection",
    "TimmBackbone",
    "TwoBranchBackbone",
]
