"""Loaders of timm with a sampler of longtail; a loss needs no adapter: `timm.task.ClassificationTask(model, criterion=loss)`."""

from __future__ import annotations

from typing import Any

from timm.data.loader import PrefetchLoader
from torch.utils.data import BatchSampler, Sampler

from longtail.errors import UserError


def use_sampler(loader: Any, sampler: Sampler[int]) -> Any:
    """Has a training loader of `timm.data.create_loader`, which takes no sampler, draw its images by one.

    Batches, workers and transforms stay as they are. With `distributed=True` or without, the sampler alone divides the images
    among the processes; timm's training script sets its epoch through `loader.sampler`.

    Args:
        loader: what `create_loader(..., is_training=True)` returned, not yet iterated over.
        sampler: sampler of the indices of the loader's data set.

    Returns:
        The same loader.

    Raises:
        UserError: the loader cuts its batches in a way of its own.
    """
    inner = loader.loader if isinstance(loader, PrefetchLoader) else loader
    if type(inner.batch_sampler) is not BatchSampler:
        raise UserError(
            f"use_sampler needs a loader with plain batches; this one has {type(inner.batch_sampler).__name__}. Call "
            f"create_loader without `use_multi_epochs_loader` and `input_size_choices`; `persistent_workers=True` keeps workers."
        )
    inner.batch_sampler.sampler = sampler
    object.__setattr__(inner, "sampler", sampler)  # a DataLoader refuses a new attribute, since only the line above has an effect
    return loader
