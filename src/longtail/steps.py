"""Training steps, which compute a scalar loss from a batch: the one place where a method changes the training step.

A step is called as `step(model, loss, batch, progress) -> scalar`. It draws random numbers from `batch.generator`, which
`apply_loss` passes to losses that draw; where several processes share a batch, numbers for single images come from
`batch.own_generator` and all others are the same in every process, since losses are given the outputs of all of them.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float
from torch import Tensor, nn

from longtail.data.loaders import Batch, Feed
from longtail.data.splits import Data
from longtail.heads.base import class_vectors
from longtail.losses.contract import needs_generator
from longtail.schedules import Schedule, parabolic
from longtail.weighting import Progress


def classify(model: nn.Module, loss: nn.Module, batch: Batch, progress: Progress) -> Float[Tensor, ""]:
    """The loss of the images with their own labels."""
    return apply_loss(loss, model(batch.images), batch.labels, batch.generator)


def mixup(model: nn.Module, loss: nn.Module, batch: Batch, progress: Progress, *, alpha: float = 1.0) -> Float[Tensor, ""]:
    """Mixes each image with another of the batch, and the losses of both labels in the same proportion.

    lam ~ Beta(alpha, alpha), one per batch;  x' = lam x + (1 - lam) x[perm];  L = lam L(z', y) + (1 - lam) L(z', y[perm])

    Zhang et al., ICLR 2018, Eq. 1. Losses that draw noise draw it anew for each of the two labels, as in the GCL code.
    """
    lam, other, images = mixed_images(batch, alpha)
    return mixed_losses(loss, model(images), batch, lam, other)


def mixup_experts(model: Any, loss: nn.Module, batch: Batch, progress: Progress, *, alpha: float = 0.4) -> Float[Tensor, ""]:
    """`mixup` for a loss on the logits of every expert, all of which are given the same mixed images.

    L = lam L(z', y) + (1 - lam) L(z', y[perm]),  z' (B, E, C) the experts' logits of x' = lam x + (1 - lam) x[perm]

    The step needs an `ExpertsHead`. Aimar et al., CVPR 2023 (BalPoE), where alpha is 0.4; at alpha 0 nothing is mixed.
    """
    lam, other, images = mixed_images(batch, alpha)
    return mixed_losses(loss, model.head.expert_logits(model.backbone(images)), batch, lam, other)


def mixed_images(batch: Batch, alpha: float) -> tuple[Tensor, Tensor, Tensor]:
    """The proportion lam ~ Beta(alpha, alpha), each image's partner as an index (B,), and the mixed images."""
    lam = beta_sample(alpha, batch)
    own = batch.own_generator or batch.generator
    other = torch.randperm(len(batch.labels), generator=own, device=batch.labels.device)
    return lam, other, lam * batch.images + (1 - lam) * batch.images[other]


def mixed_losses(loss: nn.Module, logits: Tensor, batch: Batch, lam: Tensor, other: Tensor) -> Float[Tensor, ""]:
    """The losses of the logits with the images' own and with their partners' labels, in the proportion lam : 1 - lam."""
    own = apply_loss(loss, logits, batch.labels, batch.generator)
    return lam * own + (1 - lam) * apply_loss(loss, logits, batch.labels[other], batch.generator)


def bilateral(
    model: Any, loss: nn.Module, batch: Batch, progress: Progress, *, curriculum: Schedule = parabolic
) -> Float[Tensor, ""]:
    """Mixes the features of two branches, each given images from its own sampler, and the losses of both labels.

    h = 2 [a f_c ; (1 - a) f_r];  z = W h + b;  L = a L(z, y_c) + (1 - a) L(z, y_r)

    a falls from 1 as `curriculum` says. The conventional branch is given the batch, the re-balancing branch its companion, in
    two forward passes.
    The step needs a `TwoBranchBackbone`. Zhou et al., CVPR 2020 (BBN); as in the authors' code, there is one bias and a factor 2.
    """
    assert batch.companion is not None
    share = curriculum(progress)
    conventional = model.backbone.branch(batch.images, "conventional")
    rebalancing = model.backbone.branch(batch.companion.images, "rebalancing")
    logits = model.head(mixed_features(conventional, rebalancing, share))
    own = apply_loss(loss, logits, batch.labels, batch.generator)
    return share * own + (1 - share) * apply_loss(loss, logits, batch.companion.labels, batch.generator)


def mixed_features(conventional: Tensor, rebalancing: Tensor, share: float) -> Float[Tensor, "batch features"]:
    """2 [a f_c ; (1 - a) f_r]; at a = 1/2 these are the features on which the trained network is used."""
    return 2 * torch.cat([share * conventional, (1 - share) * rebalancing], dim=1)


def contrast(
    model: Any, loss: nn.Module, batch: Batch, progress: Progress, *, curriculum: Schedule = parabolic
) -> Float[Tensor, ""]:
    """Moves from a loss on projected features of the batch's views to the classification loss of the companion batch.

    L = a L_feature(q, y) + (1 - a) L(z', y'),  a falls from 1 as `curriculum` says

    Wang et al., CVPR 2021 (Hybrid-SC, Hybrid-PSC): the batch is drawn instance-balanced, its companion class-balanced.
    """
    assert batch.companion is not None
    share = curriculum(progress)
    views = torch.cat([batch.images, *batch.views])
    labels = batch.labels.repeat(1 + len(batch.views))
    projected = model.projection(model.backbone(views))
    representation = apply_loss(loss.get_submodule("feature_loss"), projected, labels, batch.generator)
    classification = apply_loss(loss, model(batch.companion.images), batch.companion.labels, batch.generator)
    value: Tensor = share * representation + (1 - share) * classification
    return value


def meta_embed(
    model: Any,
    loss: nn.Module,
    batch: Batch,
    progress: Progress,
    *,
    feature_weight: float = 0.01,
    form: Literal["code", "paper"] = "code",
) -> Float[Tensor, ""]:
    """Adds to the classification loss of a head with a memory of class centroids the loss that learns the centroids.

    code:  L = L(z, y) + feature_weight L_feature(v, y)
    paper: L = L(z, y) + feature_weight L_feature(v_meta, y)

    The head's memory is set to the centroids of `CentroidLoss` before each step; the classification loss sends them no gradient.
    The step needs a `MetaHead`. Liu et al., CVPR 2019; the weight is 0.01 in the released code, 0.1 in the paper.
    """
    centroid_loss: Any = loss.get_submodule("feature_loss")
    model.head.memory.copy_(centroid_loss.centroids.detach())
    features = model.backbone(batch.images)
    value = apply_loss(loss, model.head(features), batch.labels, batch.generator)
    loss_features = features if form == "code" else model.head.meta_embedding(features)
    value += feature_weight * apply_loss(centroid_loss, loss_features, batch.labels, batch.generator)
    return value


def remember(
    model: Any, loss: nn.Module, batch: Batch, progress: Progress, *, momentum: Schedule, base: float = 0.1
) -> Float[Tensor, ""]:
    """`classify` with a `CausalHead` whose moving average slows down as the learning rate falls.

    mu = 1 - 0.1 min(50 lr, 1),  lr = base * momentum(progress);  Tang et al., NeurIPS 2020, run_networks.py (not on CIFAR)
    """
    model.head.momentum = 1 - 0.1 * min(50 * base * momentum(progress), 1)
    return classify(model, loss, batch, progress)


def beta_sample(alpha: float, batch: Batch) -> Float[Tensor, ""]:
    """One draw from Beta(alpha, alpha) on the batch's device; 1 where alpha is not positive (no mixing)."""
    if alpha <= 0:
        return torch.ones((), device=batch.labels.device)
    shape = torch.full((2,), alpha, dtype=torch.float64, device=batch.labels.device)
    gammas = torch._standard_gamma(shape, generator=batch.generator)
    return (gammas[0] / gammas.sum().clamp(min=1e-300)).float()


def apply_loss(loss: nn.Module, logits: Tensor, labels: Tensor, generator: torch.Generator | None) -> Tensor:
    """Calls the loss, and passes it the generator if it draws random numbers. A step of your own must call every loss by this.

    Args:
        logits: logits (B, C), those of every expert (B, E, C), or features (B, D) for a loss on features.
        labels: class indices (B,).
        generator: the generator of the batch.

    Raises:
        UserError: the loss draws random numbers but takes no generator.
    """
    random = {"generator": generator} if needs_generator(loss) else {}
    value: Tensor = loss(logits, labels, **random)
    return value


def class_means(model: Any, loss: nn.Module, data: Data, *, batch_size: int = 256) -> None:
    """Sets the centroids of `loss.feature_loss` to the mean training feature of each class, without augmentation.

    Source: Liu et al., CVPR 2019; OLTR's code computes them in the same way before its second stage.
    """
    centroids: Any = loss.get_submodule("feature_loss").get_parameter("centroids")
    with torch.no_grad():
        centroids.copy_(_mean_features(model, data, torch.zeros_like(centroids), batch_size))


def head_at_class_means(model: Any, loss: nn.Module, data: Data, *, wanted: bool = True, batch_size: int = 256) -> None:
    """Turns each class vector of the head towards the mean training feature of its class, if `wanted`; its length stays as it is.

    Means are taken of features of unit length, without augmentation. Source: the classifier of LIFT (Shi et al., ICML 2024)
    starts at the class means of pretrained features.
    """
    if not wanted:
        return
    weight = class_vectors(model.head)
    with torch.no_grad():
        means = _mean_features(model, data, torch.zeros_like(weight), batch_size, unit=True)
        weight.copy_(F.normalize(means, dim=1) * weight.norm(dim=1, keepdim=True))


def _mean_features(
    model: Any, data: Data, sums: Tensor, batch_size: int, *, unit: bool = False
) -> Float[Tensor, "classes features"]:
    """Mean feature of each class over its training images, added up in `sums`, zeros (C, D); of unit features if `unit`."""
    training = model.training
    model.eval()
    for batch in Feed(data.train, data, sums.device).batches(torch.arange(len(data.train)), batch_size):
        features = model.backbone(batch.images).to(sums.dtype)
        sums.index_add_(0, batch.labels, F.normalize(features, dim=1) if unit else features)
    model.train(training)
    return sums / torch.as_tensor(data.class_counts, device=sums.device, dtype=sums.dtype)[:, None]
