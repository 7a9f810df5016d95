"""Softmax saturation: how fast the gradient of an image vanishes as its logit difference grows, with and without clouds."""

from __future__ import annotations

import copy
from statistics import NormalDist
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from longtail.reporting.losses import NOISE_STD, Clouded

Array = NDArray[Any]
MIDDLE = 0.5  # cosine around which the two logits lie
QUANTILES = 32  # of the noise on each of the two logits


def plain_gradient(differences: Array) -> Array:
    """Gradient p - 1 of the cross-entropy by the true class's logit, of two classes, (K,) for logit differences (K,).

    dL / dz_1 = -1 / (1 + exp(z_1 - z_2))

    Source: Li, Cheung, Lu, CVPR 2022, Eq. 3.
    """
    return -0.5 * (1 - np.tanh(np.asarray(differences, dtype=np.float64) / 2))


def clouded_gradient(loss: Clouded, differences: Array, *, label: int, rival: int) -> Array:
    """Mean over the noise of the gradient p - 1 by the clouded logit of the true class, of two classes, (K,).

    The two logits without noise are `differences` apart, around a cosine of 0.5, which matters to the angular form alone; the
    loss then adjusts them as in training. The mean is taken over quantiles of the noise, so that it does not depend on a seed.

    Args:
        loss: the loss of a stage with clouds.
        differences: logit of the true class minus that of the other one, before the noise (K,), from -scale to scale.
        label: the true class.
        rival: the other class.

    Source: Li, Cheung, Lu, CVPR 2022, Eq. 2 and 9, in the form of `losses/gcl.py`.
    """
    pair = copy.deepcopy(loss)
    pair.cloud_size = loss.cloud_size[[label, rival]]
    half = torch.from_numpy(np.asarray(differences, dtype=np.float64)) / (2 * loss.scale)
    noise = torch.cartesian_prod(*[_quantiles()] * 2)
    cosines = torch.stack([MIDDLE + half, MIDDLE - half], 1).repeat_interleave(len(noise), 0)
    true = torch.zeros(len(cosines), dtype=torch.long)
    adjusted = pair.adjusted(cosines, true, noise.repeat(len(half), 1))
    gradients = adjusted.softmax(1)[:, 0] - 1
    return gradients.reshape(len(half), -1).mean(1).numpy()


def _quantiles() -> torch.Tensor:
    """Equally probable values of the noise, the middles of equal parts of its distribution."""
    noise = NormalDist(0, NOISE_STD)
    return torch.tensor([noise.inv_cdf((part + 0.5) / QUANTILES) for part in range(QUANTILES)], dtype=torch.float64)


def median_difference(logits: Array, labels: Array, label: int) -> float:
    """Median over a class's images of their true logit minus the largest other one; nan for a class without images.

    Args:
        logits: logits of all images (M, C).
        labels: their classes (M,).
        label: the class.
    """
    own = logits[labels == label]
    if not len(own):
        return float("nan")
    others = np.delete(own, label, axis=1).max(1)
    return float(np.median(own[:, label] - others))
