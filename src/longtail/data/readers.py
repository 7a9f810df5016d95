"""Processes that read the image files of batches ahead, and what they say of files that cannot be read."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from longtail.data.crops import Crop, Crops, read_crops
from longtail.data.images import not_there, read_cut, read_square
from longtail.data.opening import limit_pixels, pixel_limit
from longtail.data.splits import Data, Split
from longtail.errors import CorruptImage, TooLarge, TrainingFailed, UnreadableFile
from longtail.processes import end_with_parent, processors

Unread = CorruptImage | UnreadableFile


class Order:
    """What the batches of the next epoch are read from; a loader with persistent workers iterates over it anew in each epoch.

    Attributes:
        chunks: indices of the images of each batch.
        crops: the crops that they are read with; None for whole images.
        seeds: the crops' numbers for each batch.
    """

    chunks: Sequence[Tensor] = ()
    crops: Crops | None = None
    seeds: Sequence[Tensor] | None = None

    def __iter__(self) -> Iterator[list[Any]]:
        if self.crops is None or self.seeds is None:
            return (chunk.tolist() for chunk in self.chunks)
        return map(self.crops.items, self.chunks, self.seeds)

    def __len__(self) -> int:
        return len(self.chunks)


class _Files(Dataset[Tensor | Unread]):
    """Reads and decodes single images. The error on a file is returned; raised in a worker, it would lose its message."""

    def __init__(self, split: Split, data: Data) -> None:
        self.split, self.limit = split, pixel_limit()
        self.size, self.interpolation, self.resize = data.size, data.interpolation, data.resize

    def __getitem__(self, item: int | tuple[int, Crop]) -> Tensor | Unread:
        index, crop = item if isinstance(item, tuple) else (item, None)
        assert self.split.root is not None
        path = self.split.root / self.split.files[index]
        limit_pixels(self.limit)  # a worker that was spawned does not know it
        try:
            return self._read(path, crop)
        except (CorruptImage, UnreadableFile) as error:
            return error
        except FileNotFoundError:
            return not_there(path)

    def _read(self, path: Path, crop: Crop | None) -> Tensor:
        if crop is not None:
            return read_crops(path, self.size, crop, self.interpolation)
        if self.resize is not None:
            return read_cut(path, self.size, self.resize, self.interpolation)
        return read_square(path, self.size, self.interpolation)


def _stacked(images: Sequence[Tensor | Unread]) -> Tensor | Unread:
    """The images stacked to a batch (N, 3, S, S), or crops to one (V, N, 3, S, S); or the error of the first unreadable one."""
    corrupt = [image for image in images if isinstance(image, Unread)]
    if corrupt:
        return corrupt[0]
    read = [image for image in images if isinstance(image, Tensor)]
    return torch.stack(read) if read[0].ndim == 3 else torch.stack(read, 1).permute(0, 1, 4, 2, 3)


def without_error(batch: Tensor | Unread) -> Tensor:
    """The batch, or its error raised, with what to do then."""
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


def loader_of(split: Split, data: Data, order: Order, device: torch.device, workers: int) -> DataLoader[Tensor | Unread]:
    """A loader whose processes live as long as it does, and read the images of a split in the order that is set for each epoch.

    Args:
        workers: upper limit of the number of processes; 0 to read in this one.
    """
    workers = min(workers, processors())
    return DataLoader(
        _Files(split, data),
        batch_sampler=order,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=device.type == "cuda",
        collate_fn=_stacked,
        worker_init_fn=_end_with_parent if workers else None,
        generator=torch.Generator(),  # else each new loader would draw a number of the layers' generator
        multiprocessing_context="fork" if workers and sys.platform == "linux" else None,  # in a spawned process, too
    )


def _end_with_parent(worker: int) -> None:
    end_with_parent()  # torch looks for the parent every five seconds, and not while it waits for a lock that died with it
