"""Gaussian clouded logit adjustment (GCL) and its angular form.

Li, Cheung, Lu: "Long-tailed Visual Recognition via Gaussian Clouded Logit Adjustment", CVPR 2022 (arXiv 2305.11733);
Li et al.: "Adjusting Logit in Gaussian Form for Long-Tailed Visual Recognition", IEEE TAI 2024 (arXiv 2305.10648).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ClassVar

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float, Int
from torch import Tensor

from longtail.arguments import Numbers, as_rows
from longtail.heads import CosineHead, Head
from longtail.losses import clouds
from longtail.losses.base import Loss
from longtail.losses.means import one_hot, one_minus_p, weighted_mean
from longtail.weighting import Counts, Weights

Cloud = Callable[[Counts], Weights]


class CloudedLoss(Loss):
    """Base class of both GCL losses: draws Gaussian noise, wider for rarer classes, and takes the focal mean.

    The noise is drawn at each call in training mode; in evaluation mode it is 0, so that a loss on validation images is
    repeatable and leaves the random numbers of training as they are. A derived class implements `adjusted`, which applies the
    noise to the cosines.
    """

    requires_head: ClassVar[type[Head] | None] = CosineHead
    draws_random_numbers: ClassVar[bool] = True
    balances: ClassVar[bool] = True
    takes_cosines: ClassVar[bool] = True
    cloud_size: Tensor

    def __init__(self, class_counts: Counts, *, scale: float, gamma: float, cloud: Cloud, weight: Counts | None) -> None:
        super().__init__(class_counts, weight=weight)
        self.register_buffer("cloud_size", cloud(class_counts))
        self.scale, self.gamma = self.above_zero("scale", scale), self.at_least(0, "gamma", gamma)

    def forward(
        self,
        logits: Float[Tensor, "batch classes"],
        labels: Numbers,
        *,
        noise: Float[Tensor, "batch classes"] | None = None,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, ""]:
        """Mean loss of a batch.

        Args:
            logits: cosines in [-1, 1], (B, C), from a `CosineHead`.
            labels: class indices (B,).
            noise: eps (B, C), Gaussian with mean 0 and standard deviation 1/3, before clamp and absolute value. None: drawn here
                in training mode, else 0.
            generator: random generator that the noise is drawn from, on the logits' device; None for torch's global one.
        """
        cosines, labels = self.checked(logits, labels)
        adjusted = self.adjusted(cosines, labels, self._noise(cosines, noise, generator))
        return focal_mean(adjusted, labels, self.gamma, self.weight)

    def _noise(self, cosines: Tensor, given: Tensor | None, generator: torch.Generator | None) -> Tensor:
        if given is not None:
            return as_rows(type(self).__name__, given, columns=cosines.shape[1], rows=len(cosines), name="noise")
        return drawn_noise(cosines, generator) if self.training else torch.zeros_like(cosines)

    def adjusted(self, cosines: Tensor, labels: Tensor, noise: Tensor) -> Tensor:
        """The clouded, scaled logits (B, C) that enter the cross-entropy."""
        raise NotImplementedError

    def cloud(self, noise: Tensor) -> Tensor:
        """Size of the noise on each logit, |clamp(eps, -1, 1)| d, (B, C)."""
        return noise.clamp(-1, 1).abs() * self.cloud_size.to(noise.dtype)


class GCLLoss(CloudedLoss):
    """Lowers the rare classes' logits by a random amount in training, so that their features must spread out.

    z_ij = scale (cos_ij - noise_mul |clamp(eps_ij, -1, 1)| d_j - margin [j = y_i]),  eps ~ N(0, (1/3)^2)
    L    = mean_i (1 - p_i)^gamma l_i,  l_i = CE(z_i, y_i),  p_i = exp(-l_i) held constant for the gradient

    d_j is the cloud size, 0 for the largest class and 1 for the rarest. With mixup the loss is called once per label and draws
    new noise each time. At test time the plain cosines are used.

    Source: Li, Cheung, Lu, CVPR 2022, Eq. 9 and Algorithm 1; code followed: Keke921/GCLLoss@c2a6233. The paper has one eps per
    image, no margin, no noise_mul and no focal weight; the code, which produced the published table, draws eps per logit and has
    all three. Here the class weight multiplies the focal loss, so that p stays a probability; the code puts the weight inside
    exp(-l).

    Args:
        class_counts: training images per class (C,).
        scale: s, factor on the cosines; 30 in the first stage, 20 in the second (CIFAR), 15 (Places-LT).
        margin: m, subtracted from the true class's cosine; 0 in the first stage, 0.1 in the second.
        noise_mul: amplitude of the noise; 0.5 on CIFAR, 1 on Places-LT.
        gamma: focusing parameter of the focal factor (1 - p)^gamma; 0 in the first stage, 1 in the second.
        cloud: rule for the cloud sizes d, from `longtail.losses.clouds`.
        weight: weight per class (C,). None: all one.

    >>> loss = GCLLoss([100, 10, 1])
    >>> cosines, noise = torch.tensor([[0.5, 0.2, -0.1]]), torch.tensor([[0.2, -0.4, 0.6]])
    >>> [round(value, 2) for value in loss.adjusted(cosines, torch.tensor([0]), noise)[0].tolist()]
    [15.0, 3.0, -12.0]
    """

    def __init__(
        self,
        class_counts: Counts,
        *,
        scale: float = 30.0,
        margin: float = 0.0,
        noise_mul: float = 0.5,
        gamma: float = 0.0,
        cloud: Cloud = clouds.log,
        weight: Counts | None = None,
    ) -> None:
        super().__init__(class_counts, scale=scale, gamma=gamma, cloud=cloud, weight=weight)
        self.margin, self.noise_mul = margin, noise_mul

    def adjusted(
        self,
        cosines: Float[Tensor, "batch classes"],
        labels: Int[Tensor, " batch"],
        noise: Float[Tensor, "batch classes"],
    ) -> Float[Tensor, "batch classes"]:
        """The clouded, scaled logits (B, C) that enter the cross-entropy."""
        return self.scale * (cosines - self.noise_mul * self.cloud(noise) - margin_at(cosines, labels, self.margin))


class GCLAngularLoss(CloudedLoss):
    """Enlarges the rare classes' angles by a random amount in training: GCL on the angle instead of on the cosine.

    a_ij  = (pi / 2) epsilon d_j |clamp(eps_ij, -1, 1)| + margin [j = y_i],  eps ~ N(0, (1/3)^2)
    phi   = cos(theta_ij + a_ij)
    easy_margin: out = phi where cos > 0, else cos;   otherwise: out = phi where theta + a < pi, else cos - sin(a)
    L     = mean_i (1 - p_i)^gamma CE(scale out_i, y_i)

    Source: Li et al., IEEE TAI 2024 (arXiv 2305.10648); code followed: Keke921/GCLLoss@c2a6233, class NoiAngLoss. The defaults
    are those of its Places-LT scripts, not of the class. sqrt(1 - cos^2) is bounded away from 0, where its gradient would be
    infinite.

    Args:
        class_counts: training images per class (C,).
        scale: s, factor on the cosines; 30.
        margin: m in radians, added to the true class's angle; 0 in the scripts.
        epsilon: largest random angle, as a share of a right angle; 0.5 in the scripts.
        easy_margin: whether the first of the two rules for `out` is used; True in the scripts.
        gamma: focusing parameter of the focal factor (1 - p)^gamma; 1 in the second stage.
        cloud: rule for the cloud sizes d, from `longtail.losses.clouds`.
        weight: weight per class (C,). None: all one.

    >>> loss = GCLAngularLoss([100, 10, 1])
    >>> cosines, noise = torch.tensor([[0.3, 0.28, -0.25]]), torch.tensor([[0.2, -0.4, 0.6]])
    >>> [round(value, 4) for value in loss.adjusted(cosines, torch.tensor([0]), noise)[0].tolist()]
    [9.0, 3.7913, -7.5]
    """

    def __init__(
        self,
        class_counts: Counts,
        *,
        scale: float = 30.0,
        margin: float = 0.0,
        epsilon: float = 0.5,
        easy_margin: bool = True,
        gamma: float = 0.0,
        cloud: Cloud = clouds.log,
        weight: Counts | None = None,
    ) -> None:
        super().__init__(class_counts, scale=scale, gamma=gamma, cloud=cloud, weight=weight)
        self.margin, self.epsilon, self.easy_margin = margin, epsilon, easy_margin

    def adjusted(
        self,
        cosines: Float[Tensor, "batch classes"],
        labels: Int[Tensor, " batch"],
        noise: Float[Tensor, "batch classes"],
    ) -> Float[Tensor, "batch classes"]:
        """The scaled cosines (B, C) of the enlarged angles, which enter the cross-entropy."""
        angle = (math.pi / 2) * self.epsilon * self.cloud(noise) + margin_at(cosines, labels, self.margin)
        sines = (1 - cosines**2).clamp(min=1e-12).sqrt()
        turned = cosines * angle.cos() - sines * angle.sin()
        if self.easy_margin:
            return self.scale * turned.where(cosines > 0, cosines)
        return self.scale * turned.where(cosines > (math.pi - angle).cos(), cosines - angle.sin())


def drawn_noise(cosines: Float[Tensor, "batch classes"], generator: torch.Generator | None) -> Tensor:
    """One Gaussian sample per image and class, standard deviation 1/3."""
    return torch.randn(cosines.shape, dtype=cosines.dtype, device=cosines.device, generator=generator) / 3


def margin_at(cosines: Tensor, labels: Tensor, margin: float) -> Tensor:
    """`margin` in the true class's column, 0 elsewhere, (B, C)."""
    return margin * one_hot(labels, cosines.shape[1]).to(cosines.dtype)


def focal_mean(logits: Tensor, labels: Tensor, gamma: float, weight: Tensor) -> Float[Tensor, ""]:
    """Weighted mean of (1 - p)^gamma CE with p held constant for the gradient; plain cross-entropy at gamma 0."""
    cross_entropy = F.cross_entropy(logits, labels, reduction="none")
    if gamma:
        cross_entropy = one_minus_p(cross_entropy.detach()) ** gamma * cross_entropy
    return weighted_mean(cross_entropy, labels, weight)
