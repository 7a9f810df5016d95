"""Turns indices into batches on the device, from one uint8 tensor in memory or through workers that read files."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from longtail.data.images import not_there, read_cut, read_square
from longtail.data.opening import limit_pixels, pixel_limit
from longtail.data.splits import Data, Split
from longtail.data.transforms import Transform, normalise
from longtail.errors import CorruptImage, TooLarge, TrainingFailed, UnreadableFile
from longtail.processes import end_with_parent, processors


@dataclass(frozen=True)
class Batch:
    """Normalised float32 images (B, 3, S, S), labels (B,), and the run's random generator on their device.

    Args:
        views: the same images augmented anew, each (B, 3, S, S).
        companion: a second batch, drawn by another rule.
    """

    images: Tensor
    labels: Tensor
    generator: torch.Generator | None = None
    views: tuple[Tensor, ...] = ()
    companion: Batch | None = None


class Feed:
    """Batches of a split's images in any order of indices. Every index is read exactly once, in the given order.

    Reading from memory and reading from files give the same pixels; augmentation comes afterwards, batched, on the device.

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
        self.order = _Order()
        self.loader = None if split.pixels is not None else _loader(_Files(split, data), self.order, device, workers)

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
    ) -> Iterator[Batch]:
        """Batches of `batch_size` images (the last one may be smaller), each augmented and normalised on the device.

        Args:
            augment: augmentations, applied in this order.
            generator: source of the augmentations' random numbers; None for torch's global one.
            drop_last: whether a last batch that is not full is left out, unless it is the only one.
            training: whether a last batch of a single image is joined to the one before (`cut`).
            views: number of augmented copies of each image.
            companion: indices of the companion batches, as many as `indices`; a batch and its companion are read together.
        """
        if self.loader is None:  # one copy to the device, not one per batch
            indices, companion = indices.to(self.device), None if companion is None else companion.to(self.device)
        sizes = cut(len(indices), batch_size, drop_last=drop_last, training=training)
        chunks = list(torch.split(indices[: sum(sizes)], sizes))
        if companion is not None:
            chunks = [torch.cat(pair) for pair in zip(chunks, torch.split(companion[: sum(sizes)], sizes), strict=True)]
        for size, chunk, raw in zip(sizes, chunks, self._raw(chunks), strict=True):
            labels = self.labels[chunk.to(self.device)]
            first, *others = (self._augmented(raw, augment, generator) for _ in range(views))
            second = Batch(first[size:], labels[size:], generator) if companion is not None else None
            yield Batch(first[:size], labels[:size], generator, tuple(view[:size] for view in others), second)

    def _augmented(self, images: Tensor, augment: Sequence[Transform], generator: torch.Generator | None) -> Tensor:
        for transform in augment:
            images = transform(images, generator)
        return self.normalise(images)

    def _raw(self, chunks: list[Tensor]) -> Iterator[Tensor]:
        if self.loader is None:
            pixels = self.pixels
            assert pixels is not None
            return (pixels[chunk.to(self.device)] for chunk in chunks)
        self.order.chunks = chunks
        return (_without_error(batch).to(self.device, non_blocking=True) for batch in self.loader)


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


class _Order:
    """Indices of the batches of the next epoch; a loader with persistent workers iterates over them anew in each epoch."""

    chunks: Sequence[Tensor] = ()

    def __iter__(self) -> Iterator[list[int]]:
        return (chunk.tolist() for chunk in self.chunks)

    def __len__(self) -> int:
        return len(self.chunks)


Unread = CorruptImage | UnreadableFile


class _Files(Dataset[Tensor | Unread]):
    """Reads and decodes single images. The error on a file is returned; raised in a worker, it would lose its message."""

    def __init__(self, split: Split, data: Data) -> None:
        self.split, self.limit = split, pixel_limit()
        self.size, self.interpolation, self.resize = data.size, data.interpolation, data.resize

    def __getitem__(self, index: int) -> Tensor | Unread:
        assert self.split.root is not None
        path = self.split.root / self.split.files[index]
        limit_pixels(self.limit)  # a worker that was spawned does not know it
        try:
            if self.resize is not None:
                return read_cut(path, self.size, self.resize, self.interpolation)
            return read_square(path, self.size, self.interpolation)
        except (CorruptImage, UnreadableFile) as error:
            return error
        except FileNotFoundError:
            return not_there(path)


def _stacked(images: Sequence[Tensor | Unread]) -> Tensor | Unread:
    """The images stacked to a batch, or the error of the first one that cannot be read."""
    corrupt = [image for image in images if isinstance(image, Unread)]
    return corrupt[0] if corrupt else torch.stack([image for image in images if isinstance(image, Tensor)])


def _without_error(batch: Tensor | Unread) -> Tensor:
    if isinstance(batch, Unread):
        what = "Start" if isinstance(batch, TooLarge) else "Put a readable file there and start"
        raise type(batch)(f"{batch} {what} the command again; finished epochs are kept.")
    return batch


@contextmanager
def naming_dead_workers() -> Iterator[None]:
    """Turns torch's error on the death of a process that reads images, which it raises at any time, into one sentence.

    Raises:
        TrainingFailed: a process that reads images was killed.
    """
    try:
        yield
    except RuntimeError as error:
        found = re.search(r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\)(?: is killed by signal: (\w[\w ]*))?", str(error))
        if found is None:
            raise
        time.sleep(0.2)  # a signal to the whole group of processes reaches this one now at the latest, and ends it by itself
        who = f"Process{'es' * (',' in found[1])} {found[1]}"
        how = f"was killed ({found[2]})" if found[2] else "ended unexpectedly"
        raise TrainingFailed(
            f"{who}, which read images, {how}; often, the memory or the shared memory is used up. Finished epochs are kept, and "
            f"the same command continues."
        ) from error


def _loader(files: _Files, order: _Order, device: torch.device, workers: int) -> DataLoader[Tensor | Unread]:
    workers = min(workers, processors())
    return DataLoader(
        files,
        batch_sampler=order,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=device.type == "cuda",
        collate_fn=_stacked,
        worker_init_fn=_end_with_parent if workers else None,
        multiprocessing_context="fork" if workers and sys.platform == "linux" else None,  # in a spawned process, too
    )


def _end_with_parent(worker: int) -> None:
    end_with_parent()  # torch looks for the parent every five seconds, and not while it waits for a lock that died with it
