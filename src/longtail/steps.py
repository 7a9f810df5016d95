"""From a batch to a scalar: the one place where a method touches the training step.

`step(model, loss, batch, progress) -> scalar`. Random numbers come from `batch.generator`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from longtail.data.loaders import Batch
from longtail.weighting import Progress


def classify(model: nn.Module, loss: nn.Module, batch: Batch, progress: Progress) -> Float[Tensor, ""]:
    """The loss of the images under their own labels."""
    return apply_loss(loss, model(batch.images), batch.labels, batch.generator)


def mixup(model: nn.Module, loss: nn.Module, batch: Batch, progress: Progress, *, alpha: float = 1.0) -> Float[Tensor, ""]:
    """Mixes each image with another of the batch and asks for both labels in the same proportion.

    lam ~ Beta(alpha, alpha), one per batch;  x' = lam x + (1 - lam) x[perm];  L = lam L(z', y) + (1 - lam) L(z', y[perm])

    Zhang et al., ICLR 2018, Eq. 1. Losses that draw noise draw it anew for each of the two labels, as in the GCL code.
    """
    lam = beta_sample(alpha, batch)
    other = torch.randperm(len(batch.labels), generator=batch.generator, device=batch.labels.device)
    logits = model(lam * batch.images + (1 - lam) * batch.images[other])
    own = apply_loss(loss, logits, batch.labels, batch.generator)
    return lam * own + (1 - lam) * apply_loss(loss, logits, batch.labels[other], batch.generator)


def beta_sample(alpha: float, batch: Batch) -> Float[Tensor, ""]:
    """One draw from Beta(alpha, alpha) on the batch's device; 1 where alpha is not positive (no mixing)."""
    if alpha <= 0:
        return torch.ones((), device=batch.labels.device)
    shape = torch.full((2,), alpha, dtype=torch.float64, device=batch.labels.device)
    gammas = torch._standard_gamma(shape, generator=batch.generator)
    return (gammas[0] / gammas.sum().clamp(min=1e-300)).float()


def apply_loss(loss: nn.Module, logits: Tensor, labels: Tensor, generator: torch.Generator | None) -> Tensor:
    """Calls the loss, with the run's generator where it draws."""
    random = {"generator": generator} if _draws(type(loss).forward) else {}
    value: Tensor = loss(logits, labels, **random)
    return value


@lru_cache
def _draws(forward: Callable[..., Any]) -> bool:
    return "generator" in inspect.signature(forward).parameters
