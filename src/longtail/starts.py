"""What some stages do once before they begin: `start(model, loss, data)`."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from longtail.data.loaders import Feed
from longtail.data.splits import Data


def class_means(model: Any, loss: nn.Module, data: Data, *, batch_size: int = 256) -> None:
    """Sets the centroids of `loss.feature_loss` to the mean training feature of each class, without augmentation.

    Source: Liu et al., CVPR 2019; OLTR's code does the same pass before its second stage.
    """
    centroids: Any = loss.get_submodule("feature_loss").get_parameter("centroids")
    sums = torch.zeros_like(centroids)
    training = model.training
    model.eval()
    with torch.no_grad():
        every = torch.arange(len(data.train))
        for batch in Feed(data.train, data, centroids.device).batches(every, batch_size):
            sums.index_add_(0, batch.labels, model.backbone(batch.images).to(sums.dtype))
        centroids.copy_(sums / torch.as_tensor(data.class_counts, device=sums.device, dtype=sums.dtype)[:, None])
    model.train(training)
