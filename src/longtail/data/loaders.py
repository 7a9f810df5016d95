"""Turns indices into batches on the device, from one uint8 tensor in memory or through workers that read files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from longtail.data.crops import Crops
from longtail.data.readers import Order, loader_of, without_error
from longtail.data.splits import Data, Split
from longtail.data.transforms import Transform, normalise


@dataclass(frozen=True)
class Batch:
    """Normalised float32 images (B, 3, S, S), labels (B,), and the run's random generator on their device.

    Args:
        generator: source of random numbers that hold for the batch of all processes, such as a proportion or a loss's noise.
        views: the same images augmented anew, each (B, 3, S, S).
        companion: a second batch, drawn by another rule.
        own_generator: source of random numbers for the images of this process alone; in one process it is `generator`.
        images_of_all: number of images of the batch of all processes.
    """

    images: Tensor
    labels: Tensor
    generator: torch.Generator | None = None
    views: tuple[Tensor, ...] = ()
    companion: Batch | None = None
    own_generator: torch.Generator | None = None
    images_of_all: int = 0


@dataclass(frozen=True)
class Chunk:
    """The images of one batch as they are stored, before augmentation; all else of the batch is made of them on the device.

    Args:
        indices: indices of the images (N,): those of the batch, then those of its companion where there is one.
        size: number of images of the batch itself.
        raw: pixels that were read from files, uint8 (N, 3, S, S), or crops (V, N, 3, S, S) in channels last, one for each view;
            None where all pixels of the split lie on the device.
        images_of_all: number of images of the batch of all processes, without its companion.
    """

    indices: Tensor
    size: int
    raw: Tensor | None = None
    images_of_all: int = 0


class Feed:
    """Batches of a split's images in any order of indices. Every index is read exactly once, in the given order.

    Reading from memory and reading from files give the same pixels; augmentation comes afterwards, batched, on the device. Random
    crops of whole files alone are taken by those who read them.

    Args:
        split: the images.
        data: the data set that the split belongs to, for its image size and the statistics to normalise with.
        device: where the batches are needed.
        workers: upper limit of the number of processes that read files.
    """

    def __init__(self, split: Split, data: Data, device: torch.device, *, workers: int = 8) -> None:
        self.normalise = partial(normalise, mean=data.mean, std=data.std)
        self.device = device
        self.labels = torch.from_numpy(split.labels).to(device)
        self.pixels = None if split.pixels is None else split.pixels.to(device)
        self.order = Order()
        self.loader = None if split.pixels is not None else loader_of(split, data, self.order, device, workers)

    def batches(
        self,
        indices: Tensor,
        batch_size: int,
        *,
        augment: Sequence[Transform] = (),
        generator: torch.Generator | None = None,
        drop_last: bool = False,
        training: bool = False,
        views: int = 1,
        companion: Tensor | None = None,
        crops: Crops | None = None,
        share: tuple[int, int] = (0, 1),
    ) -> Iterator[Batch]:
        """Batches of `batch_size` images (the last one may be smaller), each augmented and normalised on the device.

        Args:
            augment: augmentations, applied in this order.
            generator: source of the augmentations' random numbers; None for torch's global one.
            drop_last: whether a last batch that is not full is left out, unless it is the only one.
            training: whether a last batch of a single image is joined to the one before (`cut`).
            views: number of augmented copies of each image.
            companion: indices of the companion batches, as many as `indices`; a batch and its companion are read together.
            crops: the random crops that files are read with; None for whole images.
            share: (rank, world) for every `world`-th image of each batch, from the `rank`-th on; none of the others is read.
        """
        which: Any = {"drop_last": drop_last, "training": training, "companion": companion, "crops": crops, "share": share}
        chunks = self.chunks(indices, batch_size, **which)
        return (self.batch(chunk, augment=augment, generator=generator, views=views) for chunk in chunks)

    def chunks(
        self,
        indices: Tensor,
        batch_size: int,
        *,
        drop_last: bool = False,
        training: bool = False,
        companion: Tensor | None = None,
        crops: Crops | None = None,
        share: tuple[int, int] = (0, 1),
    ) -> Iterator[Chunk]:
        """What the batches of `batches` are made of; the arguments are the same. All indices are copied to the device at once."""
        cuts = cut(len(indices), batch_size, drop_last=drop_last, training=training)
        columns = [indices] if companion is None else [indices, companion]
        sizes = [len(range(share[0], size, share[1])) for size in cuts]
        counts = [len(columns) * size for size in sizes]
        order = _by_batch(columns, cuts, share)
        seeds = None if crops is None else torch.split(_by_batch(crops.seeds[: len(columns)].unbind(), cuts, share), counts)
        raw = self._raw(torch.split(order, counts), crops, seeds) if self.loader is not None else [None] * len(counts)
        for size, chunk, pixels, whole in zip(sizes, torch.split(order.to(self.device), counts), raw, cuts, strict=True):
            yield Chunk(chunk, size, pixels, whole)

    def batch(
        self, chunk: Chunk, *, augment: Sequence[Transform] = (), generator: torch.Generator | None = None, views: int = 1
    ) -> Batch:
        """The batch of a chunk, augmented and normalised; all of it is computed on the device, without waiting for it."""
        size = chunk.size
        raw = self._pixels_of(chunk) if chunk.raw is None else chunk.raw
        labels = self.labels[chunk.indices]
        first, *others = (self._augmented(view, augment, generator) for view in raw.expand(views, *raw.shape[-4:]))
        second = Batch(first[size:], labels[size:], generator) if len(labels) > size else None
        return Batch(first[:size], labels[:size], generator, tuple(view[:size] for view in others), second)

    def _augmented(self, images: Tensor, augment: Sequence[Transform], generator: torch.Generator | None) -> Tensor:
        for transform in augment:
            images = transform(images, generator)
        return self.normalise(images)

    def _pixels_of(self, chunk: Chunk) -> Tensor:
        assert self.pixels is not None
        return self.pixels[chunk.indices]

    def _raw(self, chunks: Sequence[Tensor], crops: Crops | None, seeds: Sequence[Tensor] | None) -> Iterator[Tensor]:
        assert self.loader is not None
        self.order.chunks, self.order.crops, self.order.seeds = chunks, crops, seeds
        return (without_error(batch).to(self.device, non_blocking=True) for batch in self.loader)


def _by_batch(columns: Sequence[Tensor], sizes: Sequence[int], share: tuple[int, int]) -> Tensor:
    """A share of the columns (M,) cut into batches: the first batch of each column, then the second of each, and so on."""
    rank, world = share
    parts = [torch.split(column[: sum(sizes)], list(sizes)) for column in columns]
    return torch.cat([part[rank::world] for batch in zip(*parts, strict=True) for part in batch])


def cut(images: int, batch_size: int, *, drop_last: bool = False, training: bool = False) -> list[int]:
    """Sizes of the batches that so many images are cut into.

    The last batch may be smaller, or is left out with `drop_last`, unless it is the only one; of no images it is empty. In
    training a last batch of a single image is joined to the one before: a batch norm learns nothing of one image, and fails where
    the map is 1 x 1.

    >>> cut(9, 4), cut(9, 4, training=True), cut(9, 4, drop_last=True)
    ([4, 4, 1], [4, 5], [4, 4])
    """
    whole, rest = divmod(images, batch_size)
    sizes = [batch_size] * whole + [rest] * (rest > 0 or not whole)
    if not rest or not whole:
        return sizes
    if drop_last:
        return sizes[:-1]
    return [*sizes[:-2], batch_size + 1] if training and rest == 1 and batch_size > 1 else sizes
