"""A small classifier, random batches for it, and the comparison of its weights."""

import torch

from longtail.heads import LinearHead
from longtail.networks.backbones import CifarResNet
from longtail.networks.classifier import Classifier


def small_classifier():
    torch.manual_seed(0)
    backbone = CifarResNet(depth=8, width=4)
    return Classifier(backbone, LinearHead(backbone.num_features, 5)).to(memory_format=torch.channels_last)


def batches(steps, batch):
    generator = torch.Generator().manual_seed(1)
    images = torch.randn((steps, batch, 3, 8, 8), generator=generator)
    return images, torch.randint(5, (steps, batch), generator=generator)


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
